// Package node is a Tipt node: it admits connections, gives each a session
// that decides what a request may do, and ties accounts, mailboxes and keys
// together to do it. It owns no data itself; what it answers is in the store
// before the answer leaves.
package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/peer"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

// Software is the `soft` of GET_INFO.
const Software = "tiptd/" + Release

// Release is the version of this software, not of the protocol.
const Release = tipt.Release

// Config is what a node is made of. Name, Store and Key are required.
type Config struct {
	Name  tipt.NodeName
	Store store.Store   // not closed by the node
	Key   *seal.NodeKey // as [LoadKey] returns it
	// Data is the folder in which a changed key is stored.
	Data string
	// Admin is the admin socket, as [ListenAdmin] returns it; nil for none. Run closes it.
	Admin net.Listener

	// Registration says who may REGISTER. The zero value is open, as on the wire.
	Registration tipt.Registration
	// MaxConnections is how many WebSocket connections are served at once;
	// the next one is answered 503. If zero, 16,384.
	MaxConnections int
	// MaxBuffered bounds the bytes of requests being worked on and of packets not
	// yet sent, of all connections together. If zero, 256 MiB.
	MaxBuffered int64
	// OwnProcess: the process does nothing but run this node, which may limit the memory of
	// both, collect garbage to give it back, and say how often Go does.
	OwnProcess bool
	// Hash is the cost of a password's hash. If zero, that of package account.
	Hash account.HashCost
	// Evaluator computes passwords' hashes. If nil, this process does.
	Evaluator account.Evaluator
	// Limits bound what users and other nodes can have this node do. The zero value is
	// no bounds; see [DefaultLimits].
	Limits Limits
	// Roots verify other nodes' certificates. If nil, the system's.
	Roots *x509.CertPool
	// Resolve is where other nodes are reached otherwise than by DNS, as HOST:PORT.
	Resolve map[tipt.NodeName]string
	// Policy chooses the nodes to have to do with. If nil, all.
	Policy *peer.Policy
	// Anonymous takes messages of other nodes that nobody vouches for.
	Anonymous bool
	// Mailbox holds the quota and the retention of mailboxes; Online and Logger
	// are the node's to set.
	Mailbox mailbox.Options
	// Silence is how long a client may say nothing before it is sent a PING. If
	// zero, [tipt.SilenceTimeout].
	Silence time.Duration
	// NoLimits switches the waits after failed sign-ins off, for tests and benchmarks.
	NoLimits bool
	// Logger gets the node's log. If nil, [slog.Default].
	Logger *slog.Logger
	// PeerTap, where not nil, sees each request of another node and the status it was
	// answered with.
	PeerTap func(r *http.Request, status int)
}

// A Node serves the users of one name. Make it with New, run it with Run.
type Node struct {
	// Static after construction.
	config    Config
	log       *slog.Logger
	committer *store.Committer
	accounts  *account.Accounts
	mailboxes *mailbox.Mailboxes
	budget    *link.Budget
	limits    limits
	peers     *peer.Client
	keys      *peer.Keys
	outbox    *peer.Outbox
	handler   *peer.Handler

	key       atomic.Pointer[seal.NodeKey] // changed with keyChange held
	opener    atomic.Pointer[seal.Opener]  // of key, likewise
	keyChange sync.Mutex
	online    online
	known     recipients
	tasks     sync.WaitGroup // sessions and what they started
	opening   chan struct{}  // holds a value for each large message that is being opened
	reading   chan struct{}  // likewise for each connection that reads its mailbox
	rereading rereading
	stats     stats
	ignored   func(error) // counts an event that the link dropped
	poller    *ws.Poller  // nil where there is none; static from Run on

	// alive is the context of Run without its end: sessions outlive that by a drain.
	alive          context.Context
	lastConnection atomic.Uint64

	state atomic.Uint32 // a state; changed with mu held

	mu       sync.Mutex // guards the following fields
	sessions map[*session]struct{}
	unsigned map[*session]struct{} // those of sessions that have not signed in
	upgrades int                   // admitted, not yet in sessions
}

// stats counts what is ignored or refused without an answer.
type stats struct {
	eventsIgnored   atomic.Int64 // malformed, unknown or not allowed
	forwardsDropped atomic.Int64 // FORWARDs as an EVENT that a response would have refused
}

// New makes a node. It starts nothing.
func New(c Config) *Node {
	if c.MaxConnections == 0 {
		c.MaxConnections = 16_384
	}
	if c.MaxBuffered == 0 {
		c.MaxBuffered = 256 << 20
	}
	if c.Silence == 0 {
		c.Silence = tipt.SilenceTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Store = fault.Store(c.Store)
	n := &Node{
		config:   c,
		log:      c.Logger,
		budget:   link.NewBudget(c.MaxBuffered),
		opening:  make(chan struct{}, runtime.GOMAXPROCS(0)),
		reading:  make(chan struct{}, maxReading),
		sessions: make(map[*session]struct{}),
		unsigned: make(map[*session]struct{}),
	}
	n.key.Store(c.Key)
	n.opener.Store(seal.NewOpener(c.Key))
	n.ignored = func(error) { n.stats.eventsIgnored.Add(1) }
	n.online.users = make(map[store.UserID][]*session)
	n.committer = store.NewCommitter(c.Store, store.CommitterOptions{Logger: c.Logger})
	n.accounts = account.New(c.Store, n.committer, account.Options{
		Node:         c.Name,
		Registration: c.Registration,
		Hash:         c.Hash,
		Evaluator:    c.Evaluator,
		NoLimits:     c.NoLimits,
		Logger:       c.Logger,
	})
	c.Mailbox.Online = n.online.connected
	c.Mailbox.Logger = c.Logger
	n.mailboxes = mailbox.New(c.Store, n.committer, c.Mailbox)
	n.connectPeers()
	return n
}

// Listener returns a listener for Run over one of TCP. Another one that speaks TLS serves
// as well, but then a connection needs three times the memory while it is idle.
func Listener(tcp net.Listener, config *tls.Config) net.Listener {
	return secureListener{tls.NewListener(ws.Listener(tcp), config)}
}

type secureListener struct{ net.Listener }

// Run serves the listener, which speaks TLS, until ctx is done; then it drains: new
// connections get 503, what is being answered is finished, clients are told
// GOING_AWAY and closed with 1001, all within 30 s. It returns when its last
// goroutine has gone: nil after a drain, else what ended it. Call it once.
func (n *Node) Run(ctx context.Context, listener net.Listener) error {
	// The parts outlive ctx: the drain still needs them.
	alive := context.WithoutCancel(ctx)
	n.alive = alive
	failed := make(chan error, 8) // one for each part below
	start := func(what string, run func(context.Context) error) (stop func()) {
		ctx, cancel := context.WithCancel(alive)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := run(ctx); err != nil {
				failed <- fmt.Errorf("%s: %w", what, err)
			}
		}()
		return func() { cancel(); <-done }
	}
	stopCommitter := start("commit", n.committer.Run)
	stopMailboxes := start("run the mailboxes", n.mailboxes.Run)
	stopOutbox := start("run the outbox", n.outbox.Run)
	stopPoller := func() {}
	if _, watched := listener.(secureListener); watched {
		if poller, err := ws.NewPoller(); err != nil {
			n.log.Info("each idle connection will have a goroutine", "cause", err)
		} else {
			n.poller = poller
			stopPoller = start("watch idle connections", poller.Run)
		}
	}
	stopSweeper := start("sweep", n.sweep) // after the poller, which it uses
	server := &http.Server{
		Handler:           n,
		ReadHeaderTimeout: 10 * time.Second,
		// For answers to other nodes, which may not take them. It ends with an upgrade.
		WriteTimeout:   2 * time.Minute,
		IdleTimeout:    time.Minute,
		MaxHeaderBytes: 16 << 10,
		ConnState:      newPlainConns(maxPlain, n.config.MaxConnections+maxPlain).note,
		// net/http logs each failed TLS handshake with the peer's address.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	stopKeeping, stopPacing := func() {}, func() {}
	if n.config.OwnProcess {
		stopKeeping = start("keep the memory small", n.keepSmall)
		stopPacing = start("pace the collections", paceGarbage)
	}
	stopServer := start("serve", serveHTTP(server, listener))
	stopAdmin := func() {}
	if n.config.Admin != nil {
		stopAdmin = start("serve the admin socket", serveHTTP(&http.Server{
			Handler:           n.admin(),
			ReadHeaderTimeout: 10 * time.Second,
		}, n.config.Admin))
	}

	var cause error
	select {
	case <-ctx.Done():
		n.drain(stopping)
	case cause = <-failed:
		n.log.Error("node failed", "error", cause)
		for _, s := range n.setState(stopping) {
			s.close(tipt.CloseInternal, "internal error")
		}
	}
	// Until here new connections were answered 503.
	stopServer()
	stopAdmin()
	n.tasks.Wait()
	stopPoller()
	n.keys.Close()
	n.handler.Close()
	n.opener.Load().Close()
	stopOutbox()
	n.peers.Close()
	stopSweeper()
	stopKeeping()
	stopPacing()
	stopMailboxes()
	stopCommitter()
	close(failed)
	for err := range failed {
		cause = errors.Join(cause, err)
	}
	return cause
}

// serveHTTP returns a part of Run that serves until its context is done.
func serveHTTP(server *http.Server, listener net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		// Close's error is the listener's, which is being given up.
		defer context.AfterFunc(ctx, func() { _ = server.Close() })()
		err := server.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
}

// setState changes the node's state, which stopping ends, and returns the
// sessions there are. No other joins them until the state is running again.
func (n *Node) setState(to state) []*session {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state(n.state.Load()) != stopping {
		n.state.Store(uint32(to))
	}
	return slices.Collect(maps.Keys(n.sessions))
}

// list returns the sessions there are.
func (n *Node) list() []*session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.sessions))
}
