package conform

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// clientsAtOnce is how many clients run side by side; most of them wait most of the time.
const clientsAtOnce = 10

// The node that the suite plays, and the one of the user that its clients write to.
const (
	playedNode = "node.conform.example"
	otherNode  = "other.conform.example"
)

// ClientOptions say which client is tested and how.
type ClientOptions struct {
	// Command is a shell command. It is started anew for each scenario with these variables:
	//
	//	TIPT_URL      wss://NODE/ws
	//	TIPT_CA       file of a root certificate to trust, PEM
	//	TIPT_CONNECT  HOST:PORT to dial instead of port 443 of NODE
	//	TIPT_USER     name of the user to sign in as, by
	//	TIPT_PASS     this password
	//	TIPT_TO       address of the user to write to
	//	TIPT_KEY      file of the user's OpenPGP key, secret and armored, where what is sealed from end to end is
	//	              tested; a client that makes a key of its own and SETs that need not look at it
	//
	// On one connection it signs in, sends each line of its standard input to TIPT_TO as a message of its own,
	// and prints each message that it gets on a line of standard output. It goes on until its
	// standard input ends.
	Command string
	// Revision is the form of the packets that the client has to speak. Empty stands for the one that it
	// chooses in the first scenario.
	Revision Revision
	Only     string   // regular expression that a clause's id or scenario's name matches as a whole; empty for all
	Slow     bool     // also what takes minutes
	Progress Progress // may be nil
	// Patience is how long a client may take for what it has to do at once; 0 is 15 s.
	Patience time.Duration

	minute time.Duration // of scenarios that take minutes; 0 is one, and tests have less time
}

// A clientSuite is one run against a client.
type clientSuite struct {
	ClientOptions
	suite *suite // what scenarios need of one

	roots   string // file
	proper  *tls.Certificate
	expired *tls.Certificate
	named   *tls.Certificate // for another name
	foreign *tls.Certificate // of another authority
	key     *openingKey

	mu    sync.Mutex        // guards the following fields
	form  Revision          // of the run; empty until a client has chosen it
	seals map[string]*guest // that the client has sent in a GET_USER_KEY, and on which connection first
}

// A clientScenario is a conversation with a client.
type clientScenario struct {
	name    string
	clauses []string
	run     func(*stage)
	slow    bool // takes minutes
}

// everyClient is the scenario that shows whether the client can be used.
const everyClient = "client-correct"

func clientScenarios() []clientScenario {
	return slices.Concat(
		clientSlowScenarios(), clientConnectingScenarios(), // which take long, and so come first
		clientTransportScenarios(), clientPacketScenarios(), clientExchangeScenarios(), clientMessageScenarios(), clientKeyScenarios(),
		clientEndToEndScenarios(), clientSealedScenarios(), clientBrowserScenarios(),
	)
}

// RunClient tests a client. An error says that it could not be used at all.
func RunClient(ctx context.Context, o ClientOptions) (*Report, error) {
	dir, err := os.MkdirTemp("", "tipt-conform-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the root certificate: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is a certificate
	c, err := newClientSuite(o, dir)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	all := clientScenarios()
	first := all[slices.IndexFunc(all, func(sc clientScenario) bool { return sc.name == everyClient })]
	count := &count{tell: o.Progress, of: 1}
	correct := count.during(first.name, func() *T { return c.play(ctx, first) })
	switch {
	case ctx.Err() != nil: // there is nothing to report yet
		return nil, ctx.Err()
	case correct.blocked != "" && len(correct.findings) == 0:
		return nil, errors.New(correct.blocked)
	}
	var chosen []clientScenario
	ran := []*T{}
	for _, sc := range all {
		switch {
		case !c.chosen(sc):
		case sc.name == everyClient:
			ran = append(ran, correct)
		default:
			chosen = append(chosen, sc)
		}
	}
	if len(chosen)+len(ran) == 0 {
		var names []string
		for _, sc := range all {
			names = append(names, sc.name)
		}
		return nil, nothingChosen(c.suite.only, o.Only, ClientSide, names)
	}
	if correct.blocked != "" { // what it broke is why it is of no use for the others
		chosen, ran = nil, []*T{correct}
	}
	count.expect(len(chosen))
	results := make([]*T, len(chosen))
	var group sync.WaitGroup
	slots := make(chan struct{}, clientsAtOnce)
	for i, sc := range chosen {
		if !sc.slow { // one that is waits beside the others
			slots <- struct{}{}
		}
		group.Go(func() {
			results[i] = count.during(sc.name, func() *T { return c.play(ctx, sc) })
			if !sc.slow {
				<-slots
			}
		})
	}
	group.Wait()
	r := &Report{Client: o.Command, Revision: c.revision(), Took: time.Since(started)}
	each, apart := c.alwaysIn()
	r.judge(slices.Concat(ran, results, []*T{apart}), ClientSide, each, c.suite.only)
	return r, ctx.Err()
}

func newClientSuite(o ClientOptions, dir string) (*clientSuite, error) {
	c := &clientSuite{
		ClientOptions: o, roots: filepath.Join(dir, "ca.pem"), form: o.Revision, seals: make(map[string]*guest),
		suite: &suite{patience: cmp.Or(o.Patience, 15*time.Second), run: strings.ToLower(rand.Text()[:6])},
	}
	if strings.TrimSpace(o.Command) == "" {
		return nil, errors.New("there is no command that runs the client")
	}
	if o.Only != "" {
		var err error
		if c.suite.only, err = regexp.Compile("^(?:" + o.Only + ")$"); err != nil {
			return nil, fmt.Errorf("read the pattern: %w", err)
		}
	}
	ours, err := newAuthority()
	if err != nil {
		return nil, err
	}
	theirs, err := newAuthority()
	if err != nil {
		return nil, err
	}
	for _, make := range []struct {
		to    **tls.Certificate
		by    *authority
		name  string
		until time.Duration
	}{
		{&c.proper, ours, playedNode, 12 * time.Hour},
		{&c.expired, ours, playedNode, -12 * time.Hour},
		{&c.named, ours, otherNode, 12 * time.Hour},
		{&c.foreign, theirs, playedNode, 12 * time.Hour},
	} {
		if *make.to, err = make.by.issue(make.name, make.until); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(c.roots, ours.pem(), 0o600); err != nil {
		return nil, fmt.Errorf("write the root certificate: %w", err)
	}
	if c.key, err = newOpeningKey(otherNode); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *clientSuite) chosen(sc clientScenario) bool {
	return c.suite.only == nil || c.suite.only.MatchString(sc.name) || slices.ContainsFunc(sc.clauses, c.suite.only.MatchString)
}

// play carries a scenario out.
func (c *clientSuite) play(ctx context.Context, sc clientScenario) *T {
	declared := scenario{name: sc.name, clauses: sc.clauses, slow: sc.slow}
	ctx, cancel := context.WithTimeout(ctx, declared.limit())
	defer cancel()
	t := c.suite.newT(ctx, declared)
	if t.interrupted() {
		t.skipped = interrupted
		return t
	}
	if sc.slow && !c.Slow {
		t.skipped = "takes minutes: give --slow"
		return t
	}
	st, err := c.newStage(t)
	if err != nil {
		t.blocked = err.Error()
		return t
	}
	done := make(chan struct{})
	go func() { // a goroutine, so that a method of T can end it
		defer close(done)
		sc.run(st)
	}()
	<-done
	st.end()
	t.cutOff()
	return t
}
