package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// noListener is a listener at which nobody arrives: connections in these tests
// are pipes, whose time synctest can move.
type noListener struct{ closed chan struct{} }

func (l noListener) Accept() (net.Conn, error) { <-l.closed; return nil, net.ErrClosed }
func (l noListener) Close() error              { close(l.closed); return nil }
func (l noListener) Addr() net.Addr            { return &net.TCPAddr{} }

// inBubble runs a test with a node whose time is synctest's.
func inBubble(t *testing.T, f func(t *testing.T, n *Node)) {
	inBubbleWith(t, func(*Config) {}, f)
}

// inBubbleOver is inBubble over another store, which over makes.
func inBubbleOver(t *testing.T, over func(store.Store) store.Store, f func(t *testing.T, n *Node)) {
	inBubbleWith(t, func(c *Config) { c.Store = over(c.Store) }, f)
}

// inBubbleWith is inBubble with another configuration.
func inBubbleWith(t *testing.T, configure func(*Config), f func(t *testing.T, n *Node)) {
	dir := filepath.Join(t.TempDir(), "data")
	synctest.Test(t, func(t *testing.T) {
		st, err := sqlite.Open(dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		key, err := LoadKey(dir, "node.example")
		if err != nil {
			t.Fatal(err)
		}
		config := Config{
			Name: "node.example", Store: st, Key: key,
			Hash: account.HashCost{Memory: 64, Time: 1, Threads: 1},
		}
		configure(&config)
		n := New(config)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Run(ctx, noListener{make(chan struct{})}) }()
		synctest.Wait()
		f(t, n)
		cancel()
		if err := errors.Join(<-done, st.Close()); err != nil {
			t.Error(err)
		}
	})
}

// dial connects a client to n. ended gives why its connection ended.
func dial(t *testing.T, n *Node) (client *link.Link, ended <-chan error) {
	return dialWith(t, n, link.Options{})
}

func dialWith(t *testing.T, n *Node, o link.Options) (client *link.Link, ended <-chan error) {
	here, there := link.Pipe()
	if status := n.admit(); status != statusOK {
		t.Fatalf("admit: %s", status)
	}
	n.serve(there, netip.MustParseAddr("192.0.2.1"))
	n.admitted()
	client = link.New(here, o)
	end := make(chan error, 1)
	go func() { end <- client.Run(context.WithoutCancel(t.Context())) }()
	return client, end
}

func wantClosed(t *testing.T, ended <-chan error, code int) {
	t.Helper()
	var closed *link.CloseError
	if err := <-ended; !errors.As(err, &closed) || closed.Local || closed.Code != code {
		t.Errorf("connection ended with %v, want code %d from the node", err, code)
	}
}

func stillOpen(t *testing.T, ended <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		t.Fatalf("connection ended: %v", err)
	default:
	}
}

func call(t *testing.T, c *link.Link, request tipt.NodeRequest, body []byte) error {
	t.Helper()
	_, err := c.Call(t.Context(), uint8(request), body)
	return err
}

func TestNoHandshakeInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, n *Node) {
		refused, refusedEnd := dial(t, n)
		_, silentEnd := dial(t, n)
		greeted, greetedEnd := dial(t, n)
		if err := call(t, greeted, tipt.RequestHandshake, nil); err != nil {
			t.Fatal(err)
		}
		// A HANDSHAKE that was refused does not stop the clock.
		if err := call(t, refused, tipt.RequestHandshake, []byte{0x81, 0xa1, 'x', 0xc0}); !errors.Is(err, tipt.ErrMalformed) {
			t.Fatal(err)
		}
		time.Sleep(tipt.HandshakeTimeout - unsignedSweep)
		stillOpen(t, refusedEnd)
		stillOpen(t, silentEnd)
		time.Sleep(2 * unsignedSweep)
		wantClosed(t, refusedEnd, 1008)
		wantClosed(t, silentEnd, 1008)
		time.Sleep(time.Minute)
		stillOpen(t, greetedEnd)
		greeted.CloseNow()
	})
}

func TestSilentClientIsPinged(t *testing.T) {
	inBubble(t, func(t *testing.T, n *Node) {
		client, ended := dial(t, n)
		if err := call(t, client, tipt.RequestHandshake, nil); err != nil {
			t.Fatal(err)
		}
		heard := client.LastReceived()
		time.Sleep(tipt.SilenceTimeout + silenceSweep)
		synctest.Wait()
		if !client.LastReceived().After(heard) {
			t.Error("no PING after four minutes of silence")
		}
		time.Sleep(time.Hour) // it answers each PING and stays
		stillOpen(t, ended)
		client.CloseNow()
	})
}

func TestDeadClientIsDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, n *Node) {
		_, there := link.Pipe() // nobody reads the other end
		if status := n.admit(); status != statusOK {
			t.Fatalf("admit: %s", status)
		}
		n.serve(there, netip.MustParseAddr("192.0.2.1"))
		n.admitted()
		s := n.list()[0]
		s.mu.Lock()
		s.phase = greeted // else the handshake's clock ends it
		s.mu.Unlock()
		time.Sleep(tipt.SilenceTimeout)
		synctest.Wait()
		if len(n.list()) != 1 {
			t.Fatal("dropped too early")
		}
		time.Sleep(tipt.PongTimeout + 3*silenceSweep)
		synctest.Wait()
		if len(n.list()) != 0 {
			t.Error("a dead connection is still there")
		}
	})
}

func TestOldestNotSignedInMakesRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, n *Node) {
		n.config.MaxConnections = 2
		first, firstEnd := dial(t, n)
		if err := call(t, first, tipt.RequestHandshake, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		second, secondEnd := dial(t, n)
		if err := call(t, second, tipt.RequestHandshake, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(tipt.UnsignedTimeout - 2*time.Second)
		if status := n.admit(); status != statusOverload {
			t.Fatalf("admit before 30 s: %s", status)
		}
		time.Sleep(time.Second)
		third, thirdEnd := dial(t, n)
		wantClosed(t, firstEnd, 1013)
		stillOpen(t, secondEnd)
		stillOpen(t, thirdEnd)
		second.CloseNow()
		third.CloseNow()
	})
}

func TestDrain(t *testing.T) {
	for _, test := range []struct {
		to   state
		code int
	}{{maintenance, 1012}, {stopping, 1001}} {
		inBubble(t, func(t *testing.T, n *Node) {
			client, ended := dial(t, n)
			if err := call(t, client, tipt.RequestHandshake, nil); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			n.drain(test.to)
			wantClosed(t, ended, test.code)
			if status := n.admit(); status != statusMaintenance {
				t.Errorf("admit while draining: %s", status)
			}
			if took := time.Since(began); took > tipt.GoingAwayTimeout {
				t.Errorf("drained after %v", took)
			}
			if test.to == maintenance {
				if err := n.setMaintenance(false); err != nil {
					t.Fatal(err)
				}
				again, _ := dial(t, n)
				if err := call(t, again, tipt.RequestHandshake, nil); err != nil {
					t.Error(err)
				}
				again.CloseNow()
			} else if err := n.setMaintenance(false); !errors.Is(err, errStopping) {
				t.Errorf("maintenance off while stopping: %v", err)
			}
		})
	}
}

// A client that signs in again before the time it was told is answered only then, and one whose
// time has come at once.
func TestSignInTooEarly(t *testing.T) {
	inBubble(t, func(t *testing.T, n *Node) {
		client, ended := dial(t, n)
		ask := func(wait time.Duration) {
			t.Helper()
			began := time.Now()
			r := tipt.SignInRequest{User: "ada", Device: "phone", Password: "a wrong password"}
			_, err := client.Call(t.Context(), uint8(tipt.RequestSignIn), r.Append(nil))
			var refusal *tipt.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("error %v", err)
			}
			if took := time.Since(began); took != wait {
				t.Errorf("%v came after %v, want %v", refusal, took, wait)
			}
		}
		if _, err := client.Call(t.Context(), uint8(tipt.RequestHandshake), nil); err != nil {
			t.Fatal(err)
		}
		for range 6 { // after five the next is told to wait for a second
			ask(0)
		}
		ask(time.Second) // looked at then, and the sixth that is wrong
		ask(0)           // which is to wait for two seconds
		time.Sleep(2 * time.Second)
		ask(0)
		client.CloseNow()
		<-ended
	})
}
