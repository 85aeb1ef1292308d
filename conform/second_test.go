package conform

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/peer"
)

const secondBase = "second.example"

// withSecond starts a node that reaches the second node that the suite plays, and returns how
// the suite reaches both, and the node's operator. The defect is that of its configuration and of what it hands
// over.
func withSecond(t *testing.T, d defect) (*tipttest.Node, Options) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "authority.pem")
	a, err := peerAuthority(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	address := listener.Addr().String()
	if d.hand != nil || d.back != nil || d.pace > 0 || d.stays || d.follows || d.credulous != "" {
		address = between(t, a, roots, address, d)
	}
	barred := filepath.Join(t.TempDir(), "barred")
	if err := os.WriteFile(barred, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	policy, err := peer.LoadPolicy(barred, "")
	if err != nil {
		t.Fatal(err)
	}
	configure := func(c *node.Config) {
		c.Roots, c.Resolve, c.Policy = roots, make(map[tipt.NodeName]string), policy
		for _, name := range PeerNames(secondBase) {
			c.Resolve[tipt.NodeName(name)] = address
		}
		if d.own != nil {
			d.own(c)
		}
	}
	n := tipttest.Start(t, configure)
	o := options(n)
	o.Peer, o.Authority, o.listener = secondBase+"="+listener.Addr().String(), file, listener
	running := operate(t, n, configure)
	o.operate = func(ctx context.Context, args ...string) (string, error) {
		if args[0] != "node" {
			return running(ctx, args...)
		}
		list := ""
		if args[1] == "block" {
			list = args[2] + "\n"
		}
		if err := os.WriteFile(barred, []byte(list), 0o600); err != nil {
			return "", err
		}
		return "", policy.Reload()
	}
	return n, o
}

// between is what stands between the two nodes, at the address that it returns.
func between(t *testing.T, a *authority, roots *x509.CertPool, second string, d defect) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, second)
		},
	}
	blind := transport.Clone()
	blind.TLSClientConfig.InsecureSkipVerify = true
	carry := carrier(func(r *http.Request) (*http.Response, error) {
		by := transport
		if r.Method == d.credulous {
			by = blind
		}
		if !d.follows {
			return by.RoundTrip(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.RequestURI, r.Body = "", io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		return (&http.Client{Transport: by}).Do(r)
	})
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{
		ErrorLog: quiet, ReadHeaderTimeout: dialTime,
		TLSConfig: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.issue(hello.ServerName, time.Hour)
		}},
		Handler: &httputil.ReverseProxy{
			Transport: carry, ErrorLog: quiet,
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", r.In.Host, r.In.Host
				if d.hand != nil {
					d.hand(r.Out)
				}
			},
			ModifyResponse: func(r *http.Response) error {
				if d.back != nil && r.Request.Method == http.MethodPost {
					d.back(r)
				}
				return nil
			},
		},
	}
	if d.stays {
		server.Handler = endless(server.Handler)
	}
	if d.pace > 0 {
		server.Handler = again(server.Handler, d.pace)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.ServeTLS(listener, "", "") // whose error is that it was closed
	}()
	t.Cleanup(func() {
		_ = server.Close() // likewise
		<-served
	})
	return listener.Addr().String()
}

// A carrier hands a request over.
type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

// endless does not end a request with the one that it comes from.
func endless(hand http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context())) // one that can end, or the proxy looks at the connection
		defer cancel()
		hand.ServeHTTP(w, r.WithContext(ctx))
	})
}

// again hands over what is answered 500 again and again, at that pace.
func again(hand http.Handler, pace time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // so will the node
		}
		for {
			answer := httptest.NewRecorder()
			r.Body = io.NopCloser(bytes.NewReader(body))
			hand.ServeHTTP(answer, r)
			if answer.Code != http.StatusInternalServerError {
				maps.Copy(w.Header(), answer.Header())
				w.WriteHeader(answer.Code)
				_, _ = w.Write(answer.Body.Bytes()) // the node sees when it fails
				return
			}
			select {
			case <-time.After(pace):
			case <-r.Context().Done():
				return
			}
		}
	})
}

// peerRate is how many messages of another a node of the tests takes a minute, where it takes few.
const peerRate = 30

func takesFew(c *node.Config) { c.Limits.PeerMessages = peerRate }

// The node of this project passes as one of two, with its operator's help.
func TestNodeOfTwo(t *testing.T) {
	t.Parallel()     // it waits, mostly
	const many = 300 // connections, which all other scenarios do with
	_, o := withSecond(t, defect{own: func(c *node.Config) { takesFew(c); c.MaxConnections, c.NoLimits = many, false }})
	o.Connections, o.PeerRate = many, peerRate
	report := run(t, o)
	clean(t, report, "--slow", "by invitation", "not closed", "no anonymous", "no ML-KEM")
	if passed := report.Count(Passed); passed < 230 {
		t.Errorf("only %d clauses were tested", passed)
	}
}

// The node of this project fetches a certificate anew once a minute is over.
func TestNodeThatFetchesAnew(t *testing.T) {
	t.Parallel() // it waits, mostly
	_, o := withSecond(t, defect{})
	o.Slow, o.Only = true, "vouched-after-rotation"
	report := run(t, o)
	clean(t, report)
	if passed := report.Count(Passed); passed != 3 {
		t.Errorf("%d clauses were tested", passed)
	}
}

// A key is fetched anew a minute later.
func TestKeyLater(t *testing.T) {
	t.Parallel() // it waits, mostly
	_, o := withSecond(t, defect{})
	o.Only, o.Slow = "second-keys-later", true
	report := run(t, o)
	clean(t, report)
	if report.Count(Passed) == 0 {
		t.Error("nothing was tested")
	}
}

// A node that does not reach the second one is told so, and passes nothing that needs it.
func TestUnreachedSecond(t *testing.T) {
	n := tipttest.Start(t)
	o := options(n)
	o.Peer, o.Authority = secondBase+"=127.0.0.1:0", filepath.Join(t.TempDir(), "authority.pem")
	o.Only, o.Patience = "second-.*|vouch.*", time.Second
	report := run(t, o)
	clean(t, report, "does not reach", "--slow")
	if passed := report.Count(Passed); passed != 0 {
		t.Errorf("%d clauses passed", passed)
	}
}

// handed changes messages on their way from the node to the second one.
func handed(clause, name string, hand func(*http.Request)) defect {
	return defect{clause: clause, name: name, second: true, hand: hand}
}

// loses is a node that takes a FORWARD with that text, and does nothing with it.
func loses(clause, text string, code int) defect {
	return defect{clause: clause, name: "loses " + text, second: true, ask: func(b *bent, f fields) []raw {
		if msg, _ := f.part("body").get("msg").(raw); number(f, "reqt") == reqForward && strings.HasSuffix(string(msg), text) {
			return b.fail(f, code)
		}
		return nil
	}}
}

// deaf is a node that hears nothing more from a client to which it has said something.
func deaf(clause, name string, something func(fields) bool) defect {
	return defect{clause: clause, name: name, say: func(b *bent, f fields, _ int) any {
		if something(f) {
			b.note = "deaf"
		}
		return nil
	}, ask: func(b *bent, _ fields) []raw {
		if b.note == "deaf" {
			return []raw{}
		}
		return nil
	}}
}

// of2 is a defect of a node that reaches the second one.
func (d defect) of2() defect {
	d.second = true
	return d
}

// late is a node whose refusals come later than they should.
func late(clause string, request int, by time.Duration) defect {
	return defect{clause: clause, name: "takes its time", say: func(b *bent, f fields, asked int) any {
		if asked != request || f.code() == ok {
			return nil
		}
		time.AfterFunc(by, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.tell(f)
		})
		return []raw{}
	}}
}

// firstKey replaces each key by the first.
func firstKey() func(fields) fields {
	var mu sync.Mutex // guards first
	var first any
	return func(f fields) fields {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = f.get("key")
		}
		return f.with("key", first)
	}
}

var secondDefects = []defect{
	{clause: "T-1.24", name: "no PONG before the response", second: true, only: "second-ping", up: func(b *bent, f frame) []frame {
		if p, err := unpackFields(f.payload); f.opcode == opBinary && err == nil && number(p, "reqt") == reqForward {
			b.note = "at work"
		}
		if f.opcode == opPing && b.note != "" {
			return nil
		}
		return []frame{f}
	}, say: func(b *bent, _ fields, asked int) any {
		if asked == reqForward {
			b.note = ""
		}
		return nil
	}},
	{clause: "T-4.1", name: "maps by the transitional way", second: true, only: "barred-mapped", ask: func(_ *bent, f fields) []raw {
		if body := f.part("body"); words(body, "node") == "faß.invalid" {
			return []raw{f.with("body", body.with("node", "fass.invalid")).pack()}
		}
		return nil
	}},
	loses("T-3.18", "b1", ok),
	loses("T-3.19", "a at once", errNodeTimeout),
	loses("T-4.50", "second", ok),
	{clause: "T-4.67", name: "minds no ref", second: true, ask: func(_ *bent, f fields) []raw {
		if body := f.part("body"); number(f, "reqt") == reqForward && body.get("ref") != nil {
			return []raw{f.with("body", body.without("ref")).pack()}
		}
		return nil
	}},
	editBody("T-4.148", "keeps a key for ever", reqGetNodeKey, firstKey()).of2(),
	swap("T-4.149", reqGetNodeKey, errNodeTimeout, errNodeUnreachable).of2(),
	swap("T-4.149", reqGetNodeKey, errNodeRefused, errNodeTimeout).of2(),
	swap("T-4.149", reqGetNodeKey, errNodeUnreachable, errNodeRefused).of2(),
	late("T-5.141", reqGetNodeKey, 3*time.Second).of2(),
	tolerant("T-3.11", "overlooks a second REQUEST with id 200", func(f fields) bool {
		return number(f, "id") == 200 && number(f, "reqt") == reqGetInfo
	}).of2().during("second-ids"),
	loses("T-4.143", "two", ok),
	loses("T-4.143", "three", ok),
	swap("T-4.73", reqGetNodeKey, errNodeRefused, errNodeUnreachable).of2(),
	delivering("T-4.96", "a long resp", func(f fields) fields {
		if f.get("code") == nil {
			return f
		}
		return f.without("code").with("resp", make(bin, 4097))
	}).of2(),
	handed("T-5.47", "another type", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }),
	handed("T-5.53", "signs once", func(r *http.Request) { r.Header.Set("Signature", digestLike) }),
	{clause: "T-4.63", name: "tries again at one pace", second: true, pace: time.Second},
	pages("T-5.45", "says 401", signedPath, func(p *page) {
		if p.status == 403 {
			p.status = 401
		}
	}).of2(),
	pages("T-5.56", "does not say when to come again", signedPath, func(p *page) {
		if p.status == 429 {
			p.header.Del("Retry-After")
		}
	}).of2().of(takesFew),
	{clause: "T-5.56", name: "takes all that comes", second: true},
	swap("T-6.8", reqForward, errNodeRefused, errNodeUnreachable).of2(),
	swap("T-6.8", reqGetNodeKey, errNodeRefused, errNodeUnreachable).of2(),
	delivering("T-6.8", "another code", func(f fields) fields {
		if number(f, "code") == errNodeRefused {
			return f.with("code", errNodeUnreachable)
		}
		return f
	}).of2(),
	deaf("T-3.39", "answers nothing once it is going away", func(f fields) bool { return number(f, "pakt") == pktEvent }).of2(),
	deaf("T-3.35", "reads nothing after BUSY", func(f fields) bool { return f.code() == errBusy }).of2(),
	late("T-5.120", reqForward, 15*time.Second).of2(),
	swap("T-5.44", reqForward, errNodeUnreachable, errNodeTimeout).of2().during("second-certificates"),
	{clause: "T-5.44", name: "hands over to anybody", second: true, credulous: http.MethodPost},
	{clause: "T-5.190", name: "takes anybody's key", second: true, credulous: http.MethodGet},
	{clause: "T-5.191", name: "goes where it is sent", second: true, follows: true},
	{clause: "T-5.192", name: "takes the beginning of an answer", second: true, back: func(r *http.Response) {
		r.Body = cutTo{io.LimitReader(r.Body, 2_000_000), r.Body} // which comes in chunks
	}},
	pages("T-5.46", "blames itself", signedPath, func(p *page) {
		if p.status == 400 {
			p.status = 500
		}
	}).of2(),
}

// cutTo reads the beginning of a body.
type cutTo struct {
	io.Reader
	io.Closer
}

// digestLike is a signature in form alone.
const digestLike = "tipt=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw==:"
