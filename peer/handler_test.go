package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

const third tipt.NodeName = "third.example"

var bob = tipt.Address{User: "bob", Node: other}

// A reception is the handler of own with what is behind it.
type reception struct {
	*Handler
	keys map[tipt.NodeName]*seal.NodeKey // what the nodes serve
	log  bytes.Buffer

	mu      sync.Mutex // guards the following fields
	fetches int
	heard   []tipt.NodeName
}

// newReception makes a handler that opens no message: Receive fails the test.
func newReception(t testing.TB, configure ...func(*HandlerOptions)) *reception {
	r := &reception{keys: map[tipt.NodeName]*seal.NodeKey{other: newNodeKey(t, other), third: newNodeKey(t, third)}}
	key := newNodeKey(t, own)
	o := HandlerOptions{
		Node: own,
		Key:  func() *seal.NodeKey { return key },
		Keys: newKeys(func(_ context.Context, node tipt.NodeName) (*seal.Certificate, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.fetches++
			key := r.keys[node]
			if key == nil {
				return nil, &Failure{Destination: true, Err: errors.New("reach it: 10.1.2.3 is secret")}
			}
			return seal.ParseCertificate(key.Certificate())
		}),
		Receive: func(context.Context, tipt.Address, []byte) ([]byte, bool, error) {
			t.Error("a message was opened")
			return nil, false, errors.New("opened")
		},
		Heard: func(node tipt.NodeName) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.heard = append(r.heard, node)
		},
		Limit:  func(tipt.NodeName, int) time.Duration { return 0 },
		Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
	}
	for _, f := range configure {
		f(&o)
	}
	r.Handler = NewHandler(o)
	t.Cleanup(func() { r.Close(); o.Keys.Close() })
	return r
}

// request is a forwarded message that bob's node vouches for.
func (r *reception) request(body string) *http.Request {
	return r.requestAt(body, time.Now())
}

func (r *reception) requestAt(body string, now time.Time) *http.Request {
	request := plainRequest(body)
	AddVouch(request.Header, r.keys[other], own, bob, []byte(body), now)
	return request
}

func plainRequest(body string) *http.Request {
	request := httptest.NewRequest(http.MethodPost, "/api/forward", strings.NewReader(body))
	request.Header.Set("Content-Type", typeOctets)
	return request
}

// A recorder is a response whose request's body has a deadline.
type recorder struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (r *recorder) SetReadDeadline(at time.Time) error { r.deadline = at; return nil }

func (r *reception) serve(request *http.Request) *recorder {
	w := &recorder{ResponseRecorder: httptest.NewRecorder()}
	r.ServeHTTP(w, request)
	return w
}

// wantRejected serves a request and checks the status and the reason in the log.
func (r *reception) wantRejected(t *testing.T, what string, request *http.Request, status int, reason string) *recorder {
	t.Helper()
	r.log.Reset()
	w := r.serve(request)
	if w.Code != status {
		t.Errorf("%s: status %d, want %d: %s", what, w.Code, status, w.Body)
	}
	line := strings.ReplaceAll(r.log.String(), `\"`, `"`)
	if !strings.Contains(line, `msg="forwarded message refused"`) || !strings.Contains(line, fmt.Sprint("status=", status)) || !strings.Contains(line, reason) {
		t.Errorf("%s: logged %s want a reason with %q", what, line, reason)
	}
	if (w.Header().Get("Retry-After") != "") != (status == 429 || status == 503) {
		t.Errorf("%s: %d with Retry-After %q", what, status, w.Header().Get("Retry-After"))
	}
	return w
}

func TestReceive(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		type received struct{ from, message string }
		var got []received
		r := newReception(t, func(o *HandlerOptions) {
			o.Anonymous = true
			o.Receive = func(_ context.Context, from tipt.Address, message []byte) ([]byte, bool, error) {
				got = append(got, received{from.String(), string(message)})
				return []byte("answer"), sealed, nil
			}
		})
		kind := map[bool]string{false: "application/msgpack", true: "application/octet-stream"}[sealed]
		for _, test := range []struct {
			request *http.Request
			want    received
		}{
			{r.request("hello"), received{"bob@other.example", "hello"}},
			{r.request(""), received{"bob@other.example", ""}},
			{r.requestAt("early", time.Now().Add(-maxSkew+10*time.Second)), received{"bob@other.example", "early"}},
			{r.requestAt("late", time.Now().Add(maxSkew-10*time.Second)), received{"bob@other.example", "late"}},
			{r.request(strings.Repeat("x", tipt.MaxSealedSize)), received{"bob@other.example", strings.Repeat("x", tipt.MaxSealedSize)}},
			{plainRequest("anonymous"), received{"@", "anonymous"}},
		} {
			w := r.serve(test.request)
			if w.Code != 200 || w.Body.String() != "answer" || w.Header().Get("Content-Type") != kind || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%.20q: answered %d %q %v", test.want.message, w.Code, w.Body, w.Header())
			}
			if len(got) != 1 || got[0] != test.want {
				t.Errorf("%.20q: received %.40q", test.want.message, got)
			}
			got = nil
		}
		if r.log.Len() != 0 {
			t.Errorf("logged %s", &r.log)
		}
		if len(r.heard) != 5 || r.heard[0] != other || r.fetches != 1 {
			t.Errorf("heard of %v, %d fetches", r.heard, r.fetches)
		}
	}
}

// signAs signs a request with other's key as the given vouch says.
func (r *reception) signAs(v Vouch, destination tipt.NodeName, body string) *http.Request {
	request := plainRequest(body)
	v.digest = sha256.Sum256([]byte(body))
	v.created = time.Now().Unix()
	v.signature = r.keys[other].Sign(v.base(destination))
	request.Header.Set(headerFrom, v.from())
	request.Header.Set(headerDigest, v.contentDigest())
	request.Header.Set(headerInput, "tipt="+v.params())
	request.Header.Set(headerSignature, "tipt="+sfBytes(v.signature))
	return request
}

// TestUnauthorized has every fault of section 5.4: 401 before the message is opened,
// and the reason in the log.
func TestUnauthorized(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		r := newReception(t, func(o *HandlerOptions) { o.Anonymous = anonymous })
		kinds := subkeys(t, r.keys[other])
		change := func(f func(http.Header)) *http.Request {
			request := r.request("body")
			f(request.Header)
			return request
		}
		otherBody := r.request("body")
		otherBody.Body = io.NopCloser(strings.NewReader("Body"))
		shorterBody := r.request("body")
		shorterBody.Body = io.NopCloser(strings.NewReader("bod"))
		type fault struct {
			name    string
			request *http.Request
			reason  string
		}
		faults := []fault{
			{"a slow clock", r.requestAt("body", time.Now().Add(-maxSkew-2*time.Second)), "clock"},
			{"a fast clock", r.requestAt("body", time.Now().Add(maxSkew+2*time.Second)), "clock"},
			{"a clock of another age", r.requestAt("body", time.Unix(0, 0)), "clock"},
			{"another body", otherBody, "Content-Digest: not the body's"},
			{"a shorter body", shorterBody, "Content-Digest: not the body's"},
			{"another user", change(set(headerFrom, "mallory@other.example")), "does not verify"},
			{"another node's user", change(set(headerFrom, "bob@third.example")), "no such subkey"},
			{"our user", change(set(headerFrom, "alice@own.example")), "no other node vouches for this node's users"},
			{"another node's key", r.signAs(Vouch{From: tipt.Address{User: "carol", Node: third}, KeyID: r.keys[other].SigningKeyID()}, own, "body"), "no such subkey"},
			{"our user by another node", r.signAs(Vouch{From: alice, KeyID: r.keys[other].SigningKeyID()}, own, "body"), "no other node vouches"},
			{"for another node", r.signAs(Vouch{From: bob, KeyID: r.keys[other].SigningKeyID()}, third, "body"), "does not verify"},
			{"keyid of the primary key", r.signAs(Vouch{From: bob, KeyID: kinds["primary"]}, own, "body"), "primary key"},
			{"keyid of the encryption subkey", r.signAs(Vouch{From: bob, KeyID: kinds["encryption"]}, own, "body"), "not for signing alone"},
			{"keyid in upper case", r.signAs(Vouch{From: bob, KeyID: strings.ToUpper(kinds["signing"])}, own, "body"), "keyid"},
			{"keyid of 64 bits", r.signAs(Vouch{From: bob, KeyID: kinds["signing"][24:]}, own, "body"), "keyid"},
			{"nothing but Tipt-From", change(func(h http.Header) { h.Del(headerDigest); h.Del(headerInput); h.Del(headerSignature) }), "Content-Digest: 0 lines"},
			{"nothing but the signature", change(func(h http.Header) { h.Del(headerFrom); h.Del(headerDigest) }), "Tipt-From: 0 lines"},
		}
		for _, name := range []string{headerFrom, headerDigest, headerInput, headerSignature} {
			line := r.request("body").Header.Get(name)
			longer := name + ": members"
			if name == headerFrom { // is another user's then
				longer = "does not verify"
			}
			faults = append(faults,
				fault{name + " missing", change(func(h http.Header) { h.Del(name) }), name + ": 0 lines"},
				fault{name + " empty", change(set(name, "")), name + ": "},
				fault{name + " doubled", change(func(h http.Header) { h.Add(name, h.Get(name)) }), name + ": 2 lines"},
				fault{name + " doubled otherwise", change(func(h http.Header) { h.Add(name, "x") }), name + ": 2 lines"},
				fault{name + " joined", change(set(name, line+", "+line)), name + ": "},
				fault{name + " with another member", change(set(name, line+", x=:AA==:")), name + ": "},
				fault{name + " misspelt", change(func(h http.Header) { h.Del(name); h.Set(name+"s", line) }), name + ": 0 lines"},
				fault{name + " with a letter more", change(set(name, "x"+line)), longer},
				fault{name + " cut", change(set(name, line[:min(len(line)-1, 10)])), name + ": "},
			)
		}
		if !anonymous {
			faults = append(faults, fault{"anonymous", plainRequest("body"), "takes no anonymous messages"})
		}
		fetch := r.o.Keys.fetch
		for _, f := range faults {
			r.o.Keys = newKeys(fetch) // nothing was fetched a moment ago
			r.wantRejected(t, f.name, f.request, http.StatusUnauthorized, f.reason)
		}
		if len(r.heard) != 0 {
			t.Errorf("heard of %v", r.heard)
		}
	}
}

// TestSubkeyAfterRotation has a signature by a subkey whose grace is over.
func TestSubkeyAfterRotation(t *testing.T) {
	r := newReception(t)
	request := r.request("body")
	rotated, err := r.keys[other].Rotate(time.Now().Add(-20 * time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	r.keys[other] = rotated
	r.wantRejected(t, "retired subkey", request, http.StatusUnauthorized, "expired")
}

// TestKeyCannotBeHad has nodes whose certificate is not to be had now: 503, and nobody
// is told how we fared.
func TestKeyCannotBeHad(t *testing.T) {
	r := newReception(t)
	gone := r.request("body")
	key := r.keys[other]
	delete(r.keys, other)
	for range 2 {
		w := r.wantRejected(t, "node down", gone, http.StatusServiceUnavailable, "10.1.2.3 is secret")
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("told %s", w.Body)
		}
	}
	if r.fetches != 1 {
		t.Errorf("%d fetches within a minute", r.fetches)
	}
	// A certificate that was fetched a moment ago lacks the key.
	r = newReception(t)
	r.keys[other] = key
	r.o.Receive = func(context.Context, tipt.Address, []byte) ([]byte, bool, error) { return delivered, false, nil }
	if w := r.serve(r.request("body")); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	r.keys[other] = newNodeKey(t, other)
	w := r.wantRejected(t, "new key", r.request("body"), http.StatusServiceUnavailable, "lacks the key")
	if after := w.Header().Get("Retry-After"); after != "60" && after != "59" {
		t.Errorf("Retry-After %s, want the rest of the minute", after)
	}
}

func TestRejections(t *testing.T) {
	answers := func(err error) func(*HandlerOptions) {
		return func(o *HandlerOptions) {
			o.Receive = func(context.Context, tipt.Address, []byte) ([]byte, bool, error) { return nil, false, err }
		}
	}
	limited := func(wait time.Duration) func(*HandlerOptions) {
		return func(o *HandlerOptions) {
			o.Limit = func(node tipt.NodeName, size int) time.Duration {
				if node != other || size != 4 {
					t.Errorf("charged %s for %d bytes", node, size)
				}
				return wait
			}
		}
	}
	withType := func(kind string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", kind) }
	}
	for _, test := range []struct {
		name      string
		configure func(*HandlerOptions)
		change    func(*http.Request)
		status    int
		reason    string
		after     string
		silent    string // is not told the other node
	}{
		{name: "cannot be opened", configure: answers(fmt.Errorf("%w: chunk 3", ErrBadMessage)), status: 400, reason: "chunk 3"},
		{name: "another type", change: withType("text/plain"), status: 400, reason: "Content-Type"},
		{name: "no type", change: func(r *http.Request) { r.Header.Del("Content-Type") }, status: 400, reason: "Content-Type"},
		{name: "two types", change: withType("application/octet-stream, text/plain"), status: 400, reason: "Content-Type"},
		{name: "cut off", change: func(r *http.Request) { r.Body = io.NopCloser(cutReader{io.ErrUnexpectedEOF}) }, status: 400, reason: "unexpected EOF"},
		{name: "too slow", change: func(r *http.Request) { r.Body = io.NopCloser(cutReader{os.ErrDeadlineExceeded}) }, status: 503, reason: "timeout", after: "5"},
		{name: "too large", change: func(r *http.Request) { r.ContentLength = tipt.MaxSealedSize + 1 }, status: 413, reason: "at most 2000000 bytes"},
		{name: "too large, undeclared", change: func(r *http.Request) {
			r.ContentLength = -1
			r.Body = io.NopCloser(bytes.NewReader(make([]byte, tipt.MaxSealedSize+1)))
		}, status: 413, reason: "at most 2000000 bytes"},
		{name: "too many", configure: limited(90*time.Second + time.Millisecond), status: 429, reason: "too many", after: "91"},
		{name: "a few too many", configure: limited(time.Millisecond), status: 429, reason: "too many", after: "1"},
		{
			name: "too many recipients", configure: answers(&tipt.Error{Code: tipt.ErrBusy, Message: "new recipients", Wait: 7 * time.Second}),
			status: 429, reason: "new recipients", after: "7",
		},
		{name: "another coded error", configure: answers(&tipt.Error{Code: tipt.ErrInternal, Message: "secret"}), status: 500, reason: "secret", silent: "secret"},
		{name: "disk full", configure: answers(fmt.Errorf("store: %w", store.ErrDiskFull)), status: 503, reason: "disk full", after: "60"},
		{name: "ours", configure: answers(errors.New("secret")), status: 500, reason: "secret", silent: "secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			configure := test.configure
			if configure == nil {
				configure = func(*HandlerOptions) {}
			}
			r := newReception(t, configure)
			request := r.request("body")
			if test.change != nil {
				test.change(request)
			}
			w := r.wantRejected(t, test.name, request, test.status, test.reason)
			if after := w.Header().Get("Retry-After"); after != test.after {
				t.Errorf("Retry-After %q, want %q", after, test.after)
			}
			if test.silent != "" && strings.Contains(w.Body.String(), test.silent) {
				t.Errorf("told %s", w.Body)
			}
			if level := strings.Contains(r.log.String(), "level=ERROR"); level != (test.status == 500) || !strings.Contains(r.log.String(), "node=other.example") {
				t.Errorf("logged %s", &r.log)
			}
		})
	}
}

type cutReader struct{ err error }

func (r cutReader) Read([]byte) (int, error) { return 0, r.err }

// TestBarred has a node that the operator wants nothing to do with: not even its
// certificate is fetched.
func TestBarred(t *testing.T) {
	file := t.TempDir() + "/block"
	write(t, file, "oth*.example\n")
	policy, err := LoadPolicy(file, "")
	if err != nil {
		t.Fatal(err)
	}
	r := newReception(t, func(o *HandlerOptions) { o.Policy = policy })
	r.wantRejected(t, "barred", r.request("body"), http.StatusForbidden, "barred")
	if r.fetches != 0 {
		t.Error("its certificate was fetched")
	}
	write(t, file, "")
	if err := policy.Reload(); err != nil {
		t.Fatal(err)
	}
	r.o.Receive = func(context.Context, tipt.Address, []byte) ([]byte, bool, error) { return delivered, false, nil }
	if w := r.serve(r.request("body")); w.Code != 200 {
		t.Errorf("not barred any more: %d", w.Code)
	}
}

func TestHandlerPaths(t *testing.T) {
	r := newReception(t)
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/api/public_key", 200, ""},
		{"HEAD", "/api/public_key", 200, ""},
		{"POST", "/api/public_key", 405, "GET, HEAD"},
		{"OPTIONS", "/api/public_key", 405, "GET, HEAD"},
		{"GET", "/api/forward", 405, "POST"},
		{"PUT", "/api/forward", 405, "POST"},
	} {
		if !r.Serves(test.path) {
			t.Errorf("does not serve %s", test.path)
		}
		w := r.serve(httptest.NewRequest(test.method, test.path, nil))
		if w.Code != test.status || w.Header().Get("Allow") != test.allow {
			t.Errorf("%s %s: %d, allows %q", test.method, test.path, w.Code, w.Header().Get("Allow"))
		}
		if test.status != 200 {
			continue
		}
		if got := fmt.Sprint(w.Header()); got != "map[Cache-Control:[public, max-age=3600] Content-Type:[application/octet-stream]]" ||
			!bytes.Equal(w.Body.Bytes(), r.o.Key().Certificate()) {
			t.Errorf("%s %s: %s, %d bytes", test.method, test.path, got, w.Body.Len())
		}
	}
	for _, path := range []string{"/", "/api", "/api/forward/", "/api/public_key/x", "/API/forward"} {
		if r.Serves(path) {
			t.Errorf("serves %s", path)
		}
	}
}
