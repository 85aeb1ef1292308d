package link_test

import (
	"context"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/tipt/tipt-go/link"
)

// maxIdleLink is what an idle link may hold of the heap, in bytes, besides its
// Conn and its goroutine. Measured: 590 to 750.
const maxIdleLink = 1000

// TestIdle: a link that is idle, and was busy before, holds no tables, no buffers
// and no goroutine but Run's.
func TestIdle(t *testing.T) {
	const ends = 200
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()

	noLink := func(c link.Conn) (use, serve func()) {
		c.Bind(func() {}, func() {})
		return func() {}, func() {
			for {
				m, err := c.Next()
				if err != nil {
					return
				}
				if _, err := io.Copy(io.Discard, m); err != nil {
					return
				}
			}
		}
	}
	idle(t, ends, noLink) // the runtime keeps what goroutines that have ended leave
	bare := idle(t, ends, noLink)
	links := idle(t, ends, func(c link.Conn) (use, serve func()) {
		l := link.New(c, link.Options{Handler: echo})
		return func() {
				done, answers := results(100)
				for range 100 {
					if err := l.Go(ctx, 1, body(0, 5_000), done); err != nil {
						t.Error(err)
					}
				}
				for range 100 {
					if r := <-answers; r.err != nil {
						t.Error(r.err)
					}
				}
				if err := l.PingWait(ctx); err != nil {
					t.Error(err)
				}
			}, func() {
				_ = l.Run(ctx) // the pipe is cut
			}
	})
	t.Logf("an idle link holds %d bytes of heap, its connection and goroutine %d", links-bare, bare)
	if n := links - bare; n > maxIdleLink {
		t.Errorf("an idle link holds %d bytes of heap, want at most %d", n, maxIdleLink)
	}
}

// idle makes n ends of pipes, serves and uses each, and returns how many bytes of
// heap one holds then.
func idle(t *testing.T, n int, start func(link.Conn) (use, serve func())) (bytes int64) {
	conns := make([]link.Conn, 0, n)
	uses := make([]func(), 0, n)
	before, goroutines := inUse()
	var served sync.WaitGroup
	for range n / 2 {
		a, b := link.Pipe()
		for _, c := range []link.Conn{a, b} {
			use, serve := start(c)
			conns, uses = append(conns, c), append(uses, use)
			served.Go(serve)
		}
	}
	for _, use := range uses {
		use()
	}
	after, now := inUse()
	for now > goroutines+n { // writers that are about to end
		runtime.Gosched()
		after, now = inUse()
	}
	if now != goroutines+n {
		t.Errorf("%d goroutines for %d ends", now-goroutines, n)
	}
	for _, c := range conns {
		c.CloseNow()
	}
	served.Wait()
	return (after - before) / int64(n)
}

// inUse returns the bytes of the heap in use and the number of goroutines.
func inUse() (heap int64, goroutines int) {
	for range 3 { // what lies in a pool survives one or two
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), runtime.NumGoroutine()
}
