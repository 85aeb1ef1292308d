package node_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/peer"
)

// TestOutcomes has a destination answer in all ways of section 5.5.
func TestOutcomes(t *testing.T) {
	const odd tipt.NodeName = "odd.example"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := tipttest.Start(t, func(c *node.Config) {
		c.Resolve = map[tipt.NodeName]string{odd: listener.Addr().String()}
	})
	n.Register(t, "alice", "alice's password")
	alice := signIn(t, n, "alice")

	var answer atomic.Pointer[http.HandlerFunc]
	cert, key, err := n.CA.Issue(string(odd))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // all of it has arrived
		(*answer.Load())(w, r)
	}))
	server.Listener.Close()
	server.Listener = listener
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)

	const msgpack, octets = "application/msgpack", "application/octet-stream"
	says := func(status int, kind, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	const (
		unreachable, timeout, refused = tipt.ErrNodeUnreachable, tipt.ErrNodeTimeout, tipt.ErrNodeRefused
		noUser                        = "\x81\xa3err\x81\xa4code\x30"
	)
	for i, test := range []struct {
		name   string
		answer http.HandlerFunc
		// With `wait` true: the response's code, or 0, and `resp` is the answer.
		code tipt.ErrorCode
		wait time.Duration
		// With `wait` false: whether it is tried again, to be refused then, or returned at
		// once; and what the RETURN has, where there is one.
		again, returned bool
		resp            string
		back            tipt.ErrorCode
	}{
		{name: "delivered", answer: says(200, msgpack, "\x81\xa4body\xc0")},
		{name: "refused", answer: says(200, msgpack, noUser), returned: true, resp: noUser},
		{name: "a body", answer: says(200, msgpack, "\x81\xa4body\x80"), returned: true, resp: "\x81\xa4body\x80"},
		{name: "no map", answer: says(200, msgpack, "hello"), returned: true, resp: "hello"},
		{name: "sealed", answer: says(200, octets, "sealed")},
		{name: "too long for a RETURN", answer: says(200, msgpack, strings.Repeat("x", tipt.MaxReturnRespSize+1)), returned: true, back: refused},
		{name: "429", answer: says(429, "text/plain", "", "Retry-After", "70"), code: unreachable, wait: 70 * time.Second, again: true, back: refused},
		{name: "503", answer: says(503, "text/plain", ""), code: unreachable, wait: 5 * time.Second, again: true, back: refused},
		{name: "500", answer: says(500, "text/plain", ""), code: timeout, again: true, back: timeout},
		{name: "504", answer: says(504, "text/plain", ""), code: timeout, again: true, back: timeout},
		{name: "another type", answer: says(200, "text/html", "<html>"), code: timeout, again: true, back: timeout},
		{name: "too large", answer: says(200, msgpack, strings.Repeat("x", tipt.MaxForwardRespSize+1)), code: timeout, again: true, back: timeout},
		{name: "no answer", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, code: timeout, again: true, back: timeout},
		{name: "302", answer: says(302, "text/plain", "", "Location", "/"), code: refused, again: true, back: refused},
		{name: "204", answer: says(204, "", ""), code: refused, returned: true, back: refused},
		{name: "400", answer: says(400, "text/plain", "no good"), code: refused, returned: true, back: refused},
		{name: "401", answer: says(401, "text/plain", ""), code: refused, returned: true, back: refused},
		{name: "403", answer: says(403, "text/plain", ""), code: refused, returned: true, back: refused},
		{name: "404", answer: says(404, "text/html", ""), code: refused, returned: true, back: refused},
		{name: "413", answer: says(413, "text/plain", ""), code: refused, returned: true, back: refused},
	} {
		answer.Store(&test.answer)
		body := tipt.ForwardRequest{Node: string(odd), Wait: true, Sealed: []byte("sealed")}
		alice.Ask(uint8(i), tipt.RequestForward, body.Append(nil))
		if test.code == 0 {
			var got tipt.ForwardResponse
			said := httptest.NewRecorder()
			test.answer(said, nil)
			if err := got.Parse(alice.WantReply(uint8(i)).Body, false); err != nil || string(got.Response) != said.Body.String() {
				t.Errorf("%s: %.100q, %v", test.name, got.Response, err)
			}
		} else if e := alice.WantError(uint8(i), test.code); e.Wait != test.wait {
			t.Errorf("%s: %v, want a wait of %v", test.name, e, test.wait)
		}

		ref := tipt.NewMessageID()
		body.Wait, body.Ref = false, &ref
		alice.Ask(uint8(i), tipt.RequestForward, body.Append(nil))
		alice.WantReply(uint8(i))
		if test.again {
			list := waiting(t, n, func(list []peer.Waiting) bool { return len(list) == 1 && list[0].Reason != "" })
			if list[0].Node != odd || list[0].Entries != 1 || list[0].Next.IsZero() {
				t.Errorf("%s: listed %+v", test.name, list)
			}
			no := says(403, "text/plain", "")
			answer.Store(&no)
			var ok node.AdminQueue
			if status := admin(t, n, http.MethodPost, "/queue/"+string(odd)+"/retry", &ok); status != http.StatusOK {
				t.Errorf("%s: retry: %d", test.name, status)
			}
		}
		if test.again || test.returned {
			id, r := alice.WantReturn()
			alice.Answer(id, nil)
			if r.Ref == nil || *r.Ref != ref || r.Node != string(odd) || r.HasCode != (test.back != 0) || r.Code != test.back || string(r.Response) != test.resp {
				t.Errorf("%s: RETURN %+v", test.name, r)
			}
		}
		waiting(t, n, func(list []peer.Waiting) bool { return len(list) == 0 })
	}
	alice.WantQuiet(99)
}

// waiting waits until the operator's list of what waits is as it should be.
func waiting(t *testing.T, n *tipttest.Node, is func([]peer.Waiting) bool) (list []peer.Waiting) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		list = nil
		if status := admin(t, n, http.MethodGet, "/queue", &list); status != http.StatusOK {
			t.Fatalf("list: %d", status)
		}
		if is(list) {
			return list
		}
		if time.Now().After(end) {
			t.Fatalf("listed %+v", list)
		}
	}
}
