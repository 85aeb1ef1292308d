package conform

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

func barredScenarios() []scenario {
	return []scenario{
		{name: "barred-mapped", clauses: []string{"T-4.1"}, run: checkBarredMapped, admin: true, peer: true, alone: true},
		{name: "barred", clauses: []string{"T-5.45", "T-6.8"}, run: checkBarred, admin: true, peer: true},
		{name: "too-many", clauses: []string{"T-5.56"}, run: checkTooMany, peer: true, rate: true},
	}
}

// checkBarred has the operator bar the second node, under one of its names, and allow it again.
func checkBarred(t *T) {
	c, reader := t.member(), t.member()
	s := t.part(c, faceBarred)
	c.wantOK(c.exchange(reqForward, s.forward(false, "before")))
	before := s.want("before")
	ref := randomBytes(16)
	c.wantOK(c.exchange(reqForward, append(s.forward(false, "behind"), "ref", ref)))
	if _, err := t.s.operator(t.ctx, "node", "block", s.face.name); err != nil {
		t.skip("the operator's command does not bar nodes: " + err.Error())
	}
	barred := true
	allow := func() {
		if barred {
			barred = false
			if err := t.undo("node", "unblock", s.face.name); err != nil {
				t.skip("the operator's command failed: " + err.Error())
			}
		}
	}
	defer allow()
	key := fields{"node", s.face.name}
	sealed := t.seal(message(reader.user.name, randomBytes(16), []byte("barred")), recipe{})
	refused := func() bool { return c.exchange(reqGetNodeKey, key).code == errNodeRefused }
	if t.soon(refused); !refused() { // a list that is read in its own time
		if response, _ := t.post(sealed, t.vouch(s.face, "someone", sealed).headers()...); response.StatusCode != http.StatusForbidden {
			t.noEffect("node", "block", s.face.name)
		}
	}
	t.on("T-5.45")
	t.wantStatus("a message of a node that is barred", 403, sealed, t.vouch(s.face, "someone", sealed).headers())
	reader.quiet("nothing stored of a node that is barred")
	t.on("T-6.8")
	c.try(reqGetNodeKey, key, "the name of a node that is barred", errNodeRefused)
	c.try(reqGetNodeKey, append(key, "new", true), "the name of a node that is barred", errNodeRefused)
	c.try(reqForward, s.forward(true, "now"), "wait true, to a node that is barred", errNodeRefused)
	later := randomBytes(16)
	p := c.try(reqForward, append(s.forward(false, "later"), "ref", later), "wait false, to a node that is barred", errNodeRefused, ok)
	if p.code == ok {
		c.wantReturned("a FORWARD to a node that is barred", later, errNodeRefused)
	}
	before.answer <- delivered
	c.wantReturned("a FORWARD to a node that was barred meanwhile", ref, errNodeRefused)
	for _, text := range []string{"now", "later", "behind"} {
		t.check(c, !s.has(text), "nothing sent to a node that is barred", fmt.Sprintf("the message %q", text))
	}

	allow()
	t.on("T-6.8")
	t.soon(func() bool { return c.exchange(reqGetNodeKey, key).code != errNodeRefused })
	id := c.ask(reqForward, s.forward(true, "again"))
	s.want("again").answer <- delivered
	c.want(c.response(id), "FORWARD to a node that is barred no more", ok)
	t.on("T-5.45")
	response, _ := t.post(sealed, t.vouch(s.face, "someone", sealed).headers()...)
	t.check(nil, response.StatusCode == 200 || response.StatusCode == 503 && s.fetches() == 0, // see fetchedBefore
		"status 200 for a message of a node that is barred no more", response.Status)
}

// checkBarredMapped bars a node whose name a transitional mapping would make another's.
func checkBarredMapped(t *T) {
	const name, mapped, other = "faß.invalid", "xn--fa-hia.invalid", "fass.invalid"
	c := t.member()
	if _, err := t.s.operator(t.ctx, "node", "block", mapped); err != nil {
		t.skip("the operator's command does not bar nodes: " + err.Error())
	}
	defer func() {
		if err := t.undo("node", "unblock", mapped); err != nil {
			t.skip("the operator's command failed: " + err.Error())
		}
	}()
	refused := func() bool { return c.exchange(reqGetNodeKey, fields{"node", mapped}).code == errNodeRefused }
	if t.soon(refused); !refused() {
		t.noEffect("node", "block", mapped)
	}
	t.on("T-4.1")
	for node, want := range map[string]int{name: errNodeRefused, other: errNodeUnreachable} {
		c.try(reqGetNodeKey, fields{"node", node}, "node "+node+", where "+mapped+" is barred", want)
		c.try(reqForward, t.forward(true, []byte("sealed")).with("node", node), "node "+node+", where "+mapped+" is barred", want)
	}
}

// soon waits until f is true, for as long as a node may take, whose limits allow no more haste.
func (t *T) soon(f func() bool) {
	for end := time.Now().Add(t.s.patience); !f() && time.Now().Before(end); {
		t.pause(300 * time.Millisecond)
	}
}

// wantReturned takes a RETURN with that `ref` and `code`.
func (c *conn) wantReturned(what string, ref bin, code int) {
	p := c.deliverAnswered()
	if p.reqt != reqReturn || !bytes.Equal(p.body.get("ref").bytes(), ref) || p.body.get("code").num() != int64(code) {
		c.t.wrong(c, fmt.Sprintf("a RETURN of %s with code %s", what, errorName(code)), fmt.Sprintf("%v, code %d", p, p.body.get("code").num()))
	}
}

// checkTooMany forwards more messages in a minute than the tested node takes of one other.
func checkTooMany(t *T) {
	c := t.member()
	loud, other := t.part(c, faceLoud), t.part(c, faceOrder)
	session := new(session)
	post := func(f *face) (status int, retry string) {
		sealed := t.seal(message(c.user.name, randomBytes(16), nil), recipe{aead: true, session: session})
		response, _ := t.post(sealed, t.vouch(f, "someone", sealed).headers()...)
		return response.StatusCode, response.Header.Get("Retry-After")
	}
	began := time.Now()
	status, retry := post(loud.face)
	if status == 503 && loud.fetches() == 0 {
		t.skip(fetchedBefore)
	}
	most := 2 * t.s.PeerRate // so many if what a minute brings counts on top of what a minute holds
	taken := 0
	for ; status == 200 && taken < most; taken++ {
		status, retry = post(loud.face)
	}
	if took := time.Since(began); status == 200 && took > time.Minute {
		t.skip(fmt.Sprintf("it took %v to forward %d messages", took.Round(time.Second), taken))
	}
	t.on("T-5.56")
	t.check(nil, status == 429 && retry != "", fmt.Sprintf("429 with Retry-After for one of %d messages in a minute", most),
		fmt.Sprintf("%d, Retry-After %q, after %d", status, retry, taken))
	if status, _ := post(other.face); status == 429 {
		t.wrong(nil, "another node's messages taken", "429")
	}
}
