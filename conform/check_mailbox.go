package conform

import (
	"fmt"
	"slices"
)

func mailboxScenarios() []scenario {
	return []scenario{
		{name: "mailbox-devices", clauses: []string{"T-4.85", "T-4.87", "T-4.88"}, run: checkMailboxDevices},
		{name: "mailbox-gone", clauses: []string{"T-4.89", "T-4.90"}, run: checkMailboxGone},
		{name: "duplicates", clauses: []string{"T-5.25", "T-5.26"}, run: checkDuplicates},
	}
}

func checkMailboxDevices(t *T) {
	writer := t.member()
	u := t.newUser()
	writer.send(u, "1")
	writer.send(u, "2")
	t.on("T-4.87")
	sender := t.signIn(u, "dev", "sender", "recv", false) // a device without a place
	one := t.signIn(u, "dev", "one")
	one.wantTexts("that waited for the first device", "1", "2")
	t.on("T-4.88")
	writer.send(u, "3")
	two := t.signIn(u, "dev", "two")
	first := two.deliver() // where it starts is 3, or earlier as long as 1 and 2 are held
	for text(first) != "3" {
		two.answer(first, ok)
		first = two.deliver()
	}
	two.answer(first, ok)
	t.on("T-4.85")
	one.wantTexts("on each device", "3")
	three := t.signIn(u, "dev", "three")
	writer.send(u, "4")
	for _, c := range []*conn{one, two} {
		c.wantTexts("on each device", "4")
	}
	for p := three.deliverAnswered(); text(p) != "4"; {
		p = three.deliverAnswered()
	}
	sender.quiet("nothing without a place")
}

func checkMailboxGone(t *T) {
	writer := t.member()
	u := t.newUser()
	sender := t.signIn(u, "dev", "sender", "recv", false)
	one, two := t.signIn(u, "dev", "one"), t.signIn(u, "dev", "two")
	writer.send(u, "held")
	one.wantTexts("on each device", "held")
	one.hang()
	t.on("T-4.89")
	late := t.signIn(u, "dev", "late")
	late.wantTexts("that another device has not taken", "held")
	two.wantTexts("that other devices have taken", "held")
	// The writing down of places may take a moment; then nobody holds the message any longer, the
	// sending device without a place neither.
	for _, c := range []*conn{late, two} {
		c.hang()
	}
	t.on("T-4.90")
	n := 0
	sender.eventually("a message that all devices with a place have taken to be gone", func() bool {
		n++
		c := t.signIn(u, "dev", fmt.Sprintf("new-%d", n))
		defer c.hang()
		return !slices.Contains(c.takeUntil(writer, fmt.Sprintf("fence-%d", n)), "held")
	})
	byNow := t.signIn(u, "dev", "sender")
	if got := byNow.takeUntil(writer, "new"); slices.Contains(got, "held") {
		t.wrong(byNow, "nothing that was gone for a device that gets its place only now", fmt.Sprintf("%q", got))
	}
}

// takeUntil has somebody send a message and takes all up to it, and returns what came before.
func (c *conn) takeUntil(writer *conn, last string) []string {
	writer.send(c.user, last)
	var before []string
	for {
		got := text(c.deliverAnswered())
		if got == last {
			return before
		}
		before = append(before, got)
	}
}

func checkDuplicates(t *T) {
	a, b, c := t.member(), t.member(), t.member()
	mid := randomBytes(16)
	t.on("T-5.25")
	for i := range 3 {
		a.wantAnswer("MESSAGE, again", t.seal(message(c.user.name, mid, fmt.Append(nil, "a", i)), recipe{aead: i == 1}), ok)
	}
	a.wantOK(a.exchange(reqForward, t.forward(false, t.seal(message(c.user.name, mid, []byte("a3")), recipe{}))))
	c.wantTexts("stored once", "a0")
	c.nothingBefore("nothing stored twice")
	t.on("T-5.26")
	b.sendAs(c.user, mid, "b")
	a.sendAs(b.user, mid, "to another")
	c.wantTexts("with a mid that another sender had", "b")
	b.wantTexts("with a mid that another recipient had", "to another")
	t.on("T-5.25")
	c = t.again(c)
	a.wantAnswer("MESSAGE, again after it was taken", t.seal(message(c.user.name, mid, []byte("a4")), recipe{}), ok)
	a.sendAs(c.user, randomBytes(16), "last")
	c.wantTexts("stored once, also after it was taken", "last")
}
