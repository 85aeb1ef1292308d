package conform

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// The second node, which the suite plays. It has several names, so that what one scenario does to
// the tested node's picture of a name does not touch the others.
const (
	faceOrder  = "order"
	faceStatus = "status"
	faceRetry  = "retry"
	faceVouch  = "vouch"
	faceKey    = "key"
	faceLarge  = "large"
	faceTLS    = "tls"
	faceBarred = "barred"
	faceLoud   = "loud"
	facePauses = "pauses"
	faceSilent = "silent"

	// Those whose keys are asked for, once a minute each.
	faceAbsent  = "absent"
	faceMoved   = "moved"
	faceFailing = "failing"
	faceCut     = "cut"
	faceBusy    = "busy"
	faceRate    = "rate"
	faceDumb    = "dumb"
	faceSoon    = "soon"
	faceLater   = "later"
	faceSubkeys = "subkeys"
	faceFuture  = "future"
	faceNoKey   = "nokey"
	faceLacking = "lacking"
	faceRotated = "rotated"
	faceUnknown = "unknown"
	faceExpired = "expired"
	faceOther   = "other"

	// Those whose word is not to be borne out.
	faceUnknownToo = "unknown-too"
	faceExpiredToo = "expired-too"
	faceOtherToo   = "other-too"

	faceDropped = "dropped"
	faceAsked   = "asked"
)

var faces = []string{
	faceOrder, faceStatus, faceRetry, faceVouch, faceKey, faceLarge, faceTLS, faceBarred, faceLoud, facePauses, faceSilent,
	faceAbsent, faceMoved, faceFailing, faceCut, faceBusy, faceRate, faceDumb, faceSoon, faceLater,
	faceSubkeys, faceFuture, faceNoKey, faceLacking, faceRotated, faceDropped, faceAsked,
	faceUnknown, faceExpired, faceOther, faceUnknownToo, faceExpiredToo, faceOtherToo,
}

// PeerNames are the names of the second node that the suite plays, below the one that
// [Options].Peer gives it.
func PeerNames(base string) []string {
	names := make([]string, len(faces))
	for i, f := range faces {
		names[i] = f + "." + base
	}
	return names
}

// PeerCA returns the certificate, in PEM, that the tested node has to trust in order to reach the
// second node. It is in file together with its key; a file that does not exist is made.
func PeerCA(file string) ([]byte, error) {
	a, err := peerAuthority(file)
	if err != nil {
		return nil, err
	}
	return a.pem(), nil
}

func peerAuthority(file string) (*authority, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		a, err := newAuthority()
		if err != nil {
			return nil, err
		}
		return a, a.save(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the peer's authority: %w", err)
	}
	pair, err := tls.X509KeyPair(b, b)
	if err != nil {
		return nil, fmt.Errorf("read the peer's authority in %s: %w", file, err)
	}
	key, is := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !is || time.Now().After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("%s is of no use any more: delete it, and have the node trust the next one", file)
	}
	return &authority{certificate: pair.Leaf, key: key}, nil
}

func (a *authority) save(file string) error {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return fmt.Errorf("encode the authority's key: %w", err)
	}
	b := append(a.pem(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return fmt.Errorf("keep the peer's authority: %w", err)
	}
	return nil
}

// A peerNode is the second node while a run lasts.
type peerNode struct {
	// Static after construction.
	base      string
	authority *authority
	faces     map[string]*face // by name
	server    *http.Server
	served    chan struct{} // closed when the server has ended
	stopping  chan struct{} // closed when it is to end

	mu      sync.Mutex // guards the following fields, and those of faces and parts
	parts   map[string]*part
	changed chan struct{} // closed and made anew at each change
}

// A face is the second node under one of its names.
type face struct {
	name        string
	certificate *tls.Certificate
	silent      bool // says nothing in TLS
	signer      *signer
	key         []byte    // what /api/public_key serves
	serves      *response // in place of the key, where not nil
	fetches     []fetch   // of it
}

// A fetch of a face's key by the tested node.
type fetch struct {
	at     time.Time
	query  string
	header http.Header
}

// A part is what a scenario has the second node do. What it sends there begins with a tag, by
// which its messages are told from those of others.
type part struct {
	t     *T
	node  *peerNode
	face  *face
	tag   string
	posts []*post // that have come
}

// A post is a message that the tested node hands over, and waits for an answer to.
type post struct {
	header http.Header
	path   string // with the method
	host   string
	body   []byte
	answer chan response
	left   chan struct{} // closed when the tested node does not wait for an answer any more
	taken  bool          // by a scenario
	at     time.Time
}

type response struct {
	status int
	header http.Header
	body   []byte
	cut    bool // end the connection in place of an answer
	never  bool // do so when the tested node does not wait any more
	slow   bool // the body does not end
}

// startPeer starts the second node.
func startPeer(ctx context.Context, o Options) (*peerNode, error) {
	base, address, is := strings.Cut(o.Peer, "=")
	if !is || !isNodeName(base) {
		return nil, fmt.Errorf("%q is no NAME=HOST:PORT", o.Peer)
	}
	a, err := peerAuthority(o.Authority)
	if err != nil {
		return nil, err
	}
	p := &peerNode{
		base: base, authority: a, faces: make(map[string]*face), served: make(chan struct{}), stopping: make(chan struct{}),
		parts: make(map[string]*part), changed: make(chan struct{}),
	}
	for _, name := range PeerNames(base) {
		f := &face{name: name}
		if f.certificate, err = a.issue(name, time.Hour); err != nil {
			return nil, err
		}
		if f.signer, err = newSigner(name); err != nil {
			return nil, err
		}
		if f.key, err = f.signer.certificate(); err != nil {
			return nil, err
		}
		p.faces[name] = f
	}
	listener := o.listener
	if listener == nil {
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
			return nil, fmt.Errorf("listen as the second node: %w", err)
		}
	}
	p.server = &http.Server{
		Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: dialTime, ErrorLog: log.New(io.Discard, "", 0),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 alone, a connection for each request
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				p.mu.Lock()
				f := p.faces[hello.ServerName]
				if f == nil {
					p.mu.Unlock()
					return nil, fmt.Errorf("no node is called %q", hello.ServerName)
				}
				certificate, silent := f.certificate, f.silent
				p.mu.Unlock()
				if silent {
					select {
					case <-p.stopping:
					case <-hello.Context().Done():
					}
				}
				return certificate, nil
			},
		},
	}
	p.server.SetKeepAlivesEnabled(false) // so that each certificate is seen
	go func() {
		defer close(p.served)
		_ = p.server.ServeTLS(listener, "", "") // whose error is that it was closed
	}()
	return p, nil
}

func (p *peerNode) stop() {
	p.mu.Lock()
	for _, s := range p.parts {
		s.strikeLocked()
	}
	p.mu.Unlock()
	close(p.stopping)
	_ = p.server.Close() // whose connections nobody needs any more
	<-p.served
}

// signal tells who waits that something has changed. The caller holds mu.
func (p *peerNode) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// maxPost is how much of a message is read.
const maxPost = 3_000_000

func (p *peerNode) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	f := p.faces[r.TLS.ServerName]
	if r.Method == http.MethodGet && r.URL.Path == "/api/public_key" {
		f.fetches = append(f.fetches, fetch{time.Now(), r.URL.RawQuery, r.Header})
		a := answered200(typeSealed, f.key)
		if f.serves != nil {
			a = *f.serves
		}
		p.signal()
		p.mu.Unlock()
		if a.never {
			select {
			case <-p.stopping:
			case <-r.Context().Done():
			}
		}
		a.write(w)
		return
	}
	p.mu.Unlock()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPost))
	if err != nil {
		return // so will the tested node
	}
	one := &post{
		header: r.Header, path: r.Method + " " + r.URL.Path, host: r.Host, body: body, answer: make(chan response, 1), left: make(chan struct{}), at: time.Now(),
	}
	p.mu.Lock()
	s := p.parts[tagOf(body)]
	if s != nil && s.face == f {
		s.posts = append(s.posts, one)
		s.t.note(false, one.path, r.Header, body)
		p.signal()
	} else {
		one.answer <- delivered // of a scenario that has ended
	}
	p.mu.Unlock()
	select {
	case a := <-one.answer:
		if s != nil && !a.cut && !a.never {
			s.t.note(true, fmt.Sprint("HTTP/1.1 ", a.status), a.header, a.body)
		}
		a.write(w)
		if a.slow {
			one.dribble(w, r)
		}
	case <-r.Context().Done():
		close(one.left)
	}
}

func (a response) write(w http.ResponseWriter) {
	if a.cut || a.never {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the tested node says when it fails
}

// dribble goes on with an answer for as long as the tested node waits for it.
func (one *post) dribble(w http.ResponseWriter, r *http.Request) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_, _ = w.Write([]byte{0})                 // the context ends when it fails
			_ = http.NewResponseController(w).Flush() // likewise
		case <-r.Context().Done():
			close(one.left)
			return
		}
	}
}

// answered200 is a response with status 200 and a type.
func answered200(kind string, body []byte) response {
	return response{status: http.StatusOK, header: http.Header{"Content-Type": {kind}}, body: body}
}

const (
	typeAnswer = "application/msgpack"
	typeSealed = "application/octet-stream"
)

var delivered = answered200(typeAnswer, fields{"body", nil}.pack())

// status is a response with no more than a status, and headers.
func status(code int, headers ...string) response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return response{status: code, header: h}
}
