package main_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

var (
	idleConnections = flag.Int("connections", 200, "how many connections BenchmarkIdle holds")
	idleProgram     = flag.String("tiptd", "", "a tiptd to measure, in place of this tree's")
)

// BenchmarkIdle holds idle connections to a node, each of a user signed in by token and
// receiving, and reports what each adds to the memory of the node's process after
// `tiptd gc`: once they are there, and once each has sent and received 20 KB.
func BenchmarkIdle(b *testing.B) {
	n := *idleConnections
	d := tipttest.NewDaemon(b, program(), "--max-connections", fmt.Sprint(n+1))
	users := fill(b, d, n+1)
	p := d.Start(b)
	connections := func(t testing.TB) (of held) {
		_, of, _ = gc(t, d)
		return of
	}
	for b.Loop() {
		key := users[n].warm(b, d, p.Addr) // what a first connection brings is not the connections'
		empty := connections(b)

		conns := make([]*conn, n)
		each(b, n, func(i int) { conns[i] = users[i].open(b, d, p.Addr) })
		unswept := resident(b, p.PID())
		idle := connections(b)

		each(b, n, func(i int) { users[i].sendToSelf(b, conns[i], key) })
		used := connections(b)

		per := func(what string, mebibytes float64) {
			b.ReportMetric(mebibytes*1024/float64(n), "KiB-"+what+"/conn")
		}
		per("idle", idle.resident-empty.resident)
		per("used", used.resident-empty.resident)
		per("objects", used.objects-empty.objects)
		per("stacks", used.stacks-empty.stacks)
		per("unswept", unswept-empty.resident)
		b.ReportMetric(empty.resident, "MiB-empty")
		b.ReportMetric(used.resident, "MiB-full")
		b.ReportMetric(0, "ns/op")
		each(b, n, func(i int) { conns[i].hang() })
	}
}

// maxIdleConnection is what a connection of a user who is signed in may hold of the node's heap
// and stacks while it is idle, in bytes. Measured: 5,600 to 6,500, of which TLS has 3,500.
const maxIdleConnection = 7_000

// TestIdleConnection pins what BenchmarkIdle shows for many, also after 20 KB each way.
func TestIdleConnection(t *testing.T) {
	const connections = 500
	d := tipttest.NewDaemon(t, tiptd)
	users := fill(t, d, connections)
	p := d.Start(t)
	key := users[0].warm(t, d, p.Addr)
	_, empty, _ := gc(t, d)
	conns := make([]*conn, connections)
	each(t, connections, func(i int) { conns[i] = users[i].open(t, d, p.Addr) })
	_, idle, _ := gc(t, d)
	each(t, connections, func(i int) { users[i].sendToSelf(t, conns[i], key) })
	_, used, n := gc(t, d)
	if n != connections {
		t.Errorf("%d connections, want %d", n, connections)
	}
	for what, now := range map[string]held{"idle": idle, "used and idle": used} {
		bytes := (now.objects + now.stacks - empty.objects - empty.stacks) * (1 << 20) / connections
		t.Logf("a connection that is %s holds %.0f bytes", what, bytes)
		if bytes > maxIdleConnection {
			t.Errorf("a connection that is %s holds %.0f bytes, want at most %d", what, bytes, maxIdleConnection)
		}
	}
}

// warm has a node do once what its connections do later, so that it has what it needs for that,
// and returns its certificate.
func (u *idler) warm(t testing.TB, d *tipttest.Daemon, addr string) *seal.Certificate {
	t.Helper()
	c := u.open(t, d, addr)
	defer c.hang()
	key, err := c.certificate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		u.sendToSelf(t, c, key)
	}
	return key
}

// BenchmarkRequests asks a node for what costs it nothing, over connections that each have one
// request outstanding or 16, and reports the CPU time of the node's process for each: what
// reading and writing a packet costs.
func BenchmarkRequests(b *testing.B) {
	const connections = 100
	for _, outstanding := range []int{1, 16} {
		b.Run(fmt.Sprint("outstanding=", outstanding), func(b *testing.B) {
			d := tipttest.NewDaemon(b, program())
			users := fill(b, d, connections)
			p := d.Start(b)
			conns := make([]*conn, connections)
			each(b, connections, func(i int) { conns[i] = users[i].open(b, d, p.Addr) })

			before := cpuTime(b, p.PID())
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var asking sync.WaitGroup
			for _, c := range conns {
				for range outstanding {
					asking.Go(func() {
						for left.Add(-1) >= 0 {
							if _, err := c.ask(b.Context(), tipt.RequestGetInfo, nil); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
			}
			asking.Wait()
			b.StopTimer()
			used := cpuTime(b, p.PID()) - before
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "node-µs/request")
			for _, c := range conns {
				c.hang()
			}
		})
	}
}

// cpuTime is what a process has used so far.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// Behind the name, which may have spaces, the 12th and 13th field: proc(5).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ
}

// program is the tiptd that is measured.
func program() string {
	if *idleProgram != "" {
		return *idleProgram
	}
	return tiptd
}

// each calls f for 0 to n-1, by several goroutines.
func each(b testing.TB, n int, f func(int)) {
	b.Helper()
	var next atomic.Int64
	var done sync.WaitGroup
	for range 32 {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !b.Failed(); i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	done.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// resident is how many MiB of memory a process has.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return float64(pages) * float64(os.Getpagesize()) / (1 << 20)
}

// An idler is a user with a device.
type idler struct {
	name  string
	token []byte
	got   chan struct{} // gets a value for each message
}

// fill makes users in the data of a node that does not run. Their hashes are cheap.
func fill(b testing.TB, d *tipttest.Daemon, n int) []*idler {
	b.Helper()
	st, err := sqlite.Open(d.Data, sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	committer := store.NewCommitter(st, store.CommitterOptions{Logger: log})
	ctx, stop := context.WithCancel(b.Context())
	running := make(chan error, 1)
	go func() { running <- committer.Run(ctx) }()
	accounts := account.New(st, committer, account.Options{
		Node: d.Name, Hash: tipttest.CheapHash, NoLimits: true, Logger: log,
	})
	users := make([]*idler, n)
	each(b, n, func(i int) {
		u := &idler{name: fmt.Sprint("user", i), got: make(chan struct{}, 1)}
		users[i] = u
		if err := accounts.Register(ctx, tipt.RegisterRequest{User: u.name, Password: password}); err != nil {
			b.Error(err)
			return
		}
		in, err := accounts.SignIn(ctx, tipt.SignInRequest{User: u.name, Password: password, Device: "phone", Receive: true},
			netip.Addr{}, func(account.SignedIn) ([]string, error) { return nil, nil })
		if err != nil {
			b.Error(err)
			return
		}
		u.token = in.Token
	})
	stop()
	if err := <-running; err != nil {
		b.Fatal(err)
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	return users
}

// open opens a connection and signs in.
func (u *idler) open(b testing.TB, d *tipttest.Daemon, addr string) *conn {
	b.Helper()
	c, err := dial(b.Context(), d, addr, func(r *link.Request) {
		r.Reply(nil)
		select {
		case u.got <- struct{}{}:
		default: // one that was delivered before, when its answer was lost with a connection
		}
	})
	if err != nil {
		b.Error(err)
		return nil
	}
	b.Cleanup(c.hang)
	request := tipt.SignInRequest{User: u.name, Token: u.token, HasToken: true, Device: "phone", Receive: true}
	if _, err := c.signIn(b.Context(), request); err != nil {
		b.Error(err)
	}
	return c
}

// sendToSelf sends 20 KB, which come back.
func (u *idler) sendToSelf(b testing.TB, c *conn, key *seal.Certificate) {
	b.Helper()
	body, err := message(key, c.node, u.name, tipt.NewMessageID(), make([]byte, 20_000), true)
	if err != nil {
		b.Error(err)
		return
	}
	p, err := c.ask(b.Context(), tipt.RequestForward, body)
	if err := accepted(p, err, true); err != nil {
		b.Error(err)
		return
	}
	<-u.got
}
