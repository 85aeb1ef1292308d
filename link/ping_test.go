package link_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go/link"
)

func TestPingWait(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		h, requests := keep()
		a, b := run(t, "a", e.a, link.Options{Handler: h}), run(t, "b", e.b, link.Options{Handler: h})
		done, _ := results(2)
		for i, s := range []*side{a, b} {
			// Also while requests are being served, and again and again.
			start(t, s, 1, nil, done)
			<-requests
			for range 3 {
				if err := s.PingWait(t.Context()); err != nil {
					t.Errorf("%s: %d: %v", s.name, i, err)
				}
			}
		}
	})
}

func TestPingWaitContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := a.PingWait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("PING without PONG: %v", err)
		}
		// A PONG that comes late tells nobody, and the connection lives on.
		peer.send(t, event(1, nil))
		go func() { _, _ = peer.receive(t) }()
		synctest.Wait()
		if peer.pinged != 1 {
			t.Fatalf("the peer got %d PINGs", peer.pinged)
		}
		if err := peer.Write(nil); err != nil { // the PONG
			t.Fatal(err)
		}
		synctest.Wait()
		if err := a.Emit(1, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestPongGoesBetweenFragments: a PONG does not wait for a large message that
// is being written to a peer which reads slowly.
func TestPongGoesBetweenFragments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)
		done, _ := results(1)
		start(t, a, 1, body(0, 2_000_000), done)
		synctest.Wait() // the pipe is full
		peer.Ping()
		if err := peer.Write(nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m, err := peer.Next()
		if err != nil {
			t.Fatal(err)
		}
		for got := 0; len(peer.pongs) == 0; {
			n, err := m.Read(make([]byte, 16<<10))
			if err != nil {
				t.Fatal(err)
			}
			if got += n; got > 300_000 {
				t.Fatalf("no PONG in %d bytes", got)
			}
		}
	})
}

func TestLastReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)
		want := func(why string) {
			t.Helper()
			synctest.Wait()
			if d := time.Since(a.LastReceived()); d != 0 {
				t.Errorf("%s: last received %v ago", why, d)
			}
			time.Sleep(time.Minute)
			if d := time.Since(a.LastReceived()); d != time.Minute {
				t.Errorf("%s: last received %v ago, want a minute", why, d)
			}
		}
		want("nothing yet")
		peer.send(t, event(1, nil))
		want("event")
		peer.Ping()
		if err := peer.Write(nil); err != nil {
			t.Fatal(err)
		}
		want("PING")
		a.Ping()
		synctest.Wait()
		if d := time.Since(a.LastReceived()); d != time.Minute {
			t.Errorf("PING of our own: last received %v ago, want a minute", d)
		}
		go func() { _, _ = peer.receive(t) }()
		synctest.Wait()
		if err := peer.Write(nil); err != nil {
			t.Fatal(err)
		}
		want("PONG")
	})
}

// TestLastReceivedWithinMessage: a large message that comes slowly counts as it comes,
// also when there is no memory for it.
func TestLastReceivedWithinMessage(t *testing.T) {
	for _, budget := range []*link.Budget{nil, link.NewBudget(100_000)} {
		synctest.Test(t, func(t *testing.T) {
			ca, _ := link.Pipe()
			out, in := io.Pipe()
			a := run(t, "a", slowConn{ca, out}, link.Options{Budget: budget})
			packet := encode(request(1, 1, body(0, 300_000)))
			for len(packet) > 0 {
				n := min(10_000, len(packet))
				if _, err := in.Write(packet[:n]); err != nil {
					t.Fatal(err)
				}
				packet = packet[n:]
				synctest.Wait()
				if d := time.Since(a.LastReceived()); d != 0 {
					t.Fatalf("%d bytes before the end: last received %v ago", len(packet), d)
				}
				time.Sleep(time.Minute)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
