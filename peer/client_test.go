package peer

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/seal"
)

// delivered is what MESSAGE is answered with.
var delivered = tipt.ForwardAnswer{}.Append(nil)

// answer serves one answer, after it has read the request.
func answer(status int, kind string, body []byte, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", kind)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}
}

func TestForward(t *testing.T) {
	ca := newCA(t)
	key := newNodeKey(t, own)
	sealed := bytes.Repeat([]byte("sealed "), 100_000)
	var wrong error
	address := serve(t, ca, other, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		vouch, parseErr := ParseVouch(r.Header)
		wrong = errors.Join(err, parseErr, vouch.Current(time.Now()), vouch.Covers(body))
		cert, err := seal.ParseCertificate(key.Certificate())
		if err != nil {
			t.Error(err)
		}
		public, err := cert.SigningKey(vouch.KeyID, time.Now())
		wrong = errors.Join(wrong, err, vouch.Verify(other, public))
		if got := strings.Join([]string{r.Method, r.Host, r.URL.String(), r.Proto, r.Header.Get("Content-Type"), r.UserAgent(), vouch.From.String(), fmt.Sprint(r.ContentLength)}, " "); got !=
			"POST other.example /api/forward HTTP/2.0 application/octet-stream test alice@own.example 700000" ||
			!bytes.Equal(body, sealed) || r.Header.Get("Accept-Encoding") != "" {
			wrong = errors.Join(wrong, errors.New(got))
		}
		w.Header().Set("Content-Type", "application/msgpack")
		_, _ = w.Write(delivered)
	}))
	c := newClient(t, ca, address, func(o *ClientOptions) { o.Key = func() *seal.NodeKey { return key } })
	a, err := c.Forward(t.Context(), other, alice, sealed)
	if err != nil || wrong != nil {
		t.Fatal(err, wrong)
	}
	if !a.Delivered || a.Sealed || !bytes.Equal(a.Bytes, delivered) {
		t.Errorf("answer %+v", a)
	}
}

func TestAnswers(t *testing.T) {
	ca := newCA(t)
	refused := tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrNoSuchUser}}.Append(nil)
	long := append([]byte{0x82, 0xa4, 'b', 'o', 'd', 'y', 0xc0, 0xa1, 'x', 0xc6, 0, 0x1e, 0x84, 0x73}, make([]byte, 1_999_987)...)[:tipt.MaxForwardRespSize]
	for _, test := range []struct {
		name      string
		kind      string
		body      []byte
		delivered bool
		sealed    bool
	}{
		{name: "nil", kind: typeMsgpack, body: delivered, delivered: true},
		{name: "no key", kind: typeMsgpack, body: []byte{0x80}, delivered: true},
		{name: "unknown keys", kind: typeMsgpack, body: []byte{0x81, 0xa1, 'x', 1}, delivered: true},
		{name: "type with a parameter", kind: "Application/MsgPack; charset=binary", body: delivered, delivered: true},
		{name: "error", kind: typeMsgpack, body: refused},
		{name: "a body", kind: typeMsgpack, body: []byte{0x81, 0xa4, 'b', 'o', 'd', 'y', 0x80}},
		{name: "no map", kind: typeMsgpack, body: []byte("no map")},
		{name: "empty", kind: typeMsgpack},
		{name: "the longest", kind: typeMsgpack, body: long},
		{name: "sealed", kind: typeOctets, body: delivered, sealed: true},
	} {
		c := newClient(t, ca, serve(t, ca, other, answer(200, test.kind, test.body)))
		a, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if a.Delivered != test.delivered || a.Sealed != test.sealed || !bytes.Equal(a.Bytes, test.body) {
			t.Errorf("%s: delivered %t, sealed %t, %d bytes", test.name, a.Delivered, a.Sealed, len(a.Bytes))
		}
	}
}

// An outcome is what section 5.5 makes of a failure.
type outcome struct {
	Code                            tipt.ErrorCode
	Temporary, Unknown, Destination bool
}

var (
	nothingSent = outcome{tipt.ErrNodeUnreachable, true, false, true}
	perhapsSent = outcome{tipt.ErrNodeTimeout, true, true, false}
	refusedNow  = outcome{tipt.ErrNodeRefused, false, false, false}
	movedAway   = outcome{tipt.ErrNodeRefused, true, false, false}
)

func wantOutcome(t *testing.T, name string, err error, want outcome) *Failure {
	t.Helper()
	f := wantFailure(t, err)
	if got := (outcome{f.Code(), f.Temporary(), f.Unknown, f.Destination}); got != want {
		t.Errorf("%s: %+v, want %+v: %v", name, got, want, err)
	}
	return f
}

func TestStatus(t *testing.T) {
	ca := newCA(t)
	for status, want := range map[int]outcome{
		201: refusedNow, 202: refusedNow, 204: refusedNow, 206: refusedNow,
		300: movedAway, 301: movedAway, 302: movedAway, 304: movedAway, 307: movedAway, 399: movedAway,
		400: refusedNow, 401: refusedNow, 403: refusedNow, 404: refusedNow, 405: refusedNow, 408: refusedNow,
		413: refusedNow, 415: refusedNow, 421: refusedNow, 426: refusedNow, 451: refusedNow, 499: refusedNow,
		429: nothingSent, 503: nothingSent,
		500: perhapsSent, 501: perhapsSent, 502: perhapsSent, 504: perhapsSent, 599: perhapsSent,
		600: refusedNow, 999: refusedNow,
	} {
		c := newClient(t, ca, serve(t, ca, other, answer(status, "text/plain", []byte(strings.Repeat("because ", 100)))))
		_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		f := wantOutcome(t, fmt.Sprint(status), err, want)
		if f.Status != status || !strings.Contains(f.Error(), fmt.Sprint("other.example answered ", status)) || len(f.Error()) > 2*maxReason {
			t.Errorf("%d: status %d, %v", status, f.Status, f)
		}
	}
}

// TestUsersSeeNoAddress is about a user who tries out which names mean what to this machine.
func TestUsersSeeNoAddress(t *testing.T) {
	address := netip.MustParseAddrPort("10.1.2.3:443")
	for _, err := range []error{
		&net.DNSError{Err: "server misbehaving", Name: "x.example", Server: address.String(), IsTemporary: true},
		&net.DNSError{Err: "no such host", Name: "x.example", Server: address.String(), IsNotFound: true},
		&net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(address), Err: syscall.ECONNREFUSED},
		fmt.Errorf("%w: %v", ErrForbidden, address),
	} {
		for _, unknown := range []bool{false, true} {
			f := &Failure{Unknown: unknown, Err: fmt.Errorf("reach x.example: %w", err)}
			if told := f.Coded().Message; strings.Contains(told, "10.1") || told == "" {
				t.Errorf("%v: the user is told %q", err, told)
			}
			if !strings.Contains(f.Error(), "10.1.2.3") {
				t.Errorf("the operator is told %q", f)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	ca := newCA(t)
	for value, want := range map[string]time.Duration{
		"":                     0,
		"0":                    0,
		"7":                    7 * time.Second,
		"86400":                maxRetryAfter,
		"86401":                maxRetryAfter,
		"99999999999999999999": maxRetryAfter,
		"-7":                   0,
		"7.5":                  0,
		"soon":                 0,
	} {
		c := newClient(t, ca, serve(t, ca, other, answer(503, "text/plain", nil, "Retry-After", value)))
		_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		f := wantOutcome(t, value, err, nothingSent)
		if f.RetryAfter != want {
			t.Errorf("Retry-After %q: %v, want %v", value, f.RetryAfter, want)
		}
		if wait := f.Coded().Wait; wait != max(want, 0) && (want != 0 || wait != minPause) {
			t.Errorf("Retry-After %q: wait %v", value, wait)
		}
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"Sun, 01 Mar 2026 12:01:30 GMT":  90 * time.Second,
		"Sunday, 01-Mar-26 12:00:05 GMT": 5 * time.Second,
		"Sun Mar  1 12:00:07 2026":       7 * time.Second,
		"Sun, 01 Mar 2026 11:59:59 GMT":  0,
		"Tue, 03 Mar 2026 12:00:00 GMT":  maxRetryAfter,
		"Sun, 01 Mar 2026 12:01:30 CET":  0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After %q: %v, want %v", value, got, want)
		}
	}
}

// TestUnusableAnswers has answers with 200 that section 5.5 takes for failures.
func TestUnusableAnswers(t *testing.T) {
	ca := newCA(t)
	for name, handler := range map[string]http.HandlerFunc{
		"another type":     answer(200, "text/html", []byte("<html>")),
		"no type":          answer(200, "", delivered),
		"broken type":      answer(200, ";;", delivered),
		"too large":        answer(200, typeMsgpack, make([]byte, tipt.MaxForwardRespSize+1)),
		"too large sealed": answer(200, typeOctets, make([]byte, tipt.MaxForwardRespSize+1)),
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", typeMsgpack)
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write(delivered)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"no answer":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"too large header": answer(200, typeMsgpack, delivered, "X", strings.Repeat("x", 20_000)),
	} {
		for _, h2 := range []bool{true, false} {
			c := newClient(t, ca, serve(t, ca, other, handler, func(s *httptest.Server) { s.EnableHTTP2 = h2 }))
			_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
			wantOutcome(t, fmt.Sprint(name, " h2 ", h2), err, perhapsSent)
		}
	}
}

// serveBroken is serveRaw for a server that gets as far as TLS, without HTTP/2.
func serveBroken(t *testing.T, ca *devca.CA, f func(net.Conn)) string {
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{issue(t, ca, time.Hour, other)}}
	return serveRaw(t, func(conn net.Conn) {
		secure := tls.Server(conn, config)
		defer secure.Close()
		if err := secure.Handshake(); err != nil {
			t.Errorf("handshake: %v", err)
			return
		}
		f(secure)
	})
}

func TestBrokenConnections(t *testing.T) {
	ca := newCA(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	withCertificate := func(cert tls.Certificate) string {
		return serve(t, ca, other, answer(200, typeMsgpack, delivered), func(s *httptest.Server) { s.TLS.Certificates[0] = cert })
	}
	for _, test := range []struct {
		name    string
		address string
		want    outcome
		reason  string
	}{
		{"refused", closed.Addr().String(), nothingSent, "refused"},
		{"closed at once", serveRaw(t, func(net.Conn) {}), nothingSent, ""},
		{"no TLS", serveRaw(t, func(c net.Conn) { _, _ = c.Write([]byte("220 mail.example\r\n")) }), nothingSent, "TLS"},
		{"plain HTTP", serveRaw(t, func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 5))
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		}), nothingSent, "HTTPS"},
		{"another name", withCertificate(issue(t, ca, time.Hour, "else.example")), nothingSent, "else.example"},
		{"another authority", withCertificate(issue(t, newCA(t), time.Hour, other)), nothingSent, "unknown authority"},
		{"expired", withCertificate(issue(t, ca, -time.Hour, other)), nothingSent, "expired"},
		{"TLS 1.1", serve(t, ca, other, answer(200, typeMsgpack, delivered), func(s *httptest.Server) {
			s.TLS.MinVersion, s.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}), nothingSent, "version"},
		{"closed within the request", serveBroken(t, ca, func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 30)) }), perhapsSent, ""},
		{"closed after the request", serveBroken(t, ca, func(c net.Conn) { readRequest(t, c) }), perhapsSent, "EOF"},
		{"no HTTP", serveBroken(t, ca, func(c net.Conn) {
			readRequest(t, c)
			_, _ = c.Write([]byte("hello\r\n\r\n"))
		}), perhapsSent, "malformed"},
		{"cut in the header", serveBroken(t, ca, func(c net.Conn) {
			readRequest(t, c)
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: applic"))
		}), perhapsSent, "EOF"},
	} {
		c := newClient(t, ca, test.address)
		_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		if f := wantOutcome(t, test.name, err, test.want); !strings.Contains(f.Error(), test.reason) || !strings.HasPrefix(f.Error(), "reach other.example: ") {
			t.Errorf("%s: %v, want a word about %q", test.name, f, test.reason)
		}
	}

	// Whether the request was on its way before the end was seen depends on who is
	// faster. It is never taken for a refusal, nor for both.
	c := newClient(t, ca, serveBroken(t, ca, func(net.Conn) {}))
	_, err = c.Forward(t.Context(), other, alice, []byte("sealed"))
	if f := wantFailure(t, err); f.Unknown == f.Destination || !f.Temporary() || f.Unknown != (f.Code() == tipt.ErrNodeTimeout) {
		t.Errorf("closed after the handshake: %+v", f)
	}
}

func readRequest(t *testing.T, c net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		t.Errorf("read the request: %v", err)
	}
}

// TestFailureIsPlain has a certificate whose names would write to an operator's terminal, and
// there are many of them.
func TestFailureIsPlain(t *testing.T) {
	names := []string{"\x1b]0;mine\a\n.example"}
	for range 90 {
		names = append(names, strings.Repeat("x", 1000)+".example")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	cert, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, newCA(t), other, answer(200, typeMsgpack, delivered), func(s *httptest.Server) {
		s.TLS.Certificates[0] = tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}
	})
	_, err = newClient(t, newCA(t), address).Forward(t.Context(), other, alice, []byte("sealed"))
	f := wantOutcome(t, "odd names", err, nothingSent)
	if text := f.Error(); !strings.Contains(text, "valid for \uFFFD]0;mine\uFFFD\uFFFD.example, xxx") || len(text) > maxFailure || !strings.HasSuffix(text, "…") {
		t.Errorf("%d bytes: %q", len(text), text)
	}
	for _, text := range []string{strings.Repeat("ü", maxFailure), "x" + strings.Repeat("ü", maxFailure)} {
		if got := (&Failure{Err: errors.New(text)}).Error(); !utf8.ValidString(got) || len(got) > maxFailure || len(got) < maxFailure-2 {
			t.Errorf("%d bytes of %d: %q", len(got), len(text), got)
		}
	}
}

func TestPublicKey(t *testing.T) {
	ca := newCA(t)
	key := newNodeKey(t, other)
	var request *http.Request
	served := answer(200, typeOctets, key.Certificate())
	c := newClient(t, ca, serve(t, ca, other, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request = r
		served(w, r)
	})))
	cert, err := c.PublicKey(t.Context(), other)
	if err != nil || !bytes.Equal(cert.Bytes(), key.Certificate()) {
		t.Fatal(cert, err)
	}
	if request.Method != "GET" || request.URL.Path != "/api/public_key" || request.Host != string(other) || Vouched(request.Header) {
		t.Errorf("asked by %s %s %s %v", request.Method, request.Host, request.URL, request.Header)
	}
	// Caches in front of it would keep a new subkey from us for another hour (section 5.4).
	if got := request.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control: %q", got)
	}
	for name, body := range map[string][]byte{
		"none":        nil,
		"no OpenPGP":  []byte("no OpenPGP"),
		"a secret":    key.Append(nil),
		"two of them": bytes.Repeat(key.Certificate(), 2),
		"too large":   append(key.Certificate(), make([]byte, tipt.MaxKeySize)...),
	} {
		c := newClient(t, ca, serve(t, ca, other, answer(200, typeOctets, body)))
		_, err := c.PublicKey(t.Context(), other)
		if f := wantFailure(t, err); f.Code() != tipt.ErrNodeRefused || f.Unknown || f.Destination {
			t.Errorf("%s: %+v, %v", name, f, f)
		}
	}
}

// TestManyAtOnce has more requests than a connection takes: they share few connections.
func TestManyAtOnce(t *testing.T) {
	ca := newCA(t)
	for _, h2 := range []bool{true, false} {
		var mu sync.Mutex
		connections := make(map[string]bool)
		var now, most int
		full := make(chan struct{}) // closed when as many requests are under way as may be
		want := maxConnections
		if h2 {
			want = maxRequests
		}
		address := serve(t, ca, other, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			connections[r.RemoteAddr] = true
			now++
			if most = max(most, now); now == want {
				close(full)
				want = -1
			}
			mu.Unlock()
			<-full
			answer(200, typeMsgpack, delivered)(w, r)
			mu.Lock()
			now--
			mu.Unlock()
		}), func(s *httptest.Server) {
			s.EnableHTTP2 = h2
			s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxRequests}
		})
		wanted := want
		c := newClient(t, ca, address)
		var requests sync.WaitGroup
		for range 2 * maxRequests {
			requests.Go(func() {
				if a, err := c.Forward(t.Context(), other, alice, []byte("sealed")); err != nil || !a.Delivered {
					t.Errorf("%+v, %v", a, err)
				}
			})
		}
		requests.Wait()
		mu.Lock()
		// HTTP/1 replaces a connection whose request was written too slowly.
		if len(connections) > maxConnections && (h2 || len(connections) > 3*maxConnections) || most > wanted {
			t.Errorf("h2 %t: %d connections, %d requests at once", h2, len(connections), most)
		}
		mu.Unlock()
		if len(c.requests.nodes) != 0 {
			t.Errorf("the gate remembers %d nodes", len(c.requests.nodes))
		}
	}
}
