package client

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

func TestReconnectsWithTokenAndBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		n.change(func() {
			n.refuse = func() error {
				if len(n.dials) < 15 {
					return io.ErrUnexpectedEOF
				}
				return nil
			}
		})
		n.now().CloseNow()
		time.Sleep(time.Hour)
		synctest.Wait()

		dials := n.dialed()
		if len(dials) != 15 {
			t.Fatalf("%d connections tried, want 15", len(dials))
		}
		window := tipt.ReconnectMin
		var longest time.Duration
		for i := 2; i < len(dials); i++ { // the first pause began with the loss
			window = min(2*window, tipt.ReconnectMax)
			pause := dials[i].Sub(dials[i-1])
			if pause > window {
				t.Errorf("pause %d was %v, want at most %v", i, pause, window)
			}
			longest = max(longest, pause)
		}
		if longest < 30*time.Second {
			t.Errorf("the longest of 13 pauses was %v; they do not grow to 5 min", longest)
		}
		want := []tipt.SignInRequest{
			{User: "alice", Device: "default", Password: "correct horse", Receive: true},
			{User: "alice", Device: "default", Token: token, HasToken: true, Receive: true},
		}
		if diff := cmp.Diff(want, n.signedIn()); diff != "" {
			t.Errorf("sign-ins (-want +got):\n%s", diff)
		}
	})
}

func TestBackoffStartsAnewAfterLongConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		for range 50 {
			time.Sleep(time.Minute)
			lost := time.Now()
			n.now().CloseNow()
			time.Sleep(tipt.ReconnectMin)
			synctest.Wait()
			if dials := n.dialed(); dials[len(dials)-1].Before(lost) {
				t.Fatalf("not connected again within %v of a loss after a minute", tipt.ReconnectMin)
			}
		}
	})
}

func TestBackoffGrowsOverShortConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.wrap = func(c link.Conn) link.Conn {
			if len(n.dials) > 1 {
				time.AfterFunc(time.Millisecond, n.conn.CloseNow)
			}
			return c
		}
		c := signedIn(t, n, nil)
		defer c.Close()
		n.now().CloseNow()
		time.Sleep(24 * time.Hour)
		// At a mean pause of 150 s there are 576; were the pauses not to grow, 172,800.
		if len(n.dialed()) > 1000 {
			t.Errorf("%d connections in a day to a node that ends them at once", len(n.dialed()))
		}
	})
}

func TestEndsWithoutReconnecting(t *testing.T) {
	tests := []struct {
		name string
		end  func(n *fakeNode)
		want error
	}{
		{"4001", func(n *fakeNode) { n.now().Close(tipt.CloseReplaced, "") }, ErrReplaced},
		{"4002", func(n *fakeNode) { n.now().Close(tipt.CloseSignedOut, "") }, ErrSignedOut},
		{"token refused", func(n *fakeNode) {
			n.change(func() { n.signIn = &tipt.Error{Code: tipt.ErrCredentials} })
			n.now().CloseNow()
		}, tipt.ErrCredentials},
		{"account disabled", func(n *fakeNode) {
			n.change(func() { n.signIn = &tipt.Error{Code: tipt.ErrDisabled} })
			n.now().CloseNow()
		}, tipt.ErrDisabled},
		{"node turned incompatible", func(n *fakeNode) {
			n.change(func() { n.versions.Compatible = false })
			n.now().CloseNow()
		}, ErrIncompatible},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := signedIn(t, n, nil)
				defer c.Close()
				receive := begin(t, func() error { return c.Receive(t.Context(), nil) })
				info := begin(t, func() error { _, err := c.Info(t.Context()); return err })
				n.want(tipt.RequestGetInfo)
				receive.wantRunning()
				tt.end(n)
				time.Sleep(10 * time.Second)
				receive.want(tt.want)
				info.want(tt.want)
				dials := len(n.dialed())
				time.Sleep(24 * time.Hour)
				if len(n.dialed()) != dials {
					t.Errorf("%d more connections tried", len(n.dialed())-dials)
				}
				if _, err := c.Info(t.Context()); !errors.Is(err, tt.want) {
					t.Errorf("a later call ends with %v, want %v", err, tt.want)
				}
			})
		})
	}
}

func TestWaitsAsLongAsTheNodeWants(t *testing.T) {
	tests := []struct {
		name string
		end  func(n *fakeNode)
		wait time.Duration // between the last two connections
	}{
		{"Retry-After", func(n *fakeNode) {
			n.change(func() {
				n.refuse = func() error {
					if len(n.dials) == 2 {
						return &ws.StatusError{Status: 503, RetryAfter: 20 * time.Minute}
					}
					return nil
				}
			})
			n.now().CloseNow()
			time.Sleep(time.Second)
		}, 20 * time.Minute},
		{"GOING_AWAY", func(n *fakeNode) {
			if err := n.now().Emit(uint8(tipt.EventGoingAway), tipt.GoingAwayEvent{Wait: 7 * time.Minute}.Append(nil)); err != nil {
				n.t.Fatal(err)
			}
			time.Sleep(time.Second)
			n.now().Close(tipt.CloseGoingAway, "")
		}, 7 * time.Minute},
		{"SIGN_IN answered BUSY", func(n *fakeNode) {
			n.change(func() { n.signIn = &tipt.Error{Code: tipt.ErrBusy, Wait: 15 * time.Minute} })
			n.now().CloseNow()
			time.Sleep(time.Second)
			n.change(func() { n.signIn = nil })
		}, 15 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := signedIn(t, n, nil)
				defer c.Close()
				tt.end(n)
				synctest.Wait()
				refused, before := time.Now(), len(n.dialed())
				time.Sleep(tt.wait - 2*time.Second)
				synctest.Wait()
				if len(n.dialed()) != before {
					t.Fatalf("connected again after %v", n.dialed()[before].Sub(refused))
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if len(n.dialed()) != before+1 {
					t.Fatalf("%d connections tried after the wait, want 1", len(n.dialed())-before)
				}
			})
		})
	}
}

// A pingConn counts PINGs and loses those after a number of them.
type pingConn struct {
	link.Conn
	pings []time.Time
	heard int
}

func (c *pingConn) Ping() {
	c.pings = append(c.pings, time.Now())
	if len(c.pings) <= c.heard {
		c.Conn.Ping()
	}
}

func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		var first *pingConn
		n.wrap = func(c link.Conn) link.Conn {
			wrapped := &pingConn{Conn: c, heard: 3}
			if first == nil {
				first = wrapped
			}
			return wrapped
		}
		began := time.Now()
		c := signedIn(t, n, nil)
		defer c.Close()
		time.Sleep(4*tipt.PingInterval + tipt.PongTimeout - time.Second)
		synctest.Wait()
		var got []time.Duration
		for _, p := range first.pings {
			got = append(got, p.Sub(began))
		}
		want := []time.Duration{5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 20 * time.Minute}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("PINGs (-want +got):\n%s", diff)
		}
		if len(n.dialed()) != 1 {
			t.Fatalf("connection given up before a PING went without an answer for %v", tipt.PongTimeout)
		}
		time.Sleep(3 * time.Second) // the rest of the 30 s, and the pause before connecting again
		synctest.Wait()
		if len(n.dialed()) != 2 {
			t.Errorf("connection not given up after a PING went without an answer for %v", tipt.PongTimeout)
		}
	})
}

func TestDialFails(t *testing.T) {
	tests := []struct {
		name  string
		setUp func(n *fakeNode)
		check func(err error) bool
	}{
		{"refused", func(n *fakeNode) {
			n.refuse = func() error { return &ws.StatusError{Status: 503, RetryAfter: time.Minute} }
		}, func(err error) bool {
			var u *UnavailableError
			return errors.As(err, &u) && *u == UnavailableError{Status: 503, RetryAfter: time.Minute}
		}},
		{"no node", func(n *fakeNode) {
			n.refuse = func() error { return &ws.StatusError{Status: 404} }
		}, func(err error) bool {
			var s *ws.StatusError
			return errors.As(err, &s)
		}},
		{"unreachable", func(n *fakeNode) {
			n.refuse = func() error { return io.ErrUnexpectedEOF }
		}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"incompatible", func(n *fakeNode) {
			n.versions = tipt.HandshakeResponse{Version: "0.9.0"}
		}, func(err error) bool { return errors.Is(err, ErrIncompatible) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				tt.setUp(n)
				err := newTestClient(t, n, nil).start(t.Context())
				if !tt.check(err) {
					t.Errorf("Dial: %v", err)
				}
				if len(n.dialed()) != 1 {
					t.Errorf("tried %d times, want once", len(n.dialed()))
				}
			})
		})
	}
}

// A silentConn never gets a message.
type silentConn struct {
	link.Conn
	closed context.Context
	close  context.CancelFunc
}

func (c silentConn) Next() (io.Reader, error) {
	<-c.closed.Done()
	return nil, io.EOF
}

func (c silentConn) CloseNow() {
	c.close()
	c.Conn.CloseNow()
}

func TestDialGivesUpOnSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		closed, closeConn := context.WithCancel(t.Context())
		n.wrap = func(c link.Conn) link.Conn { return silentConn{c, closed, closeConn} }
		began := time.Now()
		err := newTestClient(t, n, nil).start(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial: %v, want the deadline exceeded", err)
		}
		if d := time.Since(began); d != connectTimeout {
			t.Errorf("given up after %v, want %v", d, connectTimeout)
		}
	})
}
