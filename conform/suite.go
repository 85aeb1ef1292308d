package conform

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// atOnce is how many scenarios run side by side; most of them wait most of the time.
const atOnce = 12

// Options say which node is tested and how.
type Options struct {
	URL        string         // wss://NODE[:PORT]/PATH
	Connect    string         // HOST:PORT to dial instead; empty for that of URL
	Roots      *x509.CertPool // nil for the machine's
	UserPrefix string         // of the names of the accounts made
	Invites    []string       // for nodes that register by invitation
	Only       string         // regular expression that a clause's id or scenario's name matches as a whole; empty for all
	Slow       bool           // also what takes minutes
	Quota      int            // the most messages that a mailbox of the node, and a user's outbox, hold; 0: not known
	// Connections is the most connections that the node takes, and PeerRate the most messages of another node
	// that it takes a minute; 0: not known.
	Connections, PeerRate int
	Revision              Revision // the form of the packets; empty for the seed's
	// Peer is NAME=HOST:PORT, where the suite plays a second node: the tested one reaches each of PeerNames(NAME)
	// at this address, and trusts PeerCA(Authority). Empty: what needs a second node is not tested.
	Peer      string
	Authority string // file of the second node's certificate authority

	Progress Progress // may be nil

	// Of tests: the second node's listener, the operator's command, the four minutes of section 1.5, and
	// the 30 s of section 1.3.
	listener net.Listener
	operate  func(ctx context.Context, args ...string) (string, error)
	silence  time.Duration
	unsigned time.Duration
	// Patience is how long a node may take for what it has to do at once; 0 is 15 s.
	Patience time.Duration
	// Admin is a shell command that is run with "maintenance on", "maintenance off", "invite new", "user disable NAME",
	// "user enable NAME", "node block NAME", "node unblock NAME", "queue drop NAME", "key rotate",
	// "restart" or "kill". It is run with "maintenance off" at first, to see that it can be.
	Admin string
}

// A suite is one run.
type suite struct {
	// Static after construction, but for the node's answers, which begin sets before any
	// scenario runs, and for the key, which one that runs alone may set anew.
	Options
	host, address string
	patience      time.Duration
	run           string // tells this run's accounts from those of others
	only          *regexp.Regexp
	node          string
	software      string
	registration  int64 // 0 open, 1 by invitation, 2 closed
	key           *nodeKey
	peer          *peerNode     // nil without one
	othersOver    chan struct{} // closed when all scenarios are over but those that are last, or alone

	names atomic.Int64
	left  atomic.Int64 // accounts that could not be deleted

	mu      sync.Mutex // guards the following fields
	invites []string   // not used yet
}

// scenarios are all of them.
func scenarios() []scenario {
	return slices.Concat(
		transportScenarios(), packetScenarios(), exchangeScenarios(), orderScenarios(), nameScenarios(), accountScenarios(),
		deviceScenarios(), forwardScenarios(), deliverScenarios(), mailboxScenarios(), quotaScenarios(), sealScenarios(), insideScenarios(), peerScenarios(), barredScenarios(), statusScenarios(),
		operatorScenarios(), killedScenarios(), connectionScenarios(), slowScenarios(), draftScenarios(), secondScenarios(), vouchScenarios(),
	)
}

// Run tests a node. An error says that the node could not be used at all, or, where there is a report
// too, that the run was interrupted.
func Run(ctx context.Context, o Options) (*Report, error) {
	s, err := newSuite(o)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	if err := s.begin(ctx); err != nil {
		return nil, fmt.Errorf("use the node: %w", err)
	}
	if o.Admin != "" {
		if err := s.canRun(ctx); err != nil {
			return nil, err
		}
	}
	if o.Peer != "" {
		if s.peer, err = startPeer(ctx, o); err != nil {
			return nil, err
		}
		defer s.peer.stop()
	}
	var chosen []scenario
	for _, sc := range scenarios() {
		if s.chosen(sc) {
			chosen = append(chosen, sc)
		}
	}
	if len(chosen) == 0 {
		var names []string
		for _, sc := range scenarios() {
			names = append(names, sc.name)
		}
		return nil, nothingChosen(s.only, o.Only, NodeSide, names)
	}
	ran := make([]*T, len(chosen))
	count := &count{tell: o.Progress, of: len(chosen)}
	play := func(i int) {
		ran[i] = count.during(chosen[i].name, func() *T { return s.play(ctx, chosen[i]) })
	}
	var group, last sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, sc := range chosen { // those that mostly wait begin first, beside all others
		switch {
		case sc.last:
			last.Go(func() { play(i) })
		case sc.slow, sc.peer && !sc.alone:
			group.Go(func() { play(i) })
		}
	}
	for i, sc := range chosen {
		if sc.last || sc.slow || sc.peer || sc.alone {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			play(i)
		})
	}
	group.Wait()
	close(s.othersOver)
	last.Wait()
	for i, sc := range chosen {
		if sc.alone {
			play(i)
		}
	}
	return s.report(ran, time.Since(started)), ctx.Err()
}

func newSuite(o Options) (*suite, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "wss" || u.Hostname() == "" {
		return nil, fmt.Errorf("%q is no wss://NODE[:PORT]/ws", o.URL)
	}
	s := &suite{
		Options: o, host: u.Hostname(), address: o.Connect, invites: slices.Clone(o.Invites),
		run: strings.ToLower(rand.Text()[:6]), patience: cmp.Or(o.Patience, 15*time.Second), othersOver: make(chan struct{}),
	}
	if s.UserPrefix == "" {
		s.UserPrefix = "conform-"
	}
	if s.address == "" {
		port := u.Port()
		if port == "" {
			port = "443"
		}
		s.address = net.JoinHostPort(s.host, port)
	}
	if o.Revision == "" {
		s.Revision = RevisionSeed
	}
	if o.Only != "" {
		if s.only, err = regexp.Compile("^(?:" + o.Only + ")$"); err != nil {
			return nil, fmt.Errorf("read the pattern: %w", err)
		}
	}
	return s, nil
}

func (s *suite) chosen(sc scenario) bool {
	return s.only == nil || s.only.MatchString(sc.name) || slices.ContainsFunc(sc.clauses, s.only.MatchString)
}

// begin shows that the node can be used, and learns what it says about itself.
func (s *suite) begin(ctx context.Context) error {
	t := s.newT(ctx, scenario{name: "begin"})
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.close()
		c := t.greeted()
		info := c.wantOK(c.exchange(reqGetInfo, nil)).body
		s.node, s.software, s.registration = info.get("node").str(), info.get("soft").str(), info.get("reg").num()
	}()
	<-done
	switch {
	case t.blocked != "":
		return errors.New(t.blocked)
	case t.skipped != "":
		return errors.New(t.skipped)
	case s.node == "":
		return errors.New("it does not say its name")
	}
	key, err := s.fetchKey(ctx)
	if err != nil {
		return fmt.Errorf("its OpenPGP key: %w", err)
	}
	s.key = key
	return nil
}

func (s *suite) newT(ctx context.Context, sc scenario) *T {
	return &T{s: s, scenario: sc, ctx: ctx, began: time.Now(), reached: make(map[string]bool), apart: make(map[string]string)}
}

// limit is how long a scenario may take.
func (sc scenario) limit() time.Duration {
	if sc.slow || sc.last { // which waits for the slow ones
		return 15 * time.Minute
	}
	return 3 * time.Minute
}

// play carries a scenario out.
func (s *suite) play(ctx context.Context, sc scenario) *T {
	ctx, cancel := context.WithTimeout(ctx, sc.limit())
	defer cancel()
	t := s.newT(ctx, sc)
	switch {
	case t.interrupted():
		t.skipped = interrupted
		return t
	case sc.admin && !s.operated():
		t.skipped = "needs the operator's help: give --admin"
		return t
	case sc.peer && s.peer == nil:
		t.skipped = "needs a second node, which the suite plays: give --peer"
		return t
	case sc.quota && s.Quota < 1 && !s.Slow:
		t.skipped = "takes minutes: give --slow, or --quota where the node holds little"
		return t
	case sc.slow && !sc.quota && !s.Slow:
		t.skipped = "takes minutes: give --slow"
		return t
	case sc.connections && s.Connections < 1:
		t.skipped = "needs a node that takes few connections: give --connections"
		return t
	case sc.rate && s.PeerRate < 1:
		t.skipped = "needs a node that takes few messages of another: give --peer-rate"
		return t
	}
	done := make(chan struct{})
	go func() { // a goroutine, so that a method of T can end it
		defer close(done)
		sc.run(t)
	}()
	<-done
	t.close()
	t.leave()
	t.cutOff()
	return t
}
