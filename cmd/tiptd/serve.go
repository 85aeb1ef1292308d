package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// serveCmd is `tiptd serve`. Other programs rely on its flags.
type serveCmd struct {
	Node           string     `required:"" placeholder:"NAME" help:"The name of the node: users are called user@NAME."`
	Listen         string     `default:":443" placeholder:"ADDR" help:"Where to listen (${default})."`
	Data           string     `required:"" placeholder:"DIR" type:"path" help:"Folder of everything the node keeps; made if missing."`
	Cert           string     `required:"" placeholder:"FILE" type:"path" help:"Certificate chain for NAME in PEM; read again when it changes."`
	Key            string     `required:"" placeholder:"FILE" type:"path" help:"The certificate's private key in PEM."`
	Registration   string     `enum:"open,invite,closed" default:"closed" placeholder:"WHO" help:"Who may register: open, invite or closed (${default})."`
	MaxConnections int        `default:"16384" placeholder:"N" help:"Connections served at once (${default})."`
	LogFormat      string     `enum:"text,json" default:"text" help:"Form of the log: text or json (${default})."`
	LogLevel       slog.Level `default:"info" help:"What to log: debug, info, warn or error (${default})."`

	Peers  peerFlags  `embed:"" group:"Other nodes"`
	Limits limitFlags `embed:"" group:"Limits (0 is none)"`
}

// Help is shown below the flags.
func (serveCmd) Help() string {
	return `Examples:
  tiptd serve --node chat.example.org --data /var/lib/tipt \
      --cert /etc/tipt/fullchain.pem --key /etc/tipt/privkey.pem --registration invite
  tiptd invite new --data /var/lib/tipt

"listening on ADDR" on standard error says that it serves. SIGTERM ends it in good order.`
}

func (c *serveCmd) Run(ctx context.Context, s streams) error {
	log := c.logger(s.err)
	name, err := parseNode(c.Node)
	if err != nil {
		return err
	}
	if c.MaxConnections < 1 {
		return fmt.Errorf("--max-connections: %d is too few; at least 1 must be allowed", c.MaxConnections)
	}
	peers, err := c.Peers.read()
	if err != nil {
		return err
	}
	limits, err := c.Limits.limits()
	if err != nil {
		return err
	}
	mailboxes, err := c.Limits.mailboxes()
	if err != nil {
		return err
	}
	certificate, err := node.LoadCertificate(name, c.Cert, c.Key, log)
	if err != nil {
		return err
	}
	listener, err := listen(c.Listen)
	if err != nil {
		return err
	}
	evaluator := startHashing(log, s)
	defer evaluator.Close()
	return serve(ctx, s, service{
		name:         name,
		listener:     listener,
		data:         c.Data,
		tls:          certificate.TLS(),
		registration: registrations[c.Registration],
		connections:  c.MaxConnections,
		peers:        peers,
		limits:       limits,
		mailboxes:    mailboxes,
		noWaits:      c.Limits.Limits == "off",
		evaluator:    evaluator,
		log:          log,
	})
}

// parseNode takes --node. The error says what to write instead.
func parseNode(s string) (tipt.NodeName, error) {
	name, err := tipt.ParseNodeName(s)
	if err == nil {
		return name, nil
	}
	if name, err := tipt.MapNodeName(s); err == nil {
		return "", fmt.Errorf("--node: write %s", name)
	}
	switch {
	case strings.Contains(s, "@"):
		return "", fmt.Errorf("--node: %s is an address; give the part behind @", s)
	case strings.ContainsAny(s, ":/"):
		return "", fmt.Errorf("--node: %s: give a name without port or path; --listen says where", s)
	}
	return "", fmt.Errorf("--node: %w", err)
}

var registrations = map[string]tipt.Registration{
	"open":   tipt.RegistrationOpen,
	"invite": tipt.RegistrationInvite,
	"closed": tipt.RegistrationClosed,
}

func (c *serveCmd) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// A service is a node with its store and its sockets.
type service struct {
	name         tipt.NodeName
	listener     net.Listener
	data         string
	tls          *tls.Config
	registration tipt.Registration
	connections  int
	peers        peers
	limits       node.Limits
	mailboxes    mailbox.Options
	noWaits      bool // after failed sign-ins
	evaluator    account.Evaluator
	log          *slog.Logger
	peerTap      func(*http.Request, int) // see node.Config
	ready        func(store.Store) error  // nil, or called once it can be reached
}

// serve runs a node until ctx is done. It takes over the listener.
func serve(ctx context.Context, s streams, v service) (err error) {
	defer v.peers.reloadOnHangup(v.log)() // now: before that, SIGHUP ends the process
	served := false
	defer func() {
		if !served {
			err = errors.Join(err, v.listener.Close())
		}
	}()
	st, err := sqlite.Open(v.data, sqlite.Options{Logger: v.log})
	if errors.Is(err, sqlite.ErrInUse) {
		return fmt.Errorf("%w: a node runs there already; use it, end it, or give another --data", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	key, err := node.LoadKey(v.data, v.name)
	if err != nil {
		return err
	}
	admin, err := node.ListenAdmin(v.data)
	if err != nil {
		return err
	}
	n := node.New(node.Config{
		Name:           v.name,
		Store:          st,
		Key:            key,
		Data:           v.data,
		Admin:          admin,
		OwnProcess:     true,
		Registration:   v.registration,
		MaxConnections: v.connections,
		Roots:          v.peers.roots,
		Resolve:        v.peers.resolve,
		Policy:         v.peers.policy,
		Anonymous:      v.peers.anonymous,
		Limits:         v.limits,
		Mailbox:        v.mailboxes,
		NoLimits:       v.noWaits,
		Evaluator:      v.evaluator,
		Logger:         v.log,
		PeerTap:        v.peerTap,
	})
	fmt.Fprintf(s.err, "listening on %s\n", v.listener.Addr())
	if v.ready != nil {
		if err := v.ready(st); err != nil {
			return errors.Join(err, admin.Close())
		}
	}
	served = true
	return n.Run(ctx, node.Listener(v.listener, v.tls))
}

// listen opens a TCP socket.
func listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("listen on %s: %w; ports below 1024 need the right to bind them (CAP_NET_BIND_SERVICE)", address, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: another program listens there already: %w", address, err)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return listener, nil
}
