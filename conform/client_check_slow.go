package conform

import (
	"cmp"
	"fmt"
	"time"
)

func clientSlowScenarios() []clientScenario {
	return []clientScenario{
		{name: "client-pings", run: clientPings, clauses: []string{"T-1.25", "T-1.26"}, slow: true},
		{name: "client-user-key-changed", run: clientUserKeyChanged, clauses: []string{"T-8.8", "T-8.17"}, slow: true},
		{name: "client-notices-silence", run: clientNoticesSilence, clauses: []string{"T-7.3"}, slow: true},
	}
}

// slack is what a client may take longer than it should.
const slack = 10 * time.Second

// minutes is that many, as long as they are for this run.
func (st *stage) minutes(n float64) time.Duration {
	return time.Duration(n * float64(cmp.Or(st.run.minute, time.Minute)))
}

// pingsEvery is how long a client may be without a PING.
func (st *stage) pingsEvery() time.Duration { return st.minutes(5) }

// pinged waits for a PING, or for the GET_INFO in its place.
func (g *guest) pinged(d time.Duration) bool {
	return g.await(d, func() bool {
		for _, p := range g.arrived {
			if p.reqt == reqGetInfo {
				return true
			}
		}
		return g.pings > 0 || g.end != nil
	}) && g.open()
}

func clientPings(st *stage) {
	g := st.connected()
	st.on("T-1.25")
	pinged := g.pinged(st.pingsEvery() + slack)
	if pinged {
		g.goesOn("its PING")
	} else {
		st.wrong(g.conn, "a PING within five minutes", g.state())
	}
	if !g.isScript() {
		st.apart["T-1.26"] = scriptless
		return
	}
	st.on("T-1.26")
	if !pinged || !g.askedInfo() {
		st.wrong(g.conn, "a GET_INFO within five minutes of a client that sends an Origin", g.state())
	}
}

func clientNoticesSilence(st *stage) {
	g := st.connected()
	g.mu.Lock()
	g.mute = true
	g.mu.Unlock()
	_ = st.hold(func(p *packet, _ *letter) bool { return p.reqt == reqGetInfo }) // and never answers
	if !g.pinged(st.pingsEvery() + slack) {
		st.skip("the client sends no PING")
	}
	st.on("T-7.3")
	within := st.minutes(0.5)
	if !g.await(within+slack, func() bool { return g.end != nil }) {
		st.fatal(g.conn, fmt.Sprintf("an end of the connection within %v of a PING that has no answer", within), g.state())
	}
	st.behave(func(r *rules) { r.answer = nil })
	st.signedIn(st.again())
}

// clientUserKeyChanged has two users change their keys, the one as it should be, and waits until the client may
// ask for their certificates again.
func clientUserKeyChanged(st *stage) {
	quill, plume := st.befriend("quill@"+otherNode), st.befriend("plume@"+otherNode)
	e := st.exhibition()
	good, opened := e.shown("that is signed", quill, e.signed(quill))
	if !opened {
		st.skip(unopened)
	}
	bare, _ := e.shown("that is not signed", quill)
	if bare == good {
		st.skip(unmarked)
	}
	if others, _ := e.shown("that is signed by another user", plume, e.signed(plume)); others != good {
		st.skip(changeful)
	}
	st.pause(st.minutes(1) + time.Second/10)
	heir, thief := st.heir(plume), st.stranger(quill.address)
	st.note(func() { st.friends[plume.address], st.friends[quill.address] = heir, thief })
	for _, tt := range []struct {
		what      string
		by        *correspondent
		certified bool
	}{
		{"signed by a new certificate, which the one before has certified", heir, true},
		{"signed by another certificate than before", thief, false},
	} {
		st.mu.Lock()
		errs := st.program.errs.count()
		st.mu.Unlock()
		asked := len(st.asked(tt.by.address))
		shown, _ := e.shown(tt.what, tt.by, e.signed(tt.by))
		st.mu.Lock()
		warned := st.program.errs.count() > errs
		st.mu.Unlock()
		st.on("T-8.17")
		if len(st.asked(tt.by.address)) == asked {
			st.wrong(e.g.conn, "GET_USER_KEY, since the certificate that is kept lacks the key", "none")
			continue
		}
		st.on("T-8.8")
		if tt.certified {
			st.check(e.g.conn, shown == good && !warned, "a message "+tt.what+" shown as signed, without a warning", fmt.Sprintf("%q", shown))
		} else {
			// Beside the message, or by a mark of its own.
			st.check(e.g.conn, warned || shown != good && shown != bare, "a warning at a message "+tt.what, fmt.Sprintf("%q, and nothing else printed", shown))
		}
	}
}
