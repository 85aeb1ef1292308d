package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// A wire is a node's listener in memory, so that its time is synctest's. What
// the client sends can be lost without anybody being told.
type wire struct {
	accept chan net.Conn
	closed chan struct{}
	lost   atomic.Pointer[atomic.Bool] // of the newest connection
	dials  atomic.Int64
}

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.accept:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error   { close(w.closed); return nil }
func (w *wire) Addr() net.Addr { return &net.TCPAddr{} }

func (w *wire) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	w.dials.Add(1)
	lost := new(atomic.Bool)
	w.lost.Store(lost)
	w.accept <- there
	return lossyConn{here, lost}, nil
}

type lossyConn struct {
	net.Conn
	lost *atomic.Bool
}

func (c lossyConn) Write(b []byte) (int, error) {
	if c.lost.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// inBubble runs a test with a client of own and a node that answers by handler; with
// nil it accepts connections and says nothing.
func inBubble(t *testing.T, handler http.Handler, f func(t *testing.T, c *Client, w *wire)) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		w := &wire{accept: make(chan net.Conn, 10), closed: make(chan struct{})}
		server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
		done := make(chan error, 1)
		go func() {
			if handler == nil {
				<-w.closed
				done <- nil
				return
			}
			done <- server.Serve(tls.NewListener(w, &tls.Config{
				MinVersion:   tls.VersionTLS12,
				Certificates: []tls.Certificate{issue(t, ca, 24*time.Hour, other)},
				NextProtos:   []string{"h2", "http/1.1"},
			}))
		}()
		key := newNodeKey(t, own)
		c := NewClient(ClientOptions{Key: func() *seal.NodeKey { return key }, Roots: ca.Pool()})
		c.http.Transport.(*http.Transport).DialContext = w.dial
		f(t, c, w)
		c.Close()
		if handler == nil {
			w.Close()
		} else if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// TestNoAnswer has a node that takes its time.
func TestNoAnswer(t *testing.T) {
	inBubble(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}), func(t *testing.T, c *Client, _ *wire) {
		began := time.Now()
		_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		f := wantOutcome(t, "no answer", err, perhapsSent)
		if took := time.Since(began); took != 30*time.Second || !strings.Contains(f.Error(), "no answer within 30s") {
			t.Errorf("%v after %v", f, took)
		}
	})
	inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		for {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
				return
			}
		}
	}), func(t *testing.T, c *Client, _ *wire) {
		began := time.Now()
		_, err := c.PublicKey(t.Context(), other)
		f := wantFailure(t, err)
		if took := time.Since(began); took != 30*time.Second || f.Status != 200 || f.Code() != tipt.ErrNodeTimeout {
			t.Errorf("an answer that trickles in: %v after %v", f, took)
		}
	})
}

// endsInOrder is a node whose answer ends as if it were whole when nobody waits for it any more.
type endsInOrder struct{ ctx context.Context }

func (endsInOrder) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {typeMsgpack}}, Body: io.NopCloser(endsInOrder{r.Context()}), Request: r,
	}, nil
}

func (e endsInOrder) Read([]byte) (int, error) {
	<-e.ctx.Done()
	return 0, io.EOF
}

// TestEndsInOrder has an answer cut off by this node's own time: the other one sees the connection
// close, and what it then sends may come before the connection has.
func TestEndsInOrder(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *Client, _ *wire) {
		c.http.Transport = endsInOrder{}
		_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		if f := wantFailure(t, err); f.Code() != tipt.ErrNodeTimeout || !f.Temporary() {
			t.Errorf("%v, code %v", f, f.Code())
		}
	})
}

func TestNoHandshake(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *Client, _ *wire) {
		began := time.Now()
		_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		f := wantOutcome(t, "no handshake", err, nothingSent)
		if took := time.Since(began); took != connectTimeout {
			t.Errorf("%v after %v", f, took)
		}
	})
}

// TestSilentConnection has a connection whose other end is gone, as after a crash or behind a
// firewall that forgot it: only what is under way is lost with it.
func TestSilentConnection(t *testing.T) {
	inBubble(t, answer(200, typeMsgpack, delivered), func(t *testing.T, c *Client, w *wire) {
		if _, err := c.Forward(t.Context(), other, alice, []byte("sealed")); err != nil {
			t.Fatal(err)
		}
		w.lost.Load().Store(true)
		began := time.Now()
		_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		f := wantOutcome(t, "a dead connection", err, perhapsSent)
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("%v after %v", f, took)
		}
		a, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		if err != nil || !a.Delivered || w.dials.Load() != 2 {
			t.Errorf("after it: %+v, %v, %d connections", a, err, w.dials.Load())
		}
	})
}

// TestCanceled has a caller that goes away.
func TestCanceled(t *testing.T) {
	inBubble(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), func(t *testing.T, c *Client, _ *wire) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Forward(ctx, other, alice, []byte("sealed"))
		wantOutcome(t, "canceled", err, perhapsSent)
		_, err = c.Forward(ctx, other, alice, []byte("sealed"))
		wantOutcome(t, "canceled before", err, nothingSent)
	})
}

// TestRequestsAtOnce has more requests than may be under way to a node: the others wait, for as long
// as a request may take.
func TestRequestsAtOnce(t *testing.T) {
	release := make(chan struct{})
	var now atomic.Int64
	inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now.Add(1)
		defer now.Add(-1)
		select {
		case <-release:
			answer(200, typeMsgpack, delivered)(w, r)
		case <-r.Context().Done():
		}
	}), func(t *testing.T, c *Client, _ *wire) {
		release = make(chan struct{})
		var served, unknown, waited atomic.Int64
		var requests sync.WaitGroup
		forward := func(n int, timeout time.Duration) {
			for range n {
				requests.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					_, err := c.Forward(ctx, other, alice, []byte("sealed"))
					f, failed := errors.AsType[*Failure](err)
					switch {
					case !failed:
						served.Add(1)
					case f.Unknown:
						unknown.Add(1)
					default:
						waited.Add(1)
						wantOutcome(t, "waited in vain", err, nothingSent)
					}
				})
			}
			synctest.Wait()
		}
		forward(maxRequests, time.Minute)
		forward(1, time.Minute)
		forward(9, 10*time.Second)
		if n := now.Load(); n != maxRequests {
			t.Errorf("%d requests at once", n)
		}
		release <- struct{}{}
		synctest.Wait()
		if n := now.Load(); n != maxRequests || served.Load() != 1 {
			t.Errorf("%d requests at once, %d answered", n, served.Load())
		}
		requests.Wait()
		if served.Load() != 1 || unknown.Load() != maxRequests || waited.Load() != 9 {
			t.Errorf("%d were answered, %d not, %d waited in vain", served.Load(), unknown.Load(), waited.Load())
		}
	})
}
