package conform

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

// mostWaited is how often a scenario waits in vain: a node that does not close what it should is
// not to keep the suite for an hour.
const mostWaited = 3

// shownCrossings is how much of a connection is in a finding.
const shownCrossings = 8

// A Finding is a clause that a node broke, as a scenario saw it.
type Finding struct {
	Clause   string
	Scenario string
	Want     string // empty for what the clause says
	Got      string
	Crossed  []Crossing // on the connection where it showed, or else by HTTP
}

// A scenario is a conversation that checks clauses.
type scenario struct {
	name    string
	clauses []string
	run     func(*T)
	slow    bool // takes minutes
	quota   bool // … unless the node's quotas are known, and small
	admin   bool // needs the operator's help
	peer    bool // needs the second node
	alone   bool // disturbs the others
	last    bool // … but begins beside them, and waits for their end
	// What has to be known of the node: how few connections it takes, how few messages of another.
	connections, rate bool
}

// A T is a scenario while it runs. Its methods are for the scenario's goroutine, except those that
// say otherwise. A method that cannot go on ends the scenario.
type T struct {
	// Static after construction.
	s        *suite
	scenario scenario
	ctx      context.Context
	began    time.Time

	// Owned by the scenario.
	clause  string // what is being checked; empty while the stage is set
	waited  int    // how often something did not come in time
	users   []*user
	conns   []*conn
	parts   []*part
	errands []*errand
	apart   map[string]string // clauses that could not be checked here, and why

	mu        sync.Mutex // guards the following fields
	reached   map[string]bool
	findings  []Finding
	exchanges []Crossing // by HTTP, the last ones
	skipped   string     // why it could not be carried out
	blocked   string     // what went wrong while the stage was set
}

// on says which clause is checked from here on.
func (t *T) on(clause string) {
	if !slices.Contains(t.scenario.clauses, clause) {
		panic("conform: scenario " + t.scenario.name + " does not declare " + clause)
	}
	t.clause = clause
	t.mu.Lock()
	t.reached[clause] = true
	t.mu.Unlock()
}

// wrong records that the clause being checked is broken, as c shows; c may be nil.
func (t *T) wrong(c *conn, want, got string) {
	if t.interrupted() {
		t.giveUp()
	}
	t.mu.Lock()
	if t.clause == "" {
		if t.blocked == "" {
			t.blocked = fmt.Sprintf("wanted %s, got %s", want, got)
		}
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	t.add(c, t.clause, want, got)
	if t.waited >= mostWaited {
		runtime.Goexit()
	}
}

// fatal is wrong, and the end of the scenario.
func (t *T) fatal(c *conn, want, got string) {
	t.wrong(c, want, got)
	runtime.Goexit()
}

// always records a fault against a clause that is checked at all times. Any goroutine may call it.
func (t *T) always(c *conn, clause, got string) {
	t.add(c, clause, "", got)
}

func (t *T) add(c *conn, clause, want, got string) {
	if t.interrupted() {
		return // it may be why
	}
	f := Finding{Clause: clause, Scenario: t.scenario.name, Want: want, Got: got}
	if c != nil {
		f.Crossed = c.transcript(shownCrossings)
	} else {
		f.Crossed = t.exchanged(shownCrossings)
	}
	t.mu.Lock()
	t.findings = append(t.findings, f)
	t.mu.Unlock()
}

// skip ends the scenario because it cannot be carried out here.
func (t *T) skip(why string) {
	t.mu.Lock()
	t.skipped = why
	t.mu.Unlock()
	runtime.Goexit()
}

// interrupted is why the rest of a run is not tested.
const interrupted = "the run was interrupted"

// interrupted reports whether the run was, rather than the scenario's time being over. Any goroutine may call it.
func (t *T) interrupted() bool { return errors.Is(t.ctx.Err(), context.Canceled) }

// giveUp ends the scenario when the run is interrupted, or its time is over.
func (t *T) giveUp() {
	if t.interrupted() {
		t.skip(interrupted)
	}
	t.skip(fmt.Sprintf("the scenario took more than %v", t.scenario.limit()))
}

// cutOff takes back what a scenario has reached that an interruption may have ended.
func (t *T) cutOff() {
	if !t.interrupted() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.reached)
	t.skipped, t.blocked = interrupted, ""
}

// check records a fault unless that holds.
func (t *T) check(c *conn, holds bool, want, got string) {
	if !holds {
		t.wrong(c, want, got)
	}
}

// dial opens a connection on which nothing has been said.
func (t *T) dial() *conn { return t.dialWith(dialOptions{}) }

func (t *T) dialWith(o dialOptions) *conn {
	secure, r, response, err := t.upgrade(o)
	if err != nil {
		var refused *upgradeError
		if errors.As(err, &refused) && refused.response.StatusCode == 503 {
			t.skip("the node took no further connection: 503")
		}
		t.fatal(nil, "a connection", err.Error())
	}
	return t.attend(secure, r, response)
}

// attend takes over a connection that is upgraded.
func (t *T) attend(secure *tls.Conn, r *bufio.Reader, response *http.Response) *conn {
	c := newConn(t, len(t.conns), secure, r, response)
	c.speak(t.s.drafts())
	t.conns = append(t.conns, c)
	return c
}

// greeted opens a connection and makes the HANDSHAKE.
func (t *T) greeted() *conn {
	c := t.dial()
	c.wantOK(c.exchange(reqHandshake, nil))
	return c
}

// others waits until the scenarios are over that run beside others.
func (t *T) others() {
	select {
	case <-t.s.othersOver:
	case <-t.ctx.Done():
		t.giveUp()
	}
}

// served waits until the node takes a connection, which cannot be told from outside in another way.
func (t *T) served(when string) {
	const patience = time.Minute
	for end := time.Now().Add(patience); ; t.pause(100 * time.Millisecond) {
		err := t.upgrades()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.fatal(nil, fmt.Sprintf("the node to serve %v after %s", patience, when), err.Error())
		}
	}
}

// upgrades says why the node takes no connection.
func (t *T) upgrades() error {
	secure, _, _, err := t.upgrade(dialOptions{})
	if err == nil {
		_ = secure.Close() // not wanted
	}
	return err
}

// upgrade opens a WebSocket, and holds a refusal against what all refusals have to be. Any goroutine may call it.
func (t *T) upgrade(o dialOptions) (*tls.Conn, *bufio.Reader, *http.Response, error) {
	secure, r, response, err := t.s.upgrade(t.ctx, o)
	var refused *upgradeError
	if !errors.As(err, &refused) {
		return secure, r, response, err
	}
	switch status, retry := refused.response.StatusCode, refused.response.Header.Get("Retry-After"); {
	case status/100 != 5:
		t.always(nil, "T-1.8", err.Error())
	case status != http.StatusInternalServerError && (status != http.StatusServiceUnavailable || retry == ""):
		t.always(nil, "T-1.200", fmt.Sprintf("%v, Retry-After %q", err, retry))
	}
	return secure, r, response, err
}

// close ends what the scenario left open.
func (t *T) close() {
	for _, s := range t.parts {
		s.strike()
	}
	t.parts = nil
	for _, e := range t.errands {
		<-e.done
	}
	t.errands = nil
	for _, c := range t.conns {
		c.hang()
	}
	t.conns = nil
}

// pause waits, for what is only to be seen by time going by.
func (t *T) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
		t.giveUp()
	}
}
