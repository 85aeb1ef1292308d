package conform

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

func connectionScenarios() []scenario {
	return []scenario{
		{name: "connections-short", clauses: []string{"T-1.8", "T-1.12", "T-1.13", "T-1.33"}, run: checkShortConnections, connections: true, last: true},
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
	var refusal *http.Response
	for refusal == nil {
		if len(young) > t.s.Connections {
			skipSlow(t, young)
			t.skip(fmt.Sprintf("connections did not run short with %d of them: give --connections as the node has it", len(t.conns)))
		}
		secure, r, response, err := t.s.upgrade(t.ctx, dialOptions{})
		var refused *upgradeError
		switch {
		case errors.As(err, &refused):
			refusal = refused.response
		case err != nil:
			t.fatal(nil, "a connection, or an HTTP response", err.Error())
		default:
			c := t.attend(secure, r, response)
			c.wantOK(c.exchange(reqHandshake, nil))
			young = append(young, c)
		}
		if first := unsigned[0].settle(); !unsigned[1].settle() && first {
			t.on("T-1.12")
			t.fatal(unsigned[1], "the connection closed first that has been open for longest without a sign-in", unsigned[1].state())
		}
	}
	skipSlow(t, young)
	t.on("T-1.8")
	t.check(nil, refusal.StatusCode == http.StatusServiceUnavailable && refusal.Header.Get("Retry-After") != "",
		"503 with Retry-After when connections have run short", fmt.Sprintf("%s, Retry-After %q", refusal.Status, refusal.Header.Get("Retry-After")))
	t.on("T-1.13")
	t.checkStatus("overload")
	t.on("T-1.12")
	for _, c := range append(slices.Clone(young), signedIn) {
		t.check(c, c.settle(), "only connections closed that have not signed in for 30 s", c.state())
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

// skipSlow skips the scenario when connections that were opened one after the other may themselves be closed
// for others by now.
func skipSlow(t *T, young []*conn) {
	if len(young) > 0 && time.Since(young[0].opened) > unsignedTime {
		t.skip(fmt.Sprintf("it took longer than %v to open %d connections", unsignedTime, len(young)))
	}
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
