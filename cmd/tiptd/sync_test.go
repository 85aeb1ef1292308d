//go:build external

package main_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// A systemCall is a finished call of the node.
type systemCall struct {
	name       string
	file       string // of its first argument, a descriptor
	result     int
	begin, end time.Duration // since 1970
}

var (
	// 1234 1795501542.231412 fsync(5</data/tipt.db>) = 0 <0.000739>
	wholeCall  = regexp.MustCompile(`^(\d+) +(\d+\.\d+) (\w+)\(\d+<(.*?)>[,)].* = (-?\d+).*? <(\d+\.\d+)>$`)
	calledOnly = regexp.MustCompile(`^(\d+) +(\d+\.\d+) (\w+)\(\d+<(.*?)>(?:,.*)? <unfinished \.\.\.>$`)
	resumed    = regexp.MustCompile(`^(\d+) +\d+\.\d+ <\.\.\. (\w+) resumed>.* = (-?\d+).*? <(\d+\.\d+)>$`)
)

// trace has strace write what the daemon's processes call to a file. What is further
// given are flags of strace.
func trace(t *testing.T, d *tipttest.Daemon, calls string, flags ...string) (file string) {
	file = filepath.Join(t.TempDir(), "trace")
	d.Wrap = append([]string{
		"strace", "-D", "-f", "-ttt", "-T", "-yy", "-s", "0", "-e", "trace=" + calls, "-o", file,
	}, flags...)
	return file
}

const syncs = "fsync,fdatasync,sync_file_range"

// readTrace reads what strace has written about a process that has ended.
func readTrace(t *testing.T, file string) []systemCall {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var calls []systemCall
	pending := make(map[string]systemCall) // by thread
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if m := wholeCall.FindStringSubmatch(line); m != nil {
			calls = append(calls, finish(t, systemCall{name: m[3], file: m[4], begin: seconds(t, m[2])}, m[5], m[6]))
		} else if m := calledOnly.FindStringSubmatch(line); m != nil {
			pending[m[1]] = systemCall{name: m[3], file: m[4], begin: seconds(t, m[2])}
		} else if m := resumed.FindStringSubmatch(line); m != nil && pending[m[1]].name == m[2] {
			calls = append(calls, finish(t, pending[m[1]], m[3], m[4]))
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return calls
}

func finish(t *testing.T, c systemCall, result, took string) systemCall {
	t.Helper()
	var err error
	if c.result, err = strconv.Atoi(result); err != nil {
		t.Fatal(err)
	}
	c.end = c.begin + seconds(t, took)
	return c
}

// seconds parses what strace prints, which has six decimals.
func seconds(t *testing.T, s string) time.Duration {
	t.Helper()
	whole, micros, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole+micros, 10, 64)
	if err != nil || len(micros) != 6 {
		t.Fatalf("strace printed the time %q", s)
	}
	return time.Duration(n) * time.Microsecond
}

func sinceEpoch(at time.Time) time.Duration { return time.Duration(at.UnixMicro()) * time.Microsecond }

// An exchange is a request and its answer, as the client saw them.
type exchange struct {
	what           string
	local          string // the client's address
	sent, answered time.Duration
}

// A kill does not show whether the disk has what was answered; the system's calls do. Between
// the read of a request and the write of its answer, a file of the data folder is synced.
func TestSyncBeforeAnswer(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	file := trace(t, d, syncs+",read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg")
	p := d.Start(t)
	register(t, d, p.Addr, "bob")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := dial(ctx, d, p.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.hang()
	var exchanges []exchange
	ask := func(what string, code tipt.NodeRequest, body []byte) tipt.Packet {
		t.Helper()
		sent := time.Now()
		answer, err := c.ask(ctx, code, body)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		exchanges = append(exchanges, exchange{what, c.local, sinceEpoch(sent), sinceEpoch(time.Now())})
		return answer
	}
	ask("REGISTER", tipt.RequestRegister, tipt.RegisterRequest{User: "ada", Password: password}.Append(nil))
	ask("SIGN_IN", tipt.RequestSignIn, tipt.SignInRequest{User: "ada", Password: password, Receive: true}.Append(nil))
	key, err := c.certificate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		wait, size := i%2 == 0, 100
		if i%10 == 9 {
			size = 200_000
		}
		body, err := message(key, d.Name, "bob", tipt.NewMessageID(), make([]byte, size), wait)
		if err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("FORWARD %d, wait %t, %d bytes", i, wait, size)
		if err := accepted(ask(what, tipt.RequestForward, body), nil, wait); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	c.hang()
	p.Stop()

	calls := readTrace(t, file)
	for _, e := range exchanges {
		if err := e.judge(calls, d.Data); err != nil {
			t.Errorf("%s: %v", e.what, err)
		}
	}
}

// judge finds an exchange among the node's calls and reports what is wrong with them.
func (e exchange) judge(calls []systemCall, data string) error {
	var came, left time.Duration // end of the last read of the request, begin of the first write of the answer
	for _, c := range calls {
		if !strings.HasSuffix(c.file, "->"+e.local+"]") || c.result <= 0 || c.begin > e.answered {
			continue
		}
		switch c.name {
		case "read", "readv", "recvfrom", "recvmsg":
			// It may have begun before there was something to read.
			if c.end >= e.sent {
				came = max(came, c.end)
			}
		case "write", "writev", "sendto", "sendmsg":
			if c.begin >= e.sent && (left == 0 || c.begin < left) {
				left = c.begin
			}
		}
	}
	if came == 0 || left < came {
		return fmt.Errorf("strace did not see it: sent at %v, read at %v, written at %v, answered at %v", e.sent, came, left, e.answered)
	}
	for _, c := range calls {
		if strings.Contains(syncs, c.name) && strings.HasPrefix(c.file, data+"/") && c.begin >= came && c.end <= left && c.result == 0 {
			return nil
		}
	}
	return fmt.Errorf("read at %v and answered at %v, and nothing was synced between", came, left)
}

// Many senders share a sync. The disk is made slow, so that it does not depend on
// the machine how many wait for one.
func TestSyncsAreShared(t *testing.T) {
	const (
		users   = 4
		senders = 64
		each    = 20
	)
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	file := trace(t, d, syncs, "-e", "inject=fsync,fdatasync:delay_exit=5000", "--seccomp-bpf")
	p := d.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var (
		conns  []*conn
		bodies [][][]byte // by sender
	)
	register(t, d, p.Addr, "bob")
	for u := range users {
		name := fmt.Sprintf("ada-%d", u)
		register(t, d, p.Addr, name)
		in := tipt.SignInRequest{User: name, Password: password}
		for range senders / users {
			c, err := dial(ctx, d, p.Addr, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.hang()
			response, err := c.signIn(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			if response.Token != nil {
				in.Token, in.HasToken = response.Token, true
			}
			key, err := c.certificate(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var mine [][]byte
			for i := range each {
				body, err := message(key, d.Name, "bob", tipt.NewMessageID(), make([]byte, 300), i%2 == 0)
				if err != nil {
					t.Fatal(err)
				}
				mine = append(mine, body)
			}
			conns, bodies = append(conns, c), append(bodies, mine)
		}
	}

	began := sinceEpoch(time.Now())
	var wg sync.WaitGroup
	for s, c := range conns {
		wg.Go(func() {
			for i, body := range bodies[s] {
				answer, err := c.ask(ctx, tipt.RequestForward, body)
				if err := accepted(answer, err, i%2 == 0); err != nil {
					t.Errorf("sender %d: %v", s, err)
					return
				}
			}
		})
	}
	wg.Wait()
	ended := sinceEpoch(time.Now())
	p.Stop()

	synced := 0
	for _, c := range readTrace(t, file) {
		if c.begin >= began && c.end <= ended && strings.HasPrefix(c.file, d.Data+"/") {
			synced++
		}
	}
	t.Logf("%d answers, %d syncs", senders*each, synced)
	if synced == 0 || synced >= senders*each/4 {
		t.Errorf("%d syncs for %d answers, want fewer than a quarter as many, and some", synced, senders*each)
	}
}
