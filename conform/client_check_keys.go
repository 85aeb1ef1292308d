package conform

import (
	"fmt"
	"strings"
	"time"
)

func clientKeyScenarios() []clientScenario {
	return []clientScenario{
		{name: "client-expired-subkey", run: clientExpiredSubkey, clauses: []string{"T-5.76"}},
		{name: "client-revoked-subkey", run: clientRevokedSubkey, clauses: []string{"T-5.76"}},
		{name: "client-mlkem", run: clientMLKEM, clauses: []string{"T-5.104"}},
		{name: "client-key-rotated", run: clientKeyRotated, clauses: []string{"T-5.73", "T-7.9"}},
		{name: "client-key-changed", run: func(st *stage) { clientKeyChanged(st, newOpeningKey) }, clauses: []string{"T-7.8"}},
		{name: "client-key-inherited", run: clientKeyInherited, clauses: []string{"T-7.8"}},
		{name: "client-key-usurped", run: clientKeyUsurped, clauses: []string{"T-7.8"}},
	}
}

// changeKey gives the destination another key, has it answer CANNOT_OPEN once, and sees the client seal to
// the new one. It returns what the client had printed just before it fetched that.
func (st *stage) changeKey(g *guest, clause string, next *openingKey) (before mark) {
	var once, fresh bool // guarded by st.mu
	st.line("under the first key")
	st.letter("under the first key")
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			st.mu.Lock()
			if p.reqt == reqGetNodeKey && p.body.get("new").is(true) {
				fresh = true
			}
			refuse := l.isMessage() && !once
			if refuse {
				once, before = true, st.marked()
			}
			st.mu.Unlock()
			switch {
			case refuse && l.wait:
				g.reply(p, fields{"resp", cannotOpen()})
			case refuse:
				g.reply(p, nil)
			}
			return refuse
		}
		st.keys = append(st.keys, next)
	})
	st.line("that nobody opens")
	l := st.letter("that nobody opens")
	if l.wait {
		st.letterWithin("that nobody opens", resealing) // under the new key, if it is sent again
	} else {
		g.wantTaken(g.ask(reqReturn, returned(l.ref, "resp", cannotOpen())), "a RETURN with CANNOT_OPEN")
		st.pause(200 * time.Millisecond) // for what it says about the RETURN
		before = st.mark()
	}
	st.on(clause)
	st.line("under the second key")
	second := st.letter("under the second key")
	st.mu.Lock()
	asked := fresh
	st.mu.Unlock()
	st.check(g.conn, asked, "GET_NODE_KEY with `new` after CANNOT_OPEN", "none")
	want := next.entity.Subkeys[0].PublicKey.KeyId
	st.check(g.conn, second.how != nil && second.how.subkey == want, fmt.Sprintf("a message sealed to the subkey %x", want), "another one")
	return before
}

func clientExpiredSubkey(st *stage) {
	key, err := st.run.key.withExpired()
	clientUnusableSubkey(st, key, err, "the other has expired")
}

func clientRevokedSubkey(st *stage) {
	key, err := st.run.key.withRevoked()
	clientUnusableSubkey(st, key, err, "the other is revoked")
}

// clientUnusableSubkey gives out a key whose first subkey is the one to seal to.
func clientUnusableSubkey(st *stage, key *openingKey, err error, since string) {
	if err != nil {
		st.fatal(nil, "an OpenPGP key", err.Error())
	}
	st.note(func() { st.keys = []*openingKey{key} })
	g := st.connected()
	st.line("to which subkey")
	l := st.letter("to which subkey")
	want := key.entity.Subkeys[0].PublicKey.KeyId
	st.on("T-5.76")
	st.check(g.conn, l.how != nil && l.how.subkey == want, fmt.Sprintf("a message sealed to the subkey %x, since %s", want, since), "another one")
}

// clientMLKEM sees whether a client that knows ML-KEM prefers it.
func clientMLKEM(st *stage) {
	besides, alone, err := st.run.key.withMLKEM()
	if err != nil {
		st.fatal(nil, "an ML-KEM subkey", err.Error())
	}
	st.note(func() { st.keys = []*openingKey{alone} })
	g := st.connected()
	st.line("to ML-KEM alone")
	if st.letterWithin("to ML-KEM alone", st.s.patience) == nil {
		st.skip("needs a client that knows ML-KEM-768+X25519")
	}
	st.changeKey(g, "T-5.104", besides)
}

// resealing is how long a client may take to seal a message anew that nobody could open.
const resealing = 5 * time.Second

func cannotOpen() bin { return bin(fields{"err", fields{"code", errCannotOpen}}.pack()) }

func clientKeyRotated(st *stage) {
	g := st.connected()
	next, err := st.run.key.rotated()
	if err != nil {
		st.fatal(nil, "an OpenPGP key", err.Error())
	}
	before := st.changeKey(g, "T-5.73", next)
	st.on("T-7.9")
	st.noWarning(g, next, before, "the primary key is the same")
}

// noWarning wants nothing said of a key since the client had printed that.
func (st *stage) noWarning(g *guest, next *openingKey, before mark, since string) {
	st.pause(settling)
	said := strings.ToLower(strings.Join(st.since(before), " "))
	id := next.fingerprint()
	warned := strings.Contains(strings.ReplaceAll(said, " ", ""), id[len(id)-8:]) || strings.Contains(said, "changed")
	st.check(g.conn, !warned, "no word of a change: "+since, fmt.Sprintf("%q", said))
}

// clientKeyInherited gives out another key that the old one has certified.
func clientKeyInherited(st *stage) {
	g := st.connected()
	next, err := st.run.key.heir(otherNode, false)
	if err != nil {
		st.fatal(nil, "an OpenPGP key", err.Error())
	}
	before := st.changeKey(g, "T-7.8", next)
	st.noWarning(g, next, before, "the old primary key has certified the new one")
}

// clientKeyUsurped gives out another key that the old one has only seemingly certified.
func clientKeyUsurped(st *stage) {
	clientKeyChanged(st, func(name string) (*openingKey, error) { return st.run.key.heir(name, true) })
}

func clientKeyChanged(st *stage, another func(name string) (*openingKey, error)) {
	g := st.connected()
	rotated, err := st.run.key.rotated()
	if err != nil {
		st.fatal(nil, "an OpenPGP key", err.Error())
	}
	next, err := another(otherNode)
	if err != nil {
		st.fatal(nil, "an OpenPGP key", err.Error())
	}
	before := st.changeKey(g, "T-7.8", rotated)
	st.pause(settling)
	usual := st.since(before) // at a change that is none
	before = st.changeKey(g, "T-7.8", next)
	st.pause(settling)
	said := st.since(before)
	st.check(g.conn, news(said, usual), "a warning, since another primary key has taken the place of the first",
		fmt.Sprintf("%q, after %q when only the subkey was another", said, usual))
}

// settling is for what a client prints about what it has just done.
const settling = 500 * time.Millisecond
