package conform

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

func operatorScenarios() []scenario {
	return []scenario{
		{name: "maintenance", clauses: []string{"T-1.8", "T-1.14", "T-1.32"}, run: checkMaintenance, admin: true, alone: true},
		{name: "restart", clauses: []string{"T-1.31", "T-3.36", "T-4.98"}, run: checkRestart, admin: true, alone: true},
		{name: "disabled", clauses: []string{"T-4.33", "T-4.34"}, run: checkDisabled, admin: true},
	}
}

func checkMaintenance(t *T) {
	c, signedIn := t.greeted(), t.member()
	t.operator("maintenance", "on")
	on := true
	defer func() {
		if on {
			if _, err := t.s.operator(t.ctx, "maintenance", "off"); err != nil {
				t.add(nil, "T-1.8", "the end of maintenance", err.Error())
			}
		}
	}()
	t.on("T-1.32")
	c.wantClose("the start of maintenance", 1012)
	signedIn.wantClose("the start of maintenance", 1012)
	t.on("T-1.14")
	t.checkStatus("maintenance")
	t.on("T-1.8")
	response := t.refused()
	switch {
	case response == nil:
		t.wrong(nil, "503 in maintenance", "a connection")
	case response.StatusCode != http.StatusServiceUnavailable:
		t.wrong(nil, "503 in maintenance", response.Status)
	default:
		t.check(nil, response.Header.Get("Retry-After") != "", "Retry-After with 503", "none")
	}
	t.operator("maintenance", "off")
	on = false
	again := t.dial()
	again.want(again.exchange(reqHandshake, nil), "HANDSHAKE after maintenance", ok)
}

func checkRestart(t *T) {
	fresh, c := t.greeted(), t.member()
	_, err := t.s.operator(t.ctx, "restart")
	if err != nil {
		t.skip("the operator's command does not restart the node: " + err.Error())
	}
	t.on("T-1.31")
	c.wantClose("the stop of the node", 1001)
	fresh.wantClose("the stop of the node", 1001)
	t.on("T-3.36")
	p := c.find(func(p *packet) bool { return p.pakt == pktEvent && p.reqt == evtGoingAway })
	if p == nil {
		t.wrong(c, "GOING_AWAY before the node stops", c.state())
	} else {
		took := c.closedAfter(p)
		t.check(c, took <= 31*time.Second, "the close at most 30 s after GOING_AWAY", took.String())
		t.on("T-4.98")
		wait := p.body.get("wait").num()
		t.check(c, wait >= 0 && wait <= 0xffff, "GOING_AWAY with `wait`", p.String())
	}
	t.clause = "" // it comes back, or nothing else can be tested
	const patience = time.Minute
	for end := time.Now().Add(patience); ; t.pause(100 * time.Millisecond) {
		secure, _, _, err := t.s.upgrade(t.ctx, dialOptions{})
		if err == nil {
			_ = secure.Close() // not wanted
			return
		}
		if time.Now().After(end) {
			t.fatal(nil, fmt.Sprintf("the node to serve %v after its restart", patience), err.Error())
		}
	}
}

// closedAfter returns how long after a packet the close frame came.
func (c *conn) closedAfter(p *packet) (took time.Duration) {
	var at time.Duration
	for _, x := range c.transcript(shownCrossings) {
		switch {
		case x.What == "packet" && bytes.Equal(x.Bytes, p.bytes):
			at = x.At
		case x.What == "close" && !x.Sent:
			took = x.At - at
		}
	}
	return took
}

func checkDisabled(t *T) {
	u := t.newUser()
	c, sender, writer := t.signIn(u, "dev", "one"), t.signIn(u, "dev", "two", "recv", false), t.member()
	t.operator("user", "disable", u.name)
	disabled := true
	enable := func() {
		if disabled {
			disabled = false
			t.operator("user", "enable", u.name)
		}
	}
	defer enable()
	t.on("T-4.34")
	c.wantClose("the disabling of the account", 4002)
	sender.wantClose("the disabling of the account", 4002)
	writer.wantAnswer("MESSAGE to a disabled account", t.seal(message(u.name, randomBytes(16), []byte("meanwhile")), recipe{}), ok)
	t.on("T-4.33")
	again := t.greeted()
	again.try(reqSignIn, fields{"user", u.name, "pass", u.pass}, "a disabled account", errDisabled)
	again.try(reqSignIn, fields{"user", u.name, "dev", "one", "tok", bin(c.tok)}, "a disabled account's token", errDisabled, errCredentials)
	again.try(reqSignIn, fields{"user", u.name, "pass", "wrong password"}, "a disabled account and a wrong password", errCredentials)
	again.try(reqSignIn, fields{"user", u.name, "tok", randomBytes(32)}, "a disabled account and a wrong token", errCredentials)
	enable()
	t.on("T-4.34")
	p := again.exchange(reqSignIn, fields{"user", u.name, "pass", u.pass, "dev", "one"})
	if again.want(p, fmt.Sprintf("SIGN_IN of %s, enabled again", u.name), ok) {
		again.wantTexts("that came meanwhile", "meanwhile")
	}
}
