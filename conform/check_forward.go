package conform

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

func forwardScenarios() []scenario {
	return []scenario{
		{name: "forward", clauses: []string{"T-4.60", "T-4.61", "T-4.74", "T-8.1"}, run: checkForward},
		{name: "forward-events", clauses: []string{"T-2.31", "T-2.32", "T-2.33"}, run: checkForwardEvents},
		{name: "forward-sizes", clauses: []string{"T-4.64", "T-4.65", "T-4.75"}, run: checkForwardSizes},
		{name: "forward-order", clauses: []string{"T-3.17"}, run: checkForwardOrder},
		{name: "unreachable", clauses: []string{"T-4.66", "T-4.68", "T-4.71", "T-4.72"}, run: checkUnreachable},
		{name: "returns-again", clauses: []string{"T-4.97"}, run: checkReturnsAgain},
		{name: "returns", clauses: []string{"T-4.69", "T-4.95", "T-4.97", "T-4.100", "T-4.200", "T-4.201"}, run: checkReturns},
		{name: "node-key", clauses: []string{"T-4.70"}, run: checkNodeKey},
	}
}

func checkForward(t *T) {
	from, to := t.member(), t.member()
	contents := [][]byte{[]byte("hello"), nil, {0xc1}, bytes.Repeat([]byte{0}, 300), []byte("\xff\xfe"), fields{"type", 0x7f}.pack()}
	for i, content := range contents {
		mid := randomBytes(16)
		sealed := t.seal(message(to.user.name, mid, content), recipe{aead: i%2 == 1})
		before := from.clock()
		if i%2 == 0 {
			t.on("T-4.60")
			from.wantAnswer("MESSAGE", sealed, ok)
		} else {
			t.on("T-4.61")
			p := from.exchange(reqForward, append(t.forward(false, sealed), "ref", mid))
			from.want(p, "FORWARD with wait false", ok)
			t.check(from, p.body.isNil(), "no body for FORWARD with wait false", "a body")
		}
		p := to.deliverAnswered()
		t.on("T-4.74")
		t.check(to, bytes.Equal(p.body.get("mid").bytes(), mid), fmt.Sprintf("mid % x", []byte(mid)), fmt.Sprintf("% x", p.body.get("mid").bytes()))
		t.check(to, p.body.get("from").str() == from.user.name+"@"+t.s.node, "from "+from.user.name+"@"+t.s.node, p.body.get("from").str())
		at, after := p.body.get("time").num(), from.clock()
		t.check(to, before <= at && at <= after, fmt.Sprintf("a time by the node's clock, from %d to %d", before, after), fmt.Sprint(at))
		t.on("T-8.1")
		t.check(to, bytes.Equal(p.body.get("msg").bytes(), content), fmt.Sprintf("msg % x", content), fmt.Sprintf("% x", p.body.get("msg").bytes()))
	}
	from.quiet("nothing for the sender of what was delivered")
}

// clock is the time that the node says it has, in milliseconds.
func (c *conn) clock() int64 { return c.wantOK(c.exchange(reqGetInfo, nil)).body.get("time").num() }

func checkForwardEvents(t *T) {
	from, to := t.member(), t.member()
	event := func(body any) {
		from.sendBytes(from.root(fields{"ver", from.ver, "id", 5, "pakt", pktEvent, "reqt", reqForward, "body", body}).pack())
	}
	sealed := func(text string) []byte {
		return t.seal(message(to.user.name, randomBytes(16), []byte(text)), recipe{})
	}
	t.on("T-2.31")
	event(t.forward(false, sealed("an event")))
	from.quiet("no response to an EVENT")
	to.wantTexts("that was sent as an EVENT", "an event")
	t.on("T-2.32")
	event(t.forward(false, sealed("no wait")).without("wait"))
	event(t.forward(true, sealed("wait true")))
	event(t.forward(true, sealed("wait of another type")).with("wait", 7))
	to.wantTexts("whatever `wait` is", "no wait", "wait true", "wait of another type")
	from.quiet("no response and no RETURN to an EVENT")
	t.on("T-2.33")
	fresh := t.dial()
	fresh.sendBytes(fields{"ver", fresh.ver, "id", 5, "pakt", pktEvent, "reqt", reqForward, "body", t.forward(false, sealed("no sign-in"))}.pack())
	fresh.wantOK(fresh.exchange(reqHandshake, nil))
	event(t.forward(false, make([]byte, 2_000_001)))
	event(t.forward(false, sealed("refused")).with("node", "no node"))
	event(append(t.forward(false, sealed("refused")), "ref", bin("short")))
	from.sendBytes(fields{"ver", "1.0.7", "id", 5, "pakt", pktEvent, "reqt", reqForward, "body", t.forward(false, sealed("another version"))}.pack())
	event(t.forward(false, sealed("the next")))
	to.wantTexts("and none that was to be dropped", "the next")
	from.quiet("no response and no RETURN to what was dropped")
	t.on("T-2.31")
	// One that is accepted and then refused by the destination does come back.
	event(append(t.forward(false, t.seal(message(t.s.UserPrefix+"nobody-"+t.s.run, randomBytes(16), nil), recipe{})), "ref", bin("0123456789abcdef")))
	p := from.deliverAnswered()
	t.check(from, p.reqt == reqReturn && string(p.body.get("ref").bytes()) == "0123456789abcdef", "a RETURN with the ref of an EVENT", p.String())
}

func checkForwardSizes(t *T) {
	from, to := t.member(), t.member()
	t.on("T-4.64")
	for _, wait := range []bool{true, false} {
		p := from.exchange(reqForward, t.forward(wait, make([]byte, 2_000_001)))
		from.want(p, "msg of 2,000,001 bytes", errTooLarge)
	}
	from.want(from.exchange(reqForward, t.forward(true, make([]byte, 2_000_000))), "msg of 2,000,000 bytes that is nothing sealed", errNodeRefused)
	from.want(from.exchange(reqForward, t.forward(true, nil)), "msg of no bytes", errNodeRefused)
	t.on("T-4.65")
	for _, n := range []int{0, 15, 17, 255} {
		from.try(reqForward, append(t.forward(false, []byte("x")), "ref", randomBytes(n)), fmt.Sprintf("ref of %d bytes", n), errMalformed)
	}
	t.on("T-4.75")
	large := randomBytes(1_990_000)
	from.wantAnswer("MESSAGE with msg of 1,990,000 bytes", t.seal(message(to.user.name, randomBytes(16), large), recipe{aead: true, chunk: 1 << 16}), ok)
	p := to.deliverAnswered()
	t.check(to, bytes.Equal(p.body.get("msg").bytes(), large), "the 1,990,000 bytes sent", fmt.Sprintf("%d bytes, others", len(p.body.get("msg").bytes())))
}

func checkForwardOrder(t *T) {
	from, to := t.member(), t.member()
	t.on("T-3.17")
	const count = 60
	var ids []uint8
	for i := range count {
		sealed := t.seal(message(to.user.name, randomBytes(16), fmt.Append(nil, i)), recipe{aead: i%3 == 0})
		if i%5 == 4 {
			from.sendBytes(from.root(fields{"ver", from.ver, "id", 0, "pakt", pktEvent, "reqt", reqForward, "body", t.forward(false, sealed)}).pack())
			continue
		}
		ids = append(ids, from.ask(reqForward, t.forward(false, sealed)))
	}
	busy := false
	for _, id := range ids {
		p := from.response(id)
		busy = busy || p.code == errBusy
		from.want(p, "FORWARD with wait false", ok, errBusy)
	}
	last := -1
	for i := 0; i < count && !busy; i++ {
		var n int
		p := to.deliverAnswered()
		if _, err := fmt.Sscan(text(p), &n); err != nil || n != last+1 {
			t.fatal(to, fmt.Sprintf("message %d after %d", last+1, last), fmt.Sprintf("message %q", text(p)))
		}
		last = n
	}
}

func checkUnreachable(t *T) {
	c := t.member()
	t.on("T-4.68")
	start := time.Now()
	p := c.exchange(reqForward, t.forward(true, []byte("sealed")).with("node", "unreachable.invalid"))
	if c.want(p, "FORWARD with wait true to a node that does not exist", errNodeUnreachable) && p.wait() == 0 && !c.drafts {
		t.wrong(c, "NODE_UNREACHABLE with wait", "none")
	}
	if took := time.Since(start); took > 31*time.Second {
		t.wrong(c, "a response within 30 s", took.String())
	}
	t.on("T-4.66")
	ref := randomBytes(16)
	for _, msg := range []string{"sealed", "sealed again"} {
		p := c.exchange(reqForward, append(t.forward(false, []byte(msg)).with("node", "unreachable.invalid"), "ref", ref))
		c.want(p, "FORWARD with wait false and one ref to a node that does not exist", ok)
	}
	t.on("T-4.71")
	c.try(reqGetNodeKey, fields{"node", "unreachable.invalid"}, "a node that does not exist", errNodeUnreachable)
	t.on("T-4.72")
	p = c.try(reqGetNodeKey, fields{"node", "unreachable.invalid", "new", true}, "new right after another fetch", errNodeUnreachable)
	t.check(c, p.wait() > 0 || c.drafts, "NODE_UNREACHABLE with wait", "none")
	for range 3 {
		p := c.try(reqGetNodeKey, fields{"node", t.s.node, "new", true}, "new, again and again", ok)
		t.check(c, bytes.Equal(p.body.get("key").bytes(), t.s.key.bytes), "the node's certificate", "another one")
	}
}

func checkReturns(t *T) {
	from := t.member()
	other := t.signIn(from.user, "dev", "other")
	refs := []bin{randomBytes(16), randomBytes(16), nil}
	other.hang() // and misses the first
	mids := make(map[string]bool)
	nobody := t.s.UserPrefix + "nobody-" + t.s.run
	for i, sealed := range [][]byte{
		t.seal(message(nobody, randomBytes(16), nil), recipe{}),
		[]byte("nothing sealed"),
		t.seal(message(nobody, randomBytes(16), nil), recipe{to: nil, aead: true}),
	} {
		body := t.forward(false, sealed)
		if refs[i] != nil {
			body = append(body, "ref", refs[i])
		}
		if i == 2 {
			body = body.with("node", strings.ToUpper(t.s.node)+".")
		}
		t.clause = ""
		from.wantOK(from.exchange(reqForward, body))
		t.on("T-4.95")
		p := from.deliver()
		if p.reqt != reqReturn {
			t.fatal(from, "a RETURN", p.String())
		}
		b := p.body
		t.check(from, bytes.Equal(b.get("ref").bytes(), refs[i]), fmt.Sprintf("ref % x", []byte(refs[i])), fmt.Sprintf("% x", b.get("ref").bytes()))
		if i == 2 {
			t.on("T-4.100")
		}
		t.check(from, b.get("node").str() == t.s.node, "node "+t.s.node, b.get("node").str())
		t.on("T-4.95")
		t.check(from, (b.get("resp") == nil) != (b.get("code") == nil), "either resp or code", "both or neither")
		if i == 1 {
			t.on("T-4.69")
			t.check(from, b.get("code").num() == errNodeRefused, "code NODE_REFUSED", fmt.Sprint(b.get("code").num()))
		} else {
			answer, err := unpack(b.get("resp").bytes())
			t.check(from, err == nil && answerCode(answer) == errNoSuchUser, "resp with NO_SUCH_USER", fmt.Sprintf("% x", b.get("resp").bytes()))
		}
		t.on("T-4.200")
		mid := string(b.get("mid").bytes())
		t.check(from, !mids[mid], "another mid in another RETURN", fmt.Sprintf("% x again", mid))
		mids[mid] = true
		if i == 0 {
			t.clause = ""
			other = t.signIn(from.user, "dev", "other")
			t.on("T-4.201")
		} else {
			t.on("T-4.97")
		}
		same := other.deliver()
		t.check(other, same.reqt == reqReturn && bytes.Equal(same.body.get("mid").bytes(), b.get("mid").bytes()), "the same RETURN on each device", same.String())
		other.answer(same, ok)
		if i > 0 {
			from.answer(p, ok)
			continue
		}
		t.on("T-4.97")
		from.answer(p, errBusy, "wait", 1)
		repeated := from.deliver()
		t.check(from, bytes.Equal(repeated.body.get("mid").bytes(), b.get("mid").bytes()), "the same RETURN after BUSY", repeated.String())
		from.answer(repeated, errRejected)
	}
	again := t.again(from)
	again.nothingBefore("no RETURN that was taken")
	t.on("T-4.69")
	again.wantRefused("a msg that is nothing sealed", []byte("nothing sealed"))
}

// checkReturnsAgain answers a RETURN as a DELIVER is answered that comes again, and not at all.
func checkReturnsAgain(t *T) {
	c := t.member()
	ref := randomBytes(16)
	c.wantOK(c.exchange(reqForward, append(t.forward(false, []byte("nothing sealed")), "ref", ref)))
	first := c.deliver()
	t.on("T-4.97")
	c.answer(first, errInternal)
	c.alive("a RETURN answered INTERNAL")
	for _, after := range []string{"a RETURN answered INTERNAL", "a connection that ended before the answer to a RETURN"} {
		c = t.again(c)
		p := c.deliver()
		t.check(c, p.reqt == reqReturn && bytes.Equal(p.body.get("mid").bytes(), first.body.get("mid").bytes()) && bytes.Equal(p.body.get("ref").bytes(), ref),
			"the same RETURN after "+after, p.String())
		first = p
	}
	c.answer(first, errMalformed)
	c.alive("a RETURN answered MALFORMED")
	t.again(c).nothingBefore("no RETURN that was taken")
}

func checkNodeKey(t *T) {
	c := t.member()
	t.on("T-4.70")
	for _, body := range []fields{{"node", t.s.node}, {"node", t.s.node, "new", false}, {"node", t.s.node, "new", true}} {
		p := c.wantOK(c.exchange(reqGetNodeKey, body))
		t.check(c, bytes.Equal(p.body.get("key").bytes(), t.s.key.bytes), "the certificate of /api/public_key", fmt.Sprintf("%d other bytes", len(p.body.get("key").bytes())))
	}
}
