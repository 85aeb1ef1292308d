package conform

import (
	"bytes"
	"fmt"
	"slices"
)

// How far the suite goes where it does not know what the node holds.
const (
	mostInMailbox = 100_001
	mostInOutbox  = 10_001
)

func quotaScenarios() []scenario {
	return []scenario{
		{name: "mailbox-full", clauses: []string{"T-4.94", "T-4.102", "T-4.103", "T-5.25"}, run: checkMailboxFull, slow: true, quota: true},
		{name: "outbox-full", clauses: []string{"T-6.9"}, run: checkOutboxFull, slow: true, quota: true},
		{name: "outbox-full-of-events", clauses: []string{"T-2.142"}, run: checkOutboxFullOfEvents, slow: true, quota: true},
	}
}

// most is how many messages are to be enough to fill something.
func (t *T) most(otherwise int) int {
	if t.s.Quota > 0 {
		return t.s.Quota + 1
	}
	return otherwise
}

// fill makes FORWARDs, many at a time, until one is refused. It returns which of them were not, and the
// code of the refusal; ok where there was none, BUSY where there was that among others.
func (c *conn) fill(most int, body func(i int) fields) (taken []int, refusal int) {
	const atATime = 64
	type request struct {
		id uint8
		i  int
	}
	var flight []request
	refusal = ok
	settle := func() {
		switch code := forwarded(c.response(flight[0].id)); {
		case code == ok:
			taken = append(taken, flight[0].i)
		case refusal == ok || code == errBusy:
			refusal = code
		}
		flight = flight[1:]
	}
	for i := 0; i < most && refusal == ok; i++ {
		if len(flight) == atATime {
			settle()
		}
		flight = append(flight, request{c.ask(reqForward, body(i)), i})
	}
	for len(flight) > 0 {
		settle()
	}
	return taken, refusal
}

// forwarded returns the error of a FORWARD: the node's, or else the destination's.
func forwarded(p *packet) int {
	resp := p.body.get("resp").bytes()
	if p.code != ok || resp == nil {
		return p.code
	}
	answer, err := unpack(resp)
	if err != nil {
		return noCode
	}
	return answerCode(answer)
}

// full ends the scenario unless the limit was reached that a clause speaks of, and how it wants to.
func (c *conn) full(clause string, taken, most, refusal, want int) {
	t := c.t
	switch {
	case refusal == errBusy:
		t.skip(fmt.Sprintf("the node's limit was not reached: BUSY after %d messages", taken))
	case refusal == ok && t.s.Quota < 1:
		t.skip(fmt.Sprintf("the node's limit was not reached after %d messages", taken))
	}
	t.on(clause)
	if refusal != want {
		t.fatal(c, fmt.Sprintf("%s for one of %d messages", refusalName(want), most), fmt.Sprintf("%s after %d", refusalName(refusal), taken))
	}
}

// refusalName names an error of either kind.
func refusalName(code int) string {
	if name, known := errorNames[code]; known {
		return name
	}
	return codeName(answerNames, code)
}

func checkMailboxFull(t *T) {
	writer, u := t.member(), t.newUser()
	sender := t.signIn(u, "dev", "sender", "recv", false)
	for _, device := range []string{"one", "two"} { // which get their places
		t.signIn(u, "dev", device).hang()
	}
	session := new(session)
	mids := make(map[string]bin)
	one := func(text string) []byte {
		mids[text] = randomBytes(16)
		return t.seal(message(u.name, mids[text], []byte(text)), recipe{aead: true, session: session})
	}
	name := func(round, i int) string { return fmt.Sprintf("%d %06d", round, i) } // all of one size
	most := t.most(mostInMailbox)
	fill := func(round int) (texts []string) {
		taken, refusal := writer.fill(most, func(i int) fields { return t.forward(true, one(name(round, i))) })
		writer.full("T-4.94", len(taken), most, refusal, errMailboxFull)
		for _, i := range taken {
			texts = append(texts, name(round, i))
		}
		return texts
	}
	nobody := t.seal(message(t.s.UserPrefix+"nobody-"+t.s.run, randomBytes(16), nil), recipe{})
	returned := func() (ref bin) {
		ref = randomBytes(16)
		sender.wantOK(sender.exchange(reqForward, append(t.forward(false, nobody), "ref", ref)))
		return ref
	}

	first := fill(1)
	if len(first) == 0 {
		t.fatal(writer, "a mailbox that holds something", "MAILBOX_FULL for the first message")
	}
	writer.wantAnswer("MESSAGE to a full mailbox", one(name(2, 0)), errMailboxFull)
	writer.wantOK(writer.exchange(reqForward, t.forward(false, one(name(3, 0)))))
	back := writer.deliverAnswered()
	resp, err := unpack(back.body.get("resp").bytes())
	t.check(writer, back.reqt == reqReturn && err == nil && answerCode(resp) == errMailboxFull, "a RETURN with MAILBOX_FULL", back.String())
	t.on("T-5.25")
	writer.wantAnswer("MESSAGE, again, to a full mailbox", t.seal(message(u.name, mids[first[0]], []byte(first[0])), recipe{}), ok)

	t.on("T-4.103")
	ref := returned()
	reader := t.signIn(u, "dev", "one")
	got := reader.drain(ref)
	t.on("T-4.102")
	reader.wantSame(first, got)
	reader.alive("all that it was sent") // and has heard our answers
	reader.hang()
	second := fill(4)
	t.on("T-4.102")
	if len(first)-len(second) == 1 { // the one place that the RETURN would take
		t.on("T-4.103")
	}
	t.check(writer, len(second) >= len(first), fmt.Sprintf("room for %d messages, as many as a device has taken", len(first)), fmt.Sprint(len(second)))
	t.on("T-4.103")
	next := returned()
	reader = t.signIn(u, "dev", "two")
	got = append(reader.drain(ref), reader.drain(next)...)
	t.on("T-4.102")
	reader.wantSame(second, got)
}

// drain takes messages up to the RETURN with that `ref`, and returns what they say.
func (c *conn) drain(ref bin) (texts []string) {
	for {
		p := c.deliverAnswered()
		if p.reqt == reqReturn && bytes.Equal(p.body.get("ref").bytes(), ref) {
			return texts
		}
		texts = append(texts, text(p))
	}
}

// wantSame checks that a mailbox held what was put into it, in whatever order it got there.
func (c *conn) wantSame(want, got []string) {
	slices.Sort(got)
	if !slices.Equal(want, got) {
		c.t.wrong(c, fmt.Sprintf("the %d messages that no device had taken", len(want)), fmt.Sprintf("%d, of which %d are among them", len(got), common(want, got)))
	}
}

// common counts what is in both.
func common(a, b []string) int {
	in := make(map[string]bool)
	for _, s := range a {
		in[s] = true
	}
	n := 0
	for _, s := range b {
		if in[s] {
			n++
		}
	}
	return n
}

func checkOutboxFull(t *T) {
	c := t.member()
	most := t.most(mostInOutbox)
	name := "full-" + t.s.run + ".invalid"
	body := t.forward(false, []byte("sealed")).with("node", name)
	taken, refusal := c.fill(most, func(int) fields { return body })
	c.full("T-6.9", len(taken), most, refusal, errOutboxFull)
	c.try(reqForward, body, "more than may wait to be forwarded", errOutboxFull)
	c.alive("OUTBOX_FULL")
}

// checkOutboxFullOfEvents sends as many EVENTs as the outbox holds messages, more than once, since a busy node may
// drop some.
func checkOutboxFullOfEvents(t *T) {
	if t.s.Quota < 1 {
		t.skip("it is not known how little the node holds: give --quota")
	}
	const rounds, atATime = 3, 16
	c := t.member()
	body := t.forward(false, []byte("sealed")).with("node", "events-"+t.s.run+".invalid")
	refusal := ok
	for range rounds {
		for i := range t.s.Quota {
			c.sendBytes(c.root(fields{"ver", c.ver, "id", 0, "pakt", pktEvent, "reqt", reqForward, "body", body}).pack())
			if i%atATime == 0 {
				c.alive("EVENTs")
			}
		}
		if refusal = c.exchange(reqForward, body).code; refusal != ok {
			break
		}
	}
	if refusal == errBusy {
		t.skip("the node's limit was not reached: BUSY after EVENTs")
	}
	t.on("T-2.142")
	t.check(c, refusal == errOutboxFull, fmt.Sprintf("OUTBOX_FULL after %d EVENTs", rounds*t.s.Quota), errorName(refusal))
}
