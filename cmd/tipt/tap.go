package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/internal/tap"
)

// tapFlags are those of showing and recording packets, for the client itself and for `tipt tap`.
type tapFlags struct {
	Tap         bool   `help:"Show on standard error what crosses between this client and its node."`
	Record      string `placeholder:"FILE" type:"path" help:"Keep what crosses in a new file, for \"tipt replay\"."`
	ShowSecrets bool   `help:"With --tap and --record: show and keep passwords, tokens and invitations, which are masked otherwise."`
}

// check refuses the flags where nothing heeds them.
func (f tapFlags) check(command string) error {
	command, _, _ = strings.Cut(command, " ")
	switch command {
	case "bench", "conform", "doctor", "replay":
		if f.Tap || f.Record != "" || f.ShowSecrets {
			return usage("--tap, --record and --show-secrets do not go with \"tipt %s\"; to see what crosses there, put \"tipt tap\" before the node", command)
		}
	case "tap":
		if f.Tap {
			return usage("\"tipt tap\" shows what crosses by itself: leave --tap out")
		}
	default:
		if f.ShowSecrets && !f.Tap && f.Record == "" {
			return usage("--show-secrets goes with --tap or --record")
		}
	}
	return nil
}

// tapClient returns what the client library is to call with each packet, nil without --tap and --record.
func (i *invocation) tapClient(node tipt.NodeName) (func(sent bool, packet []byte), error) {
	if !i.tap.Tap && i.tap.Record == "" {
		return nil, nil
	}
	var w io.Writer
	color := false
	if i.tap.Tap {
		w = i.status
		if f, ok := i.err.(*os.File); ok {
			color = isTerminal(f)
		}
	}
	var mu sync.Mutex // guards the following
	var failure error
	t, done, err := i.newTap(w, color, false, "wss://"+string(node)+"/ws", func(err error) { failure = err })
	if err != nil {
		return nil, err
	}
	i.tapped = func() error {
		mu.Lock()
		defer mu.Unlock()
		return errors.Join(failure, done())
	}
	var c *tap.Connection
	return func(sent bool, packet []byte) {
		mu.Lock()
		defer mu.Unlock()
		// A HANDSHAKE of this client is the first packet of a connection.
		if p, err := tipt.ParsePacket(packet, tipt.RevisionSeed); c == nil ||
			sent && err == nil && p.Type == tipt.PacketRequest && tipt.NodeRequest(p.Code) == tipt.RequestHandshake {
			c = t.Connection()
		}
		c.Cross(tap.Crossing{ToNode: sent, Kind: tap.Binary, Bytes: packet})
	}, nil
}

type tapCmd struct {
	To     string `required:"" placeholder:"wss://NODE[:PORT]/ws" help:"The node that clients are to reach."`
	Listen string `default:"127.0.0.1:0" placeholder:"ADDR" help:"Where clients connect, on loopback; port 0 is any that is free (${default})."`
	Cert   string `placeholder:"FILE" type:"path" help:"Certificate to show to clients (PEM); by default one of an authority made for this."`
	Key    string `placeholder:"FILE" type:"path" help:"Its private key (PEM)."`
}

// Help is shown below the flags.
func (tapCmd) Help() string {
	return `It stands between clients and a node, passes every byte on unchanged, but for Host, and shows
each packet: decoded, in hex, with the section of docs/protocol.md, and with what breaks a clause
of docs/conformance.md. What no codec takes crosses too and is shown as what it is.

It speaks TLS to both sides, and prints at its start which root certificate a client needs. The node
is verified as every client does it; --ca and --connect say how to reach it. A client that registers
or signs in through it remembers it: run "tipt sign-in" without it afterwards.

Passwords, tokens and invitations are masked, on the screen and in the record; their lengths are not.
Messages are not masked, where they are not sealed.

Examples:
  tipt tap --to wss://node.example/ws
  tipt tap --to wss://tipt.localhost/ws --ca ca.pem --connect 127.0.0.1:7443 \
      --listen 127.0.0.1:7444 --record session.jsonl
  tipt --tap send bob@example.org 'Hello!'   one command of this client, without a proxy`
}

func (c *tapCmd) Run(ctx context.Context, i *invocation) error {
	target, err := i.target(c.To)
	if err != nil {
		return err
	}
	config, root, err := c.certificate(target.TLS.ServerName)
	if err != nil {
		return err
	}
	if target.Address == c.Listen {
		return usage("%s is where this tap itself is to listen; say with --connect (or TIPT_CONNECT) where the node does", target.Address)
	}
	listener, err := c.listen()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	t, done, err := i.newTap(i.out, isTerminal(i.out), true, c.To, stop)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	fmt.Fprintf(i.err, "Clients of %s can connect to %s now; Ctrl-C ends it. This leads tipt there:\n\n  export ", target.TLS.ServerName, listener.Addr())
	if root != "" {
		fmt.Fprintf(i.err, "TIPT_CA=%s ", shellWord(root))
	}
	fmt.Fprintf(i.err, "TIPT_CONNECT=%s\n\n", listener.Addr())
	if unreachable, ok := errors.AsType[*unreachableError](i.reach(ctx, target)); ok { // it may be started later
		fmt.Fprintf(i.err, "tipt: warning: %s\n", printable(unreachable.Error()))
	}
	p := tap.Proxy{Listener: listener, TLS: config, Target: target, Tap: t}
	err = p.Serve(ctx)
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return errors.Join(err, done())
}

// target reads a wss URL, and --ca and --connect.
func (i *invocation) target(to string) (tap.Target, error) {
	var t tap.Target
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "wss" || u.Hostname() == "" {
		return t, usage("%q is no address of a node; write wss://NODE/ws or wss://NODE:PORT/ws", to)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return t, fmt.Errorf("read this machine's root certificates: %w", err)
	}
	var given account
	if err := i.flags.remember(&given); err != nil {
		return t, err
	}
	roots.AppendCertsFromPEM([]byte(given.CA))
	t.Host = u.Host
	i.status.node = tipt.NodeName(u.Hostname())
	if t.Address = given.Connect; t.Address == "" {
		port := u.Port()
		if port == "" {
			port = "443"
		}
		t.Address = net.JoinHostPort(u.Hostname(), port)
	}
	t.TLS = &tls.Config{ServerName: u.Hostname(), RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	return t, nil
}

// certificate returns what clients are shown, and the file of the root that they need for it, if it is
// ours.
func (c *tapCmd) certificate(node string) (config *tls.Config, root string, err error) {
	config = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if (c.Cert == "") != (c.Key == "") {
		return nil, "", usage("--cert and --key go together")
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, "", usage("--cert and --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
		return config, "", nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, "", fmt.Errorf("find your cache folder: %w; give a certificate with --cert and --key", err)
	}
	dir := filepath.Join(cache, "tipt", "tap")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("make a folder for the certificate: %w", err)
	}
	ca, err := devca.Open(filepath.Join(dir, "authority.pem"))
	if err != nil {
		return nil, "", err
	}
	root = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(root, ca.CertPEM(), 0o600); err != nil {
		return nil, "", fmt.Errorf("write the root certificate: %w", err)
	}
	cert, key, err := ca.Issue(node, "localhost")
	if err != nil {
		return nil, "", err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, "", fmt.Errorf("use the certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, root, nil
}

// listen listens on loopback: who sits at another machine must not get at what is shown here.
func (c *tapCmd) listen() (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return nil, usage("--listen: %w; write HOST:PORT", err)
	}
	if !addr.IP.IsLoopback() {
		return nil, usage("--listen: %s is not on loopback, where alone a tap listens; write 127.0.0.1:%d", c.Listen, addr.Port)
	}
	listener, err := net.ListenTCP("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, usage("--listen: another program listens on %s; choose another port, or 0 for any that is free", c.Listen)
	case errors.Is(err, syscall.EACCES):
		return nil, usage("--listen: this user may not listen on %s; choose a port above 1023", c.Listen)
	case err != nil:
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return listener, nil
}

// newTap returns a tap that shows to w, or nowhere if that is nil, and records where --record says.
// When something cannot be written, failed is called. Done ends the record.
func (i *invocation) newTap(w io.Writer, color, numbers bool, node string, failed func(error)) (t *tap.Tap, done func() error, err error) {
	o := tap.Options{Secrets: i.tap.ShowSecrets, Failed: failed}
	done = func() error { return nil }
	if w != nil {
		o.Viewer = &tap.Viewer{Out: w, Color: color, Numbers: numbers}
	}
	if i.tap.Record != "" {
		file, err := os.OpenFile(i.tap.Record, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return nil, nil, usage("--record: %s exists; name another file, or delete it", i.tap.Record)
		}
		if err != nil {
			return nil, nil, usage("--record: %w", err)
		}
		if o.Record, err = tap.NewRecorder(file, node, i.tap.ShowSecrets); err != nil {
			return nil, nil, errors.Join(err, file.Close())
		}
		done = file.Close
	}
	return tap.New(o), done, nil
}

// isTerminal reports whether colors are welcome in f.
func isTerminal(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// shellWord quotes a path where a shell needs it.
func shellWord(path string) string {
	if !strings.ContainsAny(path, " \t\n'\"\\$`&|;<>()*?[]{}~#!") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
