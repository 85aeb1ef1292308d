package conform

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

func connectionScenarios() []scenario {
	return []scenario{
		{name: "connections-short", clauses: []string{"T-1.12", "T-1.33", "T-1.141", "T-1.142"}, run: checkShortConnections, connections: true, last: true},
	}
}

// unsignedTime is how long a connection has been open without a sign-in that may be closed for another.
const unsignedTime = 30 * time.Second

// checkShortConnections takes all connections that the node has, once no other scenario needs any.
func checkShortConnections(t *T) {
	signedIn := t.member()
	unsigned := []*conn{t.greeted(), t.greeted()} // the one that is open longer in front
	t.pause(cmp.Or(t.s.unsigned, unsignedTime) + time.Second)
	t.others()
	if !unsigned[0].settle() || !unsigned[1].settle() {
		t.skip("connections ran short while other scenarios needed them: have the node take more")
	}
	var young []*conn
	began := make(map[*conn]time.Time) // when it was asked for
	var refusal *http.Response
	for refusal == nil {
		if len(young) > t.s.Connections {
			t.skip(fmt.Sprintf("connections did not run short with %d of them: give --connections as the node has it", len(t.conns)))
		}
		atOnce := sideBySide
		if t.s.Connections-len(t.conns) <= 2*sideBySide {
			atOnce = 1 // so that it shows which is closed for which
		}
		start := time.Now()
		var opened []*conn
		opened, refusal = t.connections(atOnce)
		ids := make([]uint8, len(opened))
		for i, c := range opened {
			ids[i] = c.ask(reqHandshake, nil)
		}
		for i, c := range opened {
			c.wantOK(c.response(ids[i]))
			began[c] = start
		}
		young = append(young, opened...)
		if first := unsigned[0].settle(); !unsigned[1].settle() && first {
			t.on("T-1.12")
			t.fatal(unsigned[1], "the connection closed first that has been open for longest without a sign-in", unsigned[1].state())
		}
	}
	t.on("T-1.141")
	t.check(nil, refusal.StatusCode == http.StatusServiceUnavailable && refusal.Header.Get("Retry-After") != "",
		"503 with Retry-After when connections have run short", fmt.Sprintf("%s, Retry-After %q", refusal.Status, refusal.Header.Get("Retry-After")))
	t.on("T-1.142")
	t.checkStatus("overload")
	t.on("T-1.12")
	for _, c := range append(slices.Clone(young), signedIn) {
		// Where it takes long to open so many, some of these have been open for as long.
		t.check(c, c.settle() || c != signedIn && c.closedAt().Sub(began[c]) >= unsignedTime, "only connections closed that have not signed in for 30 s", c.state())
	}
	for _, c := range unsigned {
		if !c.settle() {
			c.wantClose("connections that ran short", 1013)
		}
	}
	if unsigned[0].open() {
		t.apart["T-1.33"] = "the node closes no connection for another: it answered " + refusal.Status
	} else {
		t.on("T-1.33")
		unsigned[0].wantClose("connections that ran short", 1013)
	}
	t.clause = "" // or what comes next could not be tested
	for _, c := range young {
		c.hang()
	}
	t.served("connections had run short")
}

// sideBySide is how many connections are opened at once: one after the other, many take longer on a busy machine
// than a connection may be open without a sign-in.
const sideBySide = 16

// connections opens so many, or those that the node takes of them, and returns its refusal of another.
func (t *T) connections(n int) (opened []*conn, refusal *http.Response) {
	type result struct {
		secure   *tls.Conn
		r        *bufio.Reader
		response *http.Response
		err      error
	}
	results := make(chan result, n) // room for all, so that nobody waits when the scenario ends early
	for range n {
		go func() {
			secure, r, response, err := t.upgrade(dialOptions{})
			results <- result{secure, r, response, err}
		}()
	}
	var failure error
	for range n {
		one := <-results
		var refused *upgradeError
		switch {
		case errors.As(one.err, &refused):
			refusal = refused.response
		case one.err != nil:
			failure = one.err
		default:
			opened = append(opened, t.attend(one.secure, one.r, one.response))
		}
	}
	if failure != nil {
		t.fatal(nil, "a connection, or an HTTP response", failure.Error())
	}
	return opened, refusal
}

// closedAt returns when the node's close frame came.
func (c *conn) closedAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.crossed {
		if x.What == "close" && !x.Sent {
			return c.opened.Add(x.At)
		}
	}
	return c.opened
}

// settle waits until what the node has done to the connection has come, and reports whether it is open.
func (c *conn) settle() bool {
	c.mu.Lock()
	before := len(c.pongs)
	c.mu.Unlock()
	c.sendFrame("PING", true, opPing, nil)
	c.await(c.t.s.patience, func() bool { return len(c.pongs) > before || c.end != nil })
	return c.open()
}
