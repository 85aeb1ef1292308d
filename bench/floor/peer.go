package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench/internal/bare"
)

// A peer is the other node. Messages to it are POSTed, those of one user one after the other, each
// signed with one Ed25519 signature and checked by the other side, over connections that stay.
type peer struct {
	// Static.
	floor   *floor
	name    string
	address string
	client  *http.Client
	server  *http.Server
	listen  string
	config  *tls.Config
	private ed25519.PrivateKey // the same for both nodes: what it costs is the point

	last atomic.Int64 // id of an outgoing message

	mu    sync.Mutex // guards the following field
	lines map[string][]*outgoing
}

// An outgoing message is on its way to the other node.
type outgoing struct {
	id     int64
	user   string
	sealed []byte
}

func newPeer(f *floor, c *cli, config *tls.Config) (*peer, error) {
	p := &peer{
		floor:   f,
		listen:  c.PeerListen,
		config:  config,
		private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
		lines:   make(map[string][]*outgoing),
	}
	var found bool
	if p.name, p.address, found = strings.Cut(c.Peer, "="); c.Peer != "" && !found {
		return nil, fmt.Errorf("--peer %s: write NAME=HOST:PORT", c.Peer)
	}
	roots := x509.NewCertPool()
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		roots.AppendCertsFromPEM(pem)
	}
	p.client = &http.Client{
		Timeout: tipt.ForwardTimeout,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 256,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, p.address)
			},
		},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/public_key", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(f.key.Certificate()) // who asked will ask again
	})
	mux.HandleFunc("POST /api/forward", p.take)
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	return p, nil
}

// serve serves the other node until ctx is done.
func (p *peer) serve(ctx context.Context) error {
	if p.listen == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := net.Listen("tcp", p.listen)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = p.server.Close() })()
	if err := p.server.Serve(tls.NewListener(listener, p.config)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// certificate asks the other node for its key.
func (p *peer) certificate() ([]byte, error) {
	r, err := p.client.Get("https://" + p.name + "/api/public_key")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	return io.ReadAll(io.LimitReader(r.Body, tipt.MaxKeySize))
}

// accept stores a message of a user and answers once that is done.
func (p *peer) accept(user string, sealed []byte, c *bare.Conn, answer func(*bare.Conn)) {
	o := &outgoing{id: p.last.Add(1), user: user, sealed: sealed}
	p.floor.submit(operation{outgoing: o, from: c, done: answer})
}

// queue sends a message behind the others of its user.
func (p *peer) queue(o *outgoing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line, sending := p.lines[o.user]
	p.lines[o.user] = append(line, o)
	if !sending {
		go p.send(o.user)
	}
}

// send sends what a user has, until there is nothing left or the other node does not take it.
func (p *peer) send(user string) {
	for {
		p.mu.Lock()
		line := p.lines[user]
		if len(line) == 0 {
			delete(p.lines, user)
			p.mu.Unlock()
			return
		}
		o := line[0]
		p.lines[user] = line[1:]
		p.mu.Unlock()
		if err := p.post(o); err != nil {
			fmt.Fprintf(os.Stderr, "floor: send to %s: %v\n", p.name, err)
			return // and nothing of this user any more: it shows as lost
		}
		p.floor.submit(operation{outgoing: o, sent: true})
	}
}

// signed is what a signature is about.
func signed(from string, body []byte) []byte {
	digest := sha256.Sum256(body)
	return append(digest[:], from...)
}

func (p *peer) post(o *outgoing) error {
	from := o.user + "@" + string(p.floor.name)
	r, err := http.NewRequest(http.MethodPost, "https://"+p.name+"/api/forward", bytes.NewReader(o.sealed))
	if err != nil {
		return err
	}
	r.Header.Set("Tipt-From", from)
	r.Header.Set("Signature", base64.StdEncoding.EncodeToString(ed25519.Sign(p.private, signed(from, o.sealed))))
	response, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// take serves a POST: it answers when the message is on the disk.
func (p *peer) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, tipt.MaxSealedSize))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	from := r.Header.Get("Tipt-From")
	signature, err := base64.StdEncoding.DecodeString(r.Header.Get("Signature"))
	if err != nil || !ed25519.Verify(p.private.Public().(ed25519.PublicKey), signed(from, body), signature) {
		http.Error(w, "not signed", http.StatusUnauthorized)
		return
	}
	sender, err := tipt.ParseAddress(from)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	o, err := p.floor.opened(body, sender)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	stored := make(chan struct{})
	o.done = func(*bare.Conn) { close(stored) }
	p.floor.submit(o)
	select {
	case <-stored:
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/msgpack")
	_, _ = w.Write(tipt.ForwardAnswer{}.Append(nil)) // who asked will ask again
}
