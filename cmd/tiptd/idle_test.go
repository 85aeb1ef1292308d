package main_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"

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
	idleProgram     = flag.String("tiptd", "", "a tiptd for BenchmarkIdle, in place of this tree's")
)

// BenchmarkIdle holds idle connections to a node, each of a user signed in by token and
// receiving, and reports what each adds to the memory of the node's process after
// `tiptd gc`: once they are there, and once each has sent and received 20 KB.
func BenchmarkIdle(b *testing.B) {
	n := *idleConnections
	program := *idleProgram
	if program == "" {
		program = tiptd
	}
	d := tipttest.NewDaemon(b, program, "--max-connections", fmt.Sprint(n+1))
	users := fill(b, d, n+1)
	p := d.Start(b)
	connections := func(t testing.TB) (of held) {
		_, of, _ = gc(t, d)
		return of
	}
	for b.Loop() {
		// What a first connection brings is not the connections'.
		first := users[n].open(b, d, p.Addr)
		first.hang()
		empty := connections(b)

		conns := make([]*conn, n)
		each(b, n, func(i int) { conns[i] = users[i].open(b, d, p.Addr) })
		unswept := resident(b, p.PID())
		idle := connections(b)

		key, err := conns[0].certificate(b.Context())
		if err != nil {
			b.Fatal(err)
		}
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

// each calls f for 0 to n-1, by several goroutines.
func each(b *testing.B, n int, f func(int)) {
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
func fill(b *testing.B, d *tipttest.Daemon, n int) []*idler {
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
func (u *idler) open(b *testing.B, d *tipttest.Daemon, addr string) *conn {
	b.Helper()
	c, err := dial(b.Context(), d, addr, func(r *link.Request) {
		r.Reply(nil)
		u.got <- struct{}{}
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
func (u *idler) sendToSelf(b *testing.B, c *conn, key *seal.Certificate) {
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
