package conform

import (
	"fmt"
	"slices"
	"time"
)

// asksOnce is why nothing is known of a client that goes by GET_USER_KEY's answer for as long as it may.
const asksOnce = "needs a client that asks for the recipient's certificate again within the hour, or for the one by which a message is signed"

// sentOrNot gives the client a line and waits for its FORWARD, or for any word, which may say that it is not sent.
func (st *stage) sentOrNot(text string) *letter {
	st.mu.Lock()
	errs := st.program.errs.count()
	st.mu.Unlock()
	st.line(text)
	st.within(st.s.patience, func() bool {
		return st.program.errs.count() > errs || st.program.hasEnded() != "" ||
			slices.ContainsFunc(st.letters, func(l *letter) bool { return l.text == text })
	})
	return st.letterWithin(text, time.Second)
}

// clientKeySeen has the client find out by a signature that the recipient of its lines has another key now, and
// then takes that back.
func clientKeySeen(st *stage) {
	e := st.exhibition()
	to := st.to + "@" + otherNode
	var before *correspondent
	st.note(func() {
		before = st.friends[to]
		st.lures = append(st.lures, before) // so that what is sealed to it is read
	})
	after := st.befriend(to)
	asked := len(st.asked(to))
	if asked == 0 {
		st.skip(keyless)
	}
	if _, opened := e.shown("signed by the sender's new key", after, e.signed(after)); !opened {
		st.skip(unopened)
	}
	if len(st.asked(to)) == asked {
		st.skip("needs a client that asks for the certificate by which a message is signed")
	}
	st.on("T-8.20")
	if l := st.sentOrNot("after the change"); l != nil {
		st.check(l.g.conn, l.ended == nil || l.ended.to != before, "nothing sealed to the certificate of before, once another was seen", "a SEALED")
		st.apart["T-8.126"] = "needs a client that sends nothing where it has seen another certificate"
		return
	}
	st.note(func() { st.friends[to] = before })
	asked = len(st.asked(to))
	l := st.sentOrNot("given again")
	if len(st.asked(to)) == asked {
		st.apart["T-8.126"] = asksOnce
		return
	}
	st.on("T-8.126")
	if l == nil {
		st.fatal(e.g.conn, "a SEALED to the certificate of before, which has been given again", st.state())
	}
	st.check(l.g.conn, l.ended != nil && l.ended.to == before, "a SEALED to the certificate of before, which has been given again", "another")
}

// clientUserKeyWithdrawn has the recipient of the client's lines have no certificate any longer. What leads a client
// to ask for it is a signature, or that it asks each time.
func clientUserKeyWithdrawn(st *stage) {
	e := st.exhibition()
	to := st.to + "@" + otherNode
	var friend *correspondent
	count := func() (out, errs int) {
		st.mu.Lock()
		defer st.mu.Unlock()
		return st.program.out.count(), st.program.errs.count()
	}
	st.mu.Lock()
	friend = st.friends[to]
	st.mu.Unlock()
	asked := len(st.asked(to))
	if asked == 0 {
		st.skip(keyless)
	}
	first, _ := count()
	e.shown("that is not signed", friend)
	usual, errs := count()
	st.note(func() {
		delete(st.friends, to)
		st.lures = append(st.lures, friend) // so that what is sealed to it is read
	})
	e.shown("signed by a key that is not known", friend, e.signed(st.stranger(to)))
	const text = "after the withdrawal"
	l := st.sentOrNot(text)
	if len(st.asked(to)) == asked {
		st.skip(asksOnce)
	}
	st.on("T-8.125")
	warned := func() bool { return st.program.errs.count() > errs || st.program.out.count() > 2*usual-first }
	if l != nil {
		st.check(l.g.conn, l.ended == nil, "no SEALED to a certificate that has been withdrawn", "one")
		st.check(l.g.conn, st.within(time.Second, warned), "a warning that the recipient has no certificate any longer, before a TEXT is sent", "nothing printed")
		return
	}
	_ = st.program.stdin.Close() // it may have ended
	st.program.ended(grace)
	st.mu.Lock()
	said := warned()
	st.mu.Unlock()
	st.check(e.g.conn, said, "a warning that the recipient has no certificate any longer", fmt.Sprintf("nothing printed, and %q is not sent", text))
}
