package conform

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
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
		{name: "client-sender-silent", run: clientSenderSilent, clauses: []string{"T-8.17"}},
		{name: "client-unsealable", run: clientUnsealable, clauses: []string{"T-8.18"}},
		{name: "client-seals", run: clientSeals, clauses: []string{"T-5.72", "T-8.2", "T-8.5", "T-8.9"}},
		{name: "client-key-unsealed", run: clientKeyUnsealed, clauses: []string{"T-5.33", "T-5.72", "T-8.5", "T-8.19"}},
		{name: "client-key-and-more", run: clientKeyAndMore, clauses: []string{"T-5.75", "T-8.5", "T-8.19", "T-8.172"}},
		{name: "client-key-not-opened", run: clientKeyNotOpened, clauses: []string{"T-5.72", "T-5.73", "T-5.75"}},
		{name: "client-key-seen", run: clientKeySeen, clauses: []string{"T-8.20", "T-8.126"}},
		{name: "client-user-key-withdrawn", run: clientUserKeyWithdrawn, clauses: []string{"T-8.125"}},
		{name: "client-signed", run: clientSigned, clauses: []string{"T-8.3", "T-8.7", "T-8.10", "T-8.14", "T-8.15", "T-8.16", "T-8.17"}},
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
	var first []byte
	for _, text := range []string{"for one alone", "and again"} {
		st.on("T-8.5")
		st.line(text)
		l := st.letter(text)
		st.check(l.g.conn, l.ended != nil, "a SEALED, since the recipient has a certificate", "a TEXT")
		if l.ended != nil {
			st.on("T-8.2") // what breaks it is found when a FORWARD comes
			st.on("T-8.9") // what else breaks it, too
			st.check(l.g.conn, !bytes.Equal(l.ended.how.first, first), "a SEALED with a session key of its own", "the same one again")
			first = l.ended.how.first
		}
	}
	st.askedFor(friend.address, "T-5.72") // what breaks it is found when a FORWARD comes
}

// A lie is an answer to GET_USER_KEY that a client is not to believe.
type lie struct {
	what   string
	lure   *correspondent // whose certificate it brings; nil for none
	answer func(l *letter) bin
	breaks string // the clause that is broken by what is sent unsealed after it; "" for T-8.19
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
	heeded := st.askedFor(friend.address, "T-8.19") && st.askedFor(friend.address, clause)
	st.mu.Lock()
	letters := append([]*letter(nil), st.letters...)
	st.mu.Unlock()
	for _, l := range letters {
		if !l.isMessage() {
			continue
		}
		if l.ended == nil {
			st.mu.Lock()
			n := after[l]
			st.mu.Unlock()
			if n == 0 {
				st.on("T-8.5")
				st.wrong(l.g.conn, "a SEALED, since the recipient has a certificate", "a TEXT")
			} else {
				st.on(cmp.Or(lies[n-1].breaks, "T-8.19"))
				st.wrong(l.g.conn, "nothing sent after "+lies[n-1].what, "a TEXT")
			}
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
		lie{"an unsealed answer", first, unsealed(keyAnswer(bin(first.certificate))), ""},
		lie{"an unsealed answer of 8,284 bytes", second, unsealed(padded(keyAnswer(bin(second.certificate)), 8284)), ""},
		lie{"an answer sealed with another key than `seal`", third, func(*letter) bin {
			return bin(sealAnswer(randomBytes(32), keyAnswer(bin(third.certificate))))
		}, ""},
		lie{"an unsealed answer that there is no certificate", nil, unsealed(keyAnswer(nil)), ""},
		lie{"an unsealed NO_SUCH_USER", nil, unsealed(fields{"err", fields{"code", errNoSuchUser}}.pack()), "T-5.33"},
		lie{"an unsealed UNSUPPORTED", nil, unsealed(fields{"err", fields{"code", errUnsupported}}.pack()), "T-5.33"},
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
		}, ""},
		lie{"a sealed answer of two maps", second, func(l *letter) bin {
			return l.sealed(append(keyAnswer(bin(second.certificate)), keyAnswer(nil)...))
		}, ""},
		lie{"a sealed answer whose last byte is not zero", third, func(l *letter) bin {
			answer := padded(keyAnswer(bin(third.certificate)), 8256)
			answer[len(answer)-1] = 1
			return l.sealed(answer)
		}, ""},
		lie{"a sealed NO_SUCH_USER", nil, func(l *letter) bin { return l.sealed(fields{"err", fields{"code", errNoSuchUser}}.pack()) }, "T-8.172"},
	)
	st.askedFor(to, "T-8.172")
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

func clientUnsealable(st *stage) {
	friend := st.befriend(st.to + "@" + otherNode)
	st.unsealable(friend)
	g := st.connected()
	before := st.mark()
	st.line("to no subkey")
	if !st.within(st.s.patience, func() bool {
		return slices.ContainsFunc(st.letters, func(l *letter) bool { return l.isMessage() || l.user() == friend.address })
	}) || !st.askedFor(friend.address, "T-8.18") {
		st.skip(keyless)
	}
	st.pause(time.Second)
	_ = st.program.stdin.Close() // it may have ended
	st.program.ended(grace)
	st.mu.Lock()
	sent := slices.ContainsFunc(st.letters, (*letter).isMessage)
	st.mu.Unlock()
	st.check(g.conn, !sent, "nothing sent to a user whose certificate has nothing that is valid to encrypt to", "a FORWARD of a MESSAGE")
	if st.program.hasEnded() != "" {
		st.check(nil, st.program.err != nil || len(st.since(before)) > 0, "a report of the failure: printed, or by the exit status", "none")
	}
}

// An exhibition shows messages to a client and compares what it prints.
type exhibition struct {
	*stage
	g    *guest
	to   *openpgp.Entity // certificate of the client's user
	time time.Time       // of the DELIVERs
}

// exhibition starts the client, whose user has a key.
func (st *stage) exhibition() *exhibition { return st.exhibitionFor(st.endow()) }

// exhibitionFor is exhibition with a key that the user was given.
func (st *stage) exhibitionFor(me *correspondent) *exhibition {
	st.befriend(st.to + "@" + otherNode)
	g := st.connected()
	st.line("hello")
	st.letter("hello") // by now it has SET a key, if it does that
	own, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(st.certificate(me.address))))
	if err != nil {
		st.skip("the certificate that the client has SET cannot be read: " + err.Error())
	}
	return &exhibition{st, g, own, time.Now()}
}

// signed is a signature as it should be.
func (e *exhibition) signed(by *correspondent) signature { return signature{by: by, intended: e.to} }

// what may differ between messages: numbers and fingerprints.
var numbers = regexp.MustCompile(`[0-9A-Fa-f]{4,}|[0-9]+`)

// shown delivers a message sealed from end to end, and returns what the client prints of it but for its text,
// its sender, nil for none, and numbers.
func (e *exhibition) shown(what string, from *correspondent, signatures ...signature) (lines string, opened bool) {
	text := fmt.Sprintf("words %s-%d.", e.s.run, e.s.names.Add(1))
	return e.shownSealed(what, from, text, textMessage(text), signatures...)
}

func (e *exhibition) shownSealed(what string, from *correspondent, text string, plain []byte, signatures ...signature) (lines string, opened bool) {
	msg, err := sealedFor(e.to, plain, signatures...)
	if err != nil {
		e.fatal(nil, "a message sealed to the client's certificate", err.Error())
	}
	return e.shownAs(what, from, text, msg)
}

// shownAs is shown with a `msg` that was made.
func (e *exhibition) shownAs(what string, from *correspondent, text string, msg bin) (lines string, opened bool) {
	fence := fmt.Sprintf("fence %s-%d.", e.s.run, e.s.names.Add(1))
	e.mu.Lock()
	before := e.program.out.count()
	e.mu.Unlock()
	body := delivery(msg).without("from").with("time", stamp(e.time))
	if from != nil {
		body = append(body, "from", from.address)
	}
	e.g.wantTaken(e.g.deliver(body), "a SEALED "+what)
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
	names := []string{text, "TEXT"}
	if from != nil {
		user, _, _ := strings.Cut(from.address, "@")
		names = append(names, from.address, "FROM", user, "FROM")
	}
	all = strings.NewReplacer(names...).Replace(all)
	return numbers.ReplaceAllString(all, "#"), opened
}

func clientSigned(st *stage) {
	quill, plume := st.befriend("quill@"+otherNode), st.befriend("plume@"+otherNode)
	shaky, unknown := st.shaky(quill), st.stranger(quill.address)
	magpie := st.alias("magpie@"+otherNode, plume)
	e := st.exhibition()
	if _, opened := e.shown("that is signed", quill, e.signed(quill)); !opened {
		st.skip(unopened)
	}

	st.line("signed words")
	if l := st.letter("signed words"); l.ended == nil {
		st.apart["T-8.7"] = "needs a client that seals"
	} else {
		st.on("T-8.7")
		if err := l.ended.signedBy(e.to, time.Now()); err != nil {
			st.wrong(e.g.conn, "a SEALED signed by the client's certificate for the recipient's", err.Error())
		}
	}
	st.on("T-8.10")
	inner := fmt.Sprintf("within %s-%d.", st.s.run, st.s.names.Add(1))
	twice, err := sealedFor(e.to, textMessage(inner))
	if err != nil {
		st.fatal(nil, "a message sealed to the client's certificate", err.Error())
	}
	_, opened := e.shownSealed("in a SEALED", quill, inner, twice)
	st.check(e.g.conn, !opened, "a SEALED in a SEALED not to be opened", "its text")

	bare, _ := e.shown("that is not signed", quill)
	good, _ := e.shown("that is signed", quill, e.signed(quill))
	again, _ := e.shown("that is signed", quill, e.signed(quill))
	others, _ := e.shown("that is signed by another user", plume, e.signed(plume))
	why := ""
	switch {
	case good != again || good != others:
		why = changeful
	case good == bare:
		why = unmarked
	}
	if why != "" {
		for _, id := range []string{"T-8.3", "T-8.14", "T-8.15", "T-8.16"} {
			st.apart[id] = why
		}
		return
	}
	type forgery struct {
		clause, what string
		from         *correspondent
		signatures   []signature
	}
	all := []forgery{
		{"T-8.3", "signed by a key that is not the one kept for `from`", quill, []signature{e.signed(unknown)}},
		{"T-8.3", "signed by the key kept for another user", quill, []signature{e.signed(plume)}},
		{"T-8.3", "whose intended recipient is somebody else", quill, []signature{{by: quill, intended: plume.entity}}},
		{"T-8.3", "without an intended recipient", quill, []signature{{by: quill}}},
		{"T-8.3", "whose intended recipient stands where the signature does not cover it", quill, []signature{{by: quill, intended: e.to, outside: true}}},
		{"T-8.3", "with a signature over other words", quill, []signature{{by: quill, intended: e.to, over: textMessage("other words")}}},
		{"T-8.3", "with two signatures, one by the right key and one for the right recipient", quill, []signature{e.signed(unknown), {by: quill}}},
		{"T-8.15", "signed two hours from now", quill, []signature{{by: quill, intended: e.to, at: time.Now().Add(2 * time.Hour)}}},
		{"T-8.15", "signed 11 days before its `time`", quill, []signature{{by: quill, intended: e.to, at: e.time.Add(-11 * 24 * time.Hour)}}},
		{"T-8.16", "signed by a certificate whose user id is another user's address", magpie, []signature{e.signed(magpie)}},
	}
	for what, by := range shaky {
		all = append(all, forgery{"T-8.14", "signed by " + what, quill, []signature{e.signed(by)}})
	}
	for _, f := range all {
		st.on(f.clause)
		shown, _ := e.shown(f.what, f.from, f.signatures...)
		st.check(e.g.conn, shown != good, "a message "+f.what+" not to be shown as signed", fmt.Sprintf("%q, as what is signed", shown))
	}
	st.on("T-8.3")
	shown, _ := e.shown("that is signed, without `from`", nil, e.signed(quill))
	st.check(e.g.conn, !marked(shown, good, bare), "a message without `from` not to be shown as signed", fmt.Sprintf("%q, where what is signed is %q", shown, good))
	st.on("T-8.17")
	asked := st.asked(quill.address)
	for i, l := range asked {
		if i > 0 && l.at.Sub(asked[i-1].at) < time.Minute-slack {
			st.wrong(e.g.conn, "a sender's certificate asked for once a minute at most", fmt.Sprintf("again after %v", l.at.Sub(asked[i-1].at).Round(time.Millisecond)))
			break
		}
	}
}

// marked reports whether what is printed has all words that tell what is signed from what is not, and none of those
// that tell the other.
func marked(shown, signed, bare string) bool {
	all, with, without := strings.Fields(shown), strings.Fields(signed), strings.Fields(bare)
	for _, word := range with {
		if !slices.Contains(without, word) && !slices.Contains(all, word) {
			return false
		}
	}
	return !slices.ContainsFunc(all, func(word string) bool { return slices.Contains(without, word) && !slices.Contains(with, word) })
}

// showing is how long a client may wait for a sender's certificate, "some seconds".
const showing = 20 * time.Second

func clientSenderSilent(st *stage) {
	silent := st.stranger("silent@" + otherNode)
	st.behave(func(r *rules) { // it never answers
		r.answer = func(_ *guest, _ *packet, l *letter) bool { return l.user() == silent.address }
	})
	e := st.exhibition()
	if _, opened := e.shown("that is not signed", silent); !opened {
		st.skip(unopened)
	}
	text := "words of the silent " + st.s.run
	msg, err := sealedFor(e.to, textMessage(text), e.signed(silent))
	if err != nil {
		st.fatal(nil, "a message sealed to the client's certificate", err.Error())
	}
	st.on("T-8.17")
	e.g.deliver(delivery(msg).with("from", silent.address))
	if !st.within(showing, func() bool { return st.countPrinted(text) > 0 || st.program.hasEnded() != "" }) {
		st.wrong(e.g.conn, fmt.Sprintf("a message shown within %v although its sender's certificate does not come", showing), st.state())
	}
}
