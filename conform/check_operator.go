package conform

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"time"
)

func operatorScenarios() []scenario {
	return []scenario{
		{name: "maintenance", clauses: []string{"T-1.14", "T-1.32", "T-1.140"}, run: checkMaintenance, admin: true, alone: true},
		{name: "restart", clauses: []string{"T-1.31", "T-3.36", "T-4.98"}, run: checkRestart, admin: true, alone: true},
		{name: "work-in-flight", clauses: []string{"T-3.35", "T-3.39"}, run: checkWork, admin: true, peer: true, alone: true},
		{name: "rotated", clauses: []string{"T-5.3", "T-5.4", "T-5.5"}, run: checkRotated, admin: true, alone: true},
		{name: "disabled", clauses: []string{"T-4.33", "T-4.34"}, run: checkDisabled, admin: true},
	}
}

func checkMaintenance(t *T) {
	c, signedIn := t.greeted(), t.member()
	t.operator("maintenance", "on")
	on := true
	defer func() {
		if on {
			if err := t.undo("maintenance", "off"); err != nil {
				t.add(nil, "T-1.140", "the end of maintenance", err.Error())
			}
		}
	}()
	began := func() bool {
		return !c.open() || !signedIn.open() || t.saysMaintenance() || t.upgrades() != nil
	}
	if t.soon(began); !began() {
		t.noEffect("maintenance", "on")
	}
	t.on("T-1.32")
	c.wantClose("the start of maintenance", 1012)
	signedIn.wantClose("the start of maintenance", 1012)
	t.on("T-1.14")
	t.checkStatus("maintenance")
	t.on("T-1.140")
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

// saysMaintenance reports whether the node's page does.
func (t *T) saysMaintenance() bool {
	_, body, err := t.http(http.MethodGet, "/api/status", nil, nil)
	return err == nil && bytes.Contains(body, []byte("maintenance"))
}

func checkRestart(t *T) {
	fresh, c := t.greeted(), t.member()
	restart := t.errand("restart")
	for !restart.over() && (c.open() || fresh.open()) {
		t.pause(20 * time.Millisecond)
	}
	if restart.over() && restart.err != nil {
		t.skip("the operator's command does not restart the node: " + restart.err.Error())
	}
	goingAway := func(p *packet) bool { return p.pakt == pktEvent && p.reqt == evtGoingAway }
	stops := func() bool { return !c.open() || !fresh.open() || c.has(goingAway) }
	if t.soon(stops); !stops() {
		t.noEffect("restart")
	}
	t.on("T-1.31")
	for _, c := range []*conn{c, fresh} {
		c.wantClose("the stop of the node", 1001)
		c.hang() // so that the node need not wait for that
	}
	t.on("T-3.36")
	p := c.find(goingAway)
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
	if err := restart.wait(); err != nil {
		t.fatal(nil, "the operator's command to start the node again", err.Error())
	}
	t.served("its restart")
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
			if err := t.undo("user", "enable", u.name); err != nil {
				t.skip("the operator's command failed: " + err.Error())
			}
		}
	}
	defer enable()
	closed := func() bool { return !c.open() || !sender.open() }
	if t.soon(closed); !closed() && t.greeted().exchange(reqSignIn, fields{"user", u.name, "pass", u.pass}).code == ok {
		t.noEffect("user", "disable", u.name)
	}
	t.on("T-4.34")
	c.wantClose("the disabling of the account", 4002)
	sender.wantClose("the disabling of the account", 4002)
	writer.wantAnswer("MESSAGE to a disabled account", t.seal(message(u.name, randomBytes(16), []byte("meanwhile")), recipe{}), ok)
	t.on("T-4.33")
	again := t.greeted()
	again.try(reqSignIn, fields{"user", u.name, "pass", u.pass}, "a disabled account", errDisabled)
	again.try(reqSignIn, fields{"user", u.name, "dev", "one", "tok", bin(c.tok)}, "a disabled account's token", errDisabled)
	again.try(reqSignIn, fields{"user", u.name, "pass", "wrong password"}, "a disabled account and a wrong password", errCredentials)
	again.try(reqSignIn, fields{"user", u.name, "tok", randomBytes(32)}, "a disabled account and a wrong token", errCredentials)
	enable()
	t.on("T-4.34")
	p := again.exchange(reqSignIn, fields{"user", u.name, "pass", u.pass, "dev", "one"})
	if again.want(p, fmt.Sprintf("SIGN_IN of %s, enabled again", u.name), ok) {
		again.wantTexts("that came meanwhile", "meanwhile")
	}
}

// checkWork has a request in flight while the node goes into maintenance: the second node is slow to answer it.
func checkWork(t *T) {
	c := t.member()
	s := t.part(c, faceOrder)
	inFlight := c.ask(reqForward, s.forward(true, "in flight"))
	one := s.want("in flight")
	maintenance := t.errand("maintenance", "on")
	answer := sync.OnceFunc(func() { one.answer <- delivered })
	defer func() {
		answer()
		if err := maintenance.wait(); err != nil {
			t.wrong(nil, "the operator's command to begin maintenance", err.Error())
		}
		if err := t.undo("maintenance", "off"); err != nil {
			t.wrong(nil, "the operator's command to end maintenance", err.Error())
		}
	}()
	away := c.find(func(p *packet) bool { return p.pakt == pktEvent && p.reqt == evtGoingAway })
	if away == nil {
		if maintenance.over() && maintenance.err == nil && c.open() {
			t.noEffect("maintenance", "on")
		}
		t.skip("the node goes into maintenance without GOING_AWAY: " + c.state())
	}
	// soon is how fast a node that waits for what is in flight answers all else.
	const soon = time.Second
	wantResponse := func(clause string, id uint8, what string, codes ...int) *packet {
		p := c.find(func(p *packet) bool { return p.pakt == pktResponse && p.id == id })
		if p == nil && !c.open() && c.closedAfter(away) < soon {
			t.skip("the node closes at once, though a request is in flight")
		}
		t.on(clause)
		if p == nil {
			t.fatal(c, "a response to "+what+" after GOING_AWAY", c.state())
		}
		c.want(p, what+" after GOING_AWAY", append(codes, ok, errBusy)...)
		return p
	}
	for _, one := range []struct {
		request int
		body    any
	}{{reqGetInfo, nil}, {reqListDevices, nil}, {reqForward, t.forward(true, c.sealed("late", recipe{}))}} {
		name := requestNames[one.request]
		if wantResponse("T-3.39", c.ask(one.request, one.body), name).code == errBusy {
			wantResponse("T-3.35", c.ask(reqGetInfo, nil), "GET_INFO behind "+name+", which was BUSY,")
		}
	}
	answer()
	p := wantResponse("T-3.39", inFlight, "the FORWARD that was in flight", errNodeTimeout)
	if p.code == ok && !bytes.Equal(p.body.get("resp").bytes(), delivered.body) {
		t.wrong(c, "resp as the second node answered", p.String())
	}
}

// ended reports whether a subkey of a certificate is expired or revoked, or will be in a moment, or is gone.
func (k *nodeKey) ended(fingerprint []byte) bool {
	soon := time.Now().Add(5 * time.Second)
	for i := range k.entity.Subkeys {
		sub := &k.entity.Subkeys[i]
		if !bytes.Equal(sub.PublicKey.Fingerprint, fingerprint) {
			continue
		}
		binding, err := sub.LatestValidBindingSignature(soon, nil)
		return err != nil || sub.Revoked(binding, soon) || sub.Expired(binding, soon)
	}
	return true
}

// signsAnew reports whether a certificate has a subkey that signs and that the one of before has not.
func (k *nodeKey) signsAnew(old *nodeKey) bool {
	for _, sub := range k.entity.Subkeys {
		id := hex.EncodeToString(sub.PublicKey.Fingerprint)
		if k.signingKey(id) != nil && old.signingKey(id) == nil {
			return true
		}
	}
	return false
}

// checkRotated looks at the node's key after a rotation, and seals to the one of before.
func checkRotated(t *T) {
	c, old := t.member(), t.s.key
	if _, err := t.s.operator(t.ctx, "key", "rotate"); err != nil {
		t.skip("the operator's command does not rotate the key: " + err.Error())
	}
	t.on("T-5.5")
	var key *nodeKey
	rotated := func() bool {
		var err error
		if key, err = t.s.fetchKey(t.ctx); err != nil {
			t.fatal(nil, "the node's certificate after a rotation", err.Error())
		}
		return !bytes.Equal(key.bytes, old.bytes)
	}
	if t.soon(rotated); !rotated() {
		t.fatal(nil, "another certificate after a rotation",
			"the one of before: \"key rotate\" of the operator's command had no effect, though it ended well, or the node goes on serving it")
	}
	t.s.key = key
	t.check(nil, bytes.Equal(key.entity.PrimaryKey.Fingerprint, old.entity.PrimaryKey.Fingerprint),
		fmt.Sprintf("the primary key %x", old.entity.PrimaryKey.Fingerprint), fmt.Sprintf("%x", key.entity.PrimaryKey.Fingerprint))
	t.check(nil, !bytes.Equal(key.to.Fingerprint, old.to.Fingerprint), "a new subkey that encrypts", "the one of before")
	t.check(nil, key.ended(old.to.Fingerprint), "the subkey that encrypted before marked expired or revoked", "one that goes on")
	t.check(nil, key.signsAnew(old), "a new subkey that signs", "those of before")
	for _, aead := range []bool{false, true} {
		c.wantAnswer("a message sealed to the key of before a rotation", c.sealed("to the old key", recipe{to: old.to, aead: aead}), ok)
		c.wantTexts("sealed to the key of before a rotation", "to the old key")
		c.wantAnswer("a message sealed to the key of after a rotation", c.sealed("to the new key", recipe{aead: aead}), ok)
		c.wantTexts("sealed to the key of after a rotation", "to the new key")
	}
	t.checkCertificate(key)
}
