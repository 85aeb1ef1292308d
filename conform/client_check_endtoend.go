package conform

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Why clauses are not tested with some clients.
const (
	keyless   = "needs a client that asks for the recipient's certificate"
	unopened  = "needs a client that opens what is sealed to the key in TIPT_KEY, or to one that it has SET"
	unmarked  = "needs a client that prints a signed message otherwise than one that is not"
	changeful = "needs a client that prints two messages alike that differ in their text alone"
)

func clientEndToEndScenarios() []clientScenario {
	return []clientScenario{
		{name: "client-seals", run: clientSeals, clauses: []string{"T-5.72", "T-8.5"}},
		{name: "client-key-unsealed", run: clientKeyUnsealed, clauses: []string{"T-5.33", "T-5.72", "T-8.5"}},
		{name: "client-key-and-more", run: clientKeyAndMore, clauses: []string{"T-5.75", "T-8.5"}},
		{name: "client-key-not-opened", run: clientKeyNotOpened, clauses: []string{"T-5.72", "T-5.73", "T-5.75"}},
		{name: "client-signed", run: clientSigned, clauses: []string{"T-8.3", "T-8.7"}},
	}
}

// asked are the FORWARDs that asked for a user's certificate.
func (st *stage) asked(address string) (all []*letter) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, l := range st.letters {
		if l.user() == address {
			all = append(all, l)
		}
	}
	return all
}

// askedFor goes on under a clause if the client has asked for a user's certificate.
func (st *stage) askedFor(address, clause string) bool {
	if len(st.asked(address)) == 0 {
		st.apart[clause] = keyless
		return false
	}
	st.on(clause)
	return true
}

func clientSeals(st *stage) {
	friend := st.befriend(st.to + "@" + otherNode)
	st.connected()
	st.on("T-8.5")
	for _, text := range []string{"for one alone", "and again"} {
		st.line(text)
		l := st.letter(text)
		st.check(l.g.conn, l.ended != nil, "a SEALED, since the recipient has a certificate", "a TEXT")
	}
	st.askedFor(friend.address, "T-5.72") // what breaks it is found when a FORWARD comes
}

// A lie is an answer to GET_USER_KEY that a client is not to believe.
type lie struct {
	what   string
	lure   *correspondent // whose certificate it brings; nil for none
	answer func(l *letter) bin
}

// lies answers the first GET_USER_KEYs for the recipient with a lie each and all others well, while the client
// gets a line for each. No message may be sealed to what a lie brought, which is what the clause says, and
// none go unsealed.
func (st *stage) lies(clause string, lies ...lie) {
	friend := st.befriend(st.to + "@" + otherNode)
	told := 0                      // guarded by st.mu
	after := make(map[*letter]int) // how many lies had been told; guarded by st.mu
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			st.mu.Lock()
			n := told
			if l.isMessage() {
				after[l] = n
			}
			lying := l.user() == friend.address && l.wait && n < len(lies)
			if lying {
				told++
			}
			st.mu.Unlock()
			if lying {
				g.reply(p, fields{"resp", lies[n].answer(l)})
			}
			return lying
		}
	})
	st.connected()
	for i := range lies {
		st.line(fmt.Sprintf("after lie %d", i))
	}
	st.within(st.s.patience, func() bool { return told == len(lies) || len(after) > 0 || st.program.hasEnded() != "" })
	const last = "after the truth"
	st.line(last)
	came := st.letterWithin(last, st.s.patience) != nil
	heeded := st.askedFor(friend.address, clause)
	st.mu.Lock()
	letters := append([]*letter(nil), st.letters...)
	st.mu.Unlock()
	for _, l := range letters {
		if !l.isMessage() {
			continue
		}
		if l.ended == nil {
			st.on("T-8.5")
			got := "a TEXT"
			st.mu.Lock()
			if n := after[l]; n > 0 {
				got = "a TEXT after " + lies[n-1].what
			}
			st.mu.Unlock()
			st.wrong(l.g.conn, "a SEALED, since the recipient has a certificate", got)
			continue
		}
		for _, lie := range lies {
			if heeded && l.ended.to == lie.lure {
				st.on(clause)
				st.wrong(l.g.conn, "no message sealed to a certificate that came in "+lie.what, "one")
			}
		}
	}
	st.on("T-8.5")
	if !came {
		st.fatal(st.lastConn(), fmt.Sprintf("a FORWARD of a MESSAGE with the text %q, once there is a good answer to GET_USER_KEY", last), st.state())
	}
}

func clientKeyUnsealed(st *stage) {
	to := st.to + "@" + otherNode
	first, second, third := st.lure(to), st.lure(to), st.lure(to)
	unsealed := func(answer []byte) func(*letter) bin { return func(*letter) bin { return bin(answer) } }
	st.lies(
		"T-5.33",
		lie{"an unsealed answer", first, unsealed(keyAnswer(bin(first.certificate)))},
		lie{"an unsealed answer of 8,284 bytes", second, unsealed(padded(keyAnswer(bin(second.certificate)), 8284))},
		lie{"an answer sealed with another key than `seal`", third, func(*letter) bin {
			return bin(sealAnswer(randomBytes(32), keyAnswer(bin(third.certificate))))
		}},
		lie{"an unsealed answer that there is no certificate", nil, unsealed(keyAnswer(nil))},
		lie{"an unsealed NO_SUCH_USER", nil, unsealed(fields{"err", fields{"code", errNoSuchUser}}.pack())},
	)
	st.askedFor(to, "T-5.72")
}

// padded puts zeros behind b, up to n bytes.
func padded(b []byte, n int) []byte {
	return append(make([]byte, 0, n), append(b, make([]byte, n-len(b))...)...)
}

func clientKeyAndMore(st *stage) {
	to := st.to + "@" + otherNode
	first, second, third := st.lure(to), st.lure(to), st.lure(to)
	st.lies(
		"T-5.75",
		lie{"a sealed answer with a byte behind the map that is not zero", first, func(l *letter) bin {
			return l.sealed(append(keyAnswer(bin(first.certificate)), 0, 0, 1))
		}},
		lie{"a sealed answer of two maps", second, func(l *letter) bin {
			return l.sealed(append(keyAnswer(bin(second.certificate)), keyAnswer(nil)...))
		}},
		lie{"a sealed answer whose last byte is not zero", third, func(l *letter) bin {
			answer := padded(keyAnswer(bin(third.certificate)), 8256)
			answer[len(answer)-1] = 1
			return l.sealed(answer)
		}},
	)
}

func clientKeyNotOpened(st *stage) {
	friend := st.befriend(st.to + "@" + otherNode)
	var refused, fresh bool // guarded by st.mu
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			st.mu.Lock()
			fresh = fresh || p.reqt == reqGetNodeKey && p.body.get("new").is(true)
			refuse := l.user() == friend.address && l.wait && !refused
			refused = refused || refuse
			st.mu.Unlock()
			if refuse {
				g.reply(p, fields{"resp", cannotOpen()})
			}
			return refuse
		}
	})
	g := st.connected()
	const text = "asked twice"
	st.line(text)
	l := st.letterWithin(text, st.s.patience)
	if !st.askedFor(friend.address, "T-5.75") {
		st.skip(keyless)
	}
	asked := st.asked(friend.address)
	if len(asked) < 2 {
		st.fatal(g.conn, "GET_USER_KEY again after CANNOT_OPEN", st.state())
	}
	seal := func(l *letter) []byte { return l.inner.get("body").get("seal").bytes() }
	st.check(g.conn, !bytes.Equal(seal(asked[0]), seal(asked[1])), "another `seal` after CANNOT_OPEN", "the same")
	if l == nil {
		st.fatal(g.conn, "a FORWARD of a MESSAGE after CANNOT_OPEN and a good answer", st.state())
	}
	st.on("T-5.72")
	st.on("T-5.73")
	st.mu.Lock()
	anew := fresh
	st.mu.Unlock()
	st.check(g.conn, anew, "GET_NODE_KEY with `new` after CANNOT_OPEN", "none")
}

// An exhibition shows messages to a client and compares what it prints.
type exhibition struct {
	*stage
	g    *guest
	to   *openpgp.Entity // certificate of the client's user
	time uint64
}

// what may differ between messages: numbers and fingerprints.
var numbers = regexp.MustCompile(`[0-9A-Fa-f]{4,}|[0-9]+`)

// shown delivers a message sealed from end to end, and returns what the client prints of it but for its text,
// its sender and numbers.
func (e *exhibition) shown(what string, from *correspondent, signatures ...signature) (line string, opened bool) {
	n := e.s.names.Add(1)
	text, fence := fmt.Sprintf("words %s-%d.", e.s.run, n), fmt.Sprintf("fence %s-%d.", e.s.run, n)
	msg, err := sealedFor(e.to, text, signatures...)
	if err != nil {
		e.fatal(nil, "a message sealed to the client's certificate", err.Error())
	}
	e.mu.Lock()
	before := e.program.out.count()
	e.mu.Unlock()
	e.g.wantTaken(e.g.deliver(delivery(msg).with("from", from.address).with("time", e.time)), "a SEALED "+what)
	e.g.wantTaken(e.g.deliver(delivery(textMessage(fence))), "a DELIVER")
	if !e.printed(fence) {
		e.fatal(e.g.conn, "a message on a line of standard output", e.state())
	}
	e.mu.Lock()
	all := strings.Join(e.program.out.from(before), "\n")
	e.mu.Unlock()
	if at := strings.Index(all, fence); at >= 0 {
		all = all[:strings.LastIndex(all[:at], "\n")+1]
	}
	opened = strings.Contains(all, text)
	user, _, _ := strings.Cut(from.address, "@")
	all = strings.NewReplacer(text, "TEXT", from.address, "FROM", user, "FROM").Replace(all)
	return numbers.ReplaceAllString(all, "#"), opened
}

func clientSigned(st *stage) {
	me := st.endow()
	to := st.befriend(st.to + "@" + otherNode)
	quill, plume := st.befriend("quill@"+otherNode), st.befriend("plume@"+otherNode)
	g := st.connected()
	st.line("hello")
	st.letter("hello") // by now it has SET a key, if it does that
	certificate := st.certificate(me.address)
	own, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(certificate)))
	if err != nil {
		st.skip("the certificate that the client has SET cannot be read: " + err.Error())
	}
	e := &exhibition{st, g, own, stamp(time.Now())}
	signed := func(by *correspondent) signature { return signature{by: by, intended: own} }
	if _, opened := e.shown("that is signed", quill, signed(quill)); !opened {
		st.skip(unopened)
	}

	st.on("T-8.7")
	st.line("signed words")
	l := st.letter("signed words")
	if l.ended == nil {
		st.apart["T-8.7"] = "needs a client that seals"
	} else if err := l.ended.signedBy(own, time.Now()); err != nil {
		st.wrong(g.conn, fmt.Sprintf("a SEALED signed by the certificate of %s for that of %s", me.address, to.address), err.Error())
	}

	bare, _ := e.shown("that is not signed", quill)
	good, _ := e.shown("that is signed", quill, signed(quill))
	again, _ := e.shown("that is signed", quill, signed(quill))
	others, _ := e.shown("that is signed by another user", plume, signed(plume))
	switch {
	case good != again || good != others:
		st.apart["T-8.3"] = changeful
		return
	case good == bare:
		st.apart["T-8.3"] = unmarked
		return
	}
	st.on("T-8.3")
	unknown := st.stranger(quill.address)
	for _, tt := range []struct {
		what       string
		signatures []signature
	}{
		{"signed by a key that is not the one kept for `from`", []signature{signed(unknown)}},
		{"signed by the key kept for another user", []signature{signed(plume)}},
		{"whose intended recipient is somebody else", []signature{{by: quill, intended: plume.entity}}},
		{"without an intended recipient", []signature{{by: quill}}},
		{"whose intended recipient stands where the signature does not cover it", []signature{{by: quill, intended: own, outside: true}}},
		{"with a signature over other words", []signature{{by: quill, intended: own, over: textMessage("other words")}}},
		{"with two signatures, one by the right key and one for the right recipient", []signature{signed(unknown), {by: quill}}},
	} {
		shown, _ := e.shown(tt.what, quill, tt.signatures...)
		st.check(g.conn, shown != good, "a message "+tt.what+" not to be shown as signed", fmt.Sprintf("%q, as what is signed", shown))
	}
}
