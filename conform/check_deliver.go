package conform

import (
	"fmt"
	"time"
)

func deliverScenarios() []scenario {
	return []scenario{
		{name: "deliver-taken", clauses: []string{"T-4.76", "T-4.77"}, run: checkTaken},
		{name: "deliver-busy", clauses: []string{"T-4.78", "T-4.79"}, run: checkBusy},
		{name: "deliver-failed", clauses: []string{"T-4.80"}, run: checkFailed},
		{name: "deliver-interrupted", clauses: []string{"T-4.81", "T-4.86"}, run: checkInterrupted},
		{name: "deliver-window", clauses: []string{"T-4.83", "T-4.84"}, run: checkWindow},
		{name: "deliver-ids", clauses: []string{"T-3.13"}, run: checkDeliverIDs},
		{name: "times", clauses: []string{"T-2.100"}, run: checkTimes},
	}
}

// isTime reports whether a number is milliseconds of a year between 2001 and 2286, and neither seconds nor
// microseconds.
func isTime(ms int64) bool { return ms > 1e12 && ms < 1e13 }

// checkTimes looks at each time that a node tells.
func checkTimes(t *T) {
	c := t.member()
	t.on("T-2.100")
	want := func(what string, v *value) {
		t.check(c, isTime(v.num()), what+" in milliseconds since 1970", fmt.Sprint(v.num()))
	}
	want("GET_INFO's `time`", c.wantOK(c.exchange(reqGetInfo, nil)).body.get("time"))
	for _, device := range c.listed() {
		want("LIST_DEVICES's `seen`", device.get("seen"))
	}
	c.send(c.user, "at a time")
	want("DELIVER's `time`", c.deliverAnswered().body.get("time"))
	c.wantOK(c.exchange(reqForward, t.forward(false, []byte("nothing sealed"))))
	want("RETURN's `time`", c.deliverAnswered().body.get("time"))
}

func checkTaken(t *T) {
	c := t.member()
	u := c.user
	for i, code := range []int{ok, errRejected, errMalformed, errUnsupported} {
		t.clause = ""
		c.send(u, fmt.Sprint(i))
		t.on("T-4.77")
		if code == ok {
			t.on("T-4.76")
		}
		p := c.deliver()
		t.check(c, text(p) == fmt.Sprint(i), fmt.Sprintf("message %d", i), text(p))
		c.answer(p, code)
		c.alive("a DELIVER answered " + errorName(code))
		c = t.again(c)
		c.nothingBefore("no DELIVER that was answered " + errorName(code))
	}
}

func checkBusy(t *T) {
	for _, wait := range []int{400, 0} {
		t.clause = ""
		c := t.member()
		writer := t.member()
		for i := range 5 {
			writer.send(c.user, fmt.Sprint(i))
		}
		var got []*packet
		for range 5 {
			got = append(got, c.deliver())
		}
		t.on("T-4.79")
		start := time.Now()
		least := 900 * time.Millisecond // a clock may be a little off
		if wait > 0 {
			c.answer(got[1], errBusy, "wait", wait)
			least = time.Duration(wait) * time.Millisecond * 9 / 10
		} else {
			c.answer(got[1], errBusy)
		}
		c.answer(got[0], ok)
		c.answer(got[3], ok)
		c.quiet("nothing for now") // the node has read the answers
		writer.send(c.user, "5")
		t.on("T-4.78")
		p := c.deliver()
		t.check(c, text(p) == "1", "message 1, which was answered BUSY, before any other", "message "+text(p))
		if took := time.Since(start); took < least {
			t.wrong(c, fmt.Sprintf("a pause of %v", least), took.String())
		}
		c.answer(p, ok)
		t.on("T-4.79")
		p = c.deliver()
		t.check(c, text(p) == "5", "message 5, since 2 to 4 were sent before", "message "+text(p))
		c.answer(p, ok)
		c.answer(got[2], ok)
		c.answer(got[4], ok)
		c.nothingBefore("nothing sent twice")
		c = t.again(c)
		c.nothingBefore("nothing that was taken")
	}
}

func checkFailed(t *T) {
	for _, code := range []int{errInternal, 0x7f, errCredentials} {
		t.clause = ""
		c := t.member()
		for i := range 4 {
			c.send(c.user, fmt.Sprint(i))
		}
		var got []*packet
		for range 4 {
			got = append(got, c.deliver())
		}
		t.on("T-4.80")
		c.answer(got[0], ok)
		c.answer(got[1], code)
		c.answer(got[2], ok)
		c.alive("a DELIVER answered " + errorName(code))
		c = t.again(c)
		c.wantTexts("after 1 was answered "+errorName(code), "1", "2", "3")
		c.nothingBefore("nothing more")
	}
}

func checkInterrupted(t *T) {
	c := t.member()
	u := c.user
	for i := range 5 {
		c.send(u, fmt.Sprint(i))
	}
	var got []*packet
	for range 5 {
		got = append(got, c.deliver())
	}
	t.on("T-4.81")
	c.answer(got[0], ok)
	c.alive("a DELIVER that was taken")
	c = t.again(c)
	got = nil
	for i := 1; i < 5; i++ {
		p := c.deliver()
		if text(p) != fmt.Sprint(i) {
			t.fatal(c, fmt.Sprintf("message %d, since 0 alone was taken", i), "message "+text(p))
		}
		got = append(got, p)
	}
	t.on("T-4.86")
	c.answer(got[3], ok) // all but 1 and 2, the last first
	c.answer(got[2], ok)
	c.alive("DELIVERs answered in another order")
	c = t.again(c)
	c.wantTexts("after a connection on which 1 and 2 were not taken", "1", "2", "3", "4")
	t.on("T-4.81")
	c.nothingBefore("nothing more")
	c = t.again(c)
	c.nothingBefore("nothing that was taken")
}

func checkWindow(t *T) {
	const most, letters, count = 64, 60, 70 // the rest are RETURNs
	u := t.newUser()
	writer, sender := t.member(), t.signIn(u, "dev", "sender", "recv", false)
	for i := range letters {
		writer.send(u, fmt.Sprint(i))
	}
	refs := make(map[string]string)
	for i := letters; i < count; i++ {
		ref := randomBytes(16)
		refs[string(ref)] = fmt.Sprint(i)
		sender.wantOK(sender.exchange(reqForward, append(t.forward(false, []byte("nothing sealed")), "ref", ref)))
	}
	t.on("T-4.83")
	c := t.signIn(u)
	var got []*packet
	for range most {
		got = append(got, c.deliver())
	}
	for range 3 {
		c.quiet("no DELIVER beyond 64 unanswered")
	}
	c.answer(got[0], ok)
	got = append(got, c.deliver())
	c.quiet("one DELIVER for one answer")
	for _, p := range got[1:] {
		c.answer(p, ok)
	}
	for range count - len(got) {
		got = append(got, c.deliverAnswered())
	}
	c.mu.Lock()
	unanswered := c.most
	c.mu.Unlock()
	t.check(c, unanswered <= most, "at most 64 unanswered", fmt.Sprint(unanswered))
	t.on("T-4.84")
	for i, p := range got {
		number := text(p)
		if p.reqt == reqReturn {
			number = refs[string(p.body.get("ref").bytes())]
		}
		if number != fmt.Sprint(i) {
			t.fatal(c, fmt.Sprintf("message %d", i), "message "+number)
		}
	}
}

// checkDeliverIDs leaves one DELIVER unanswered while more come than there are ids.
func checkDeliverIDs(t *T) {
	c, writer := t.member(), t.member()
	writer.send(c.user, "held")
	held := c.deliver()
	const atATime = 60
	session := new(session)
	t.on("T-3.13")
	for range 300 / atATime {
		_, refusal := writer.fill(atATime, func(int) fields {
			return t.forward(true, t.seal(message(c.user.name, randomBytes(16), nil), recipe{aead: true, session: session}))
		})
		if refusal != ok {
			t.skip("the node takes no 300 messages of a user at once: " + errorName(refusal))
		}
		for range atATime {
			c.deliverAnswered() // which must not have the id of the one that is held
		}
	}
	c.answer(held, ok)
	c.alive("a DELIVER that was answered after 300 others")
}
