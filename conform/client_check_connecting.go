package conform

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

func clientConnectingScenarios() []clientScenario {
	return []clientScenario{
		{name: "client-lost", run: clientLost, clauses: []string{"T-1.38", "T-5.170", "T-7.5", "T-7.6"}},
		{name: "client-backs-off", run: clientBacksOff, clauses: []string{"T-7.1"}},
		stayAway("client-replaced", 4001),
		stayAway("client-signed-out", 4002),
		{name: "client-retry-after", run: clientRetryAfter, clauses: []string{"T-7.4"}},
		{name: "client-going-away", run: clientGoingAway, clauses: []string{"T-4.99", "T-7.4"}},
		givenUp("client-given-up-1009", 1009),
		givenUp("client-given-up-1002", 1002),
	}
}

func clientLost(st *stage) {
	g := st.connected()
	_ = st.hold(aMessage) // and never answers
	st.line("unanswered")
	l := st.letter("unanswered")
	st.behave(func(r *rules) { r.answer = nil })
	g.hang()
	g = st.again()
	st.on("T-7.5")
	if !g.await(st.s.patience, func() bool { return g.in || g.end != nil }) || !g.isIn() {
		st.fatal(g.conn, "the client to sign in by token", g.state())
	}
	st.check(g.conn, g.signIn.get("tok") != nil, "SIGN_IN with `tok`", "SIGN_IN with `pass`")
	st.on("T-7.6")
	again := st.letterWithin("unanswered", st.s.patience)
	if again == nil {
		st.on("T-1.38")
		st.wrong(g.conn, "what had no answer taken as of unknown outcome", "it is not sent again")
		st.on("T-7.6")
		st.fatal(g.conn, "the message again on the next connection", st.state())
	}
	st.check(g.conn, bytes.Equal(again.mid, l.mid), fmt.Sprintf("mid % x again", l.mid), fmt.Sprintf("% x", again.mid))
	st.check(g.conn, bytes.Equal(again.ref, l.ref), fmt.Sprintf("ref % x again", l.ref), fmt.Sprintf("% x", again.ref))
	st.on("T-5.170")
	st.check(g.conn, again.how != nil && l.how != nil && !bytes.Equal(again.how.first, l.how.first),
		"another session key on another connection", "the same one")
	st.on("T-1.38")
	g.goesOn("a loss")
}

const (
	unreached = 16 * time.Second // how long the node cannot be reached
	// A client with windows of 1 s, 2 s, 4 s and so on makes more attempts than these in that time
	// once in a hundred million times.
	fewAttempts = 9
	alike       = 0.06 // by how much two pauses may differ that are meant to be the same
)

func clientBacksOff(st *stage) {
	g := st.connected()
	st.behave(func(r *rules) { r.refuse = true })
	first := st.called()
	lost := time.Now()
	g.hang()
	st.pause(unreached)
	st.mu.Lock()
	at := []time.Time{lost}
	for _, c := range st.callers[first:] {
		at = append(at, c.at)
	}
	st.mu.Unlock()
	st.on("T-7.1")
	attempts := len(at) - 1
	st.check(nil, attempts > 0, fmt.Sprintf("an attempt to connect again within %v", unreached), st.state())
	st.check(nil, attempts <= fewAttempts, fmt.Sprintf("at most %d attempts within %v, as exponential back-off makes", fewAttempts, unreached), fmt.Sprint(attempts))
	var pauses []float64
	for i := range attempts {
		pauses = append(pauses, at[i+1].Sub(at[i]).Seconds())
	}
	doubling := attempts >= 3
	for i := 1; i < min(attempts, 4); i++ {
		doubling = doubling && math.Abs(pauses[i]/pauses[i-1]-2) < alike
	}
	st.check(nil, !doubling, "pauses with full jitter", "pauses that double exactly")
	st.check(nil, !even(pauses), "pauses that grow, with full jitter", fmt.Sprintf("the same one again and again, of about %.1f s", slices.Max(append(pauses, 0))))
}

// even reports whether pauses are all the same, but for the first, which may be none. Random ones of windows
// that double are once in some hundred thousand times.
func even(pauses []float64) bool {
	for apart := range 2 {
		if len(pauses) < 3+2*apart {
			continue
		}
		if rest := pauses[apart:]; slices.Max(rest)-slices.Min(rest) < alike*slices.Max(rest) {
			return true
		}
	}
	return false
}

// stayAway closes with a code after which a client does not come again by itself.
func stayAway(name string, code int) clientScenario {
	return clientScenario{name: name, clauses: []string{"T-7.2"}, run: func(st *stage) {
		g := st.connected()
		before := st.called()
		g.close(code)
		st.on("T-7.2")
		st.within(4*time.Second, func() bool { return len(st.callers) > before })
		after := st.called()
		st.check(g.conn, after == before, fmt.Sprintf("no further connection after %d", code), fmt.Sprintf("%d", after-before))
	}}
}

func clientRetryAfter(st *stage) {
	const wait = 3
	g := st.connected()
	st.behave(func(r *rules) {
		r.status, r.header = http.StatusServiceUnavailable, http.Header{"Retry-After": {fmt.Sprint(wait)}}
	})
	n := st.called()
	g.close(1012)
	refused := st.caller(n, st.s.patience+backOff)
	if refused == nil || !refused.asked {
		st.fatal(g.conn, "the client to connect again", st.state())
	}
	st.on("T-7.4")
	next := st.caller(n+1, wait*time.Second+st.s.patience+backOff)
	if next == nil {
		st.fatal(nil, "the client to connect after Retry-After", st.state())
	}
	after := next.at.Sub(refused.at)
	st.check(nil, after >= wait*time.Second, fmt.Sprintf("the next attempt %d s after Retry-After: %d or later", wait, wait), fmt.Sprint(after.Round(time.Millisecond)))
	st.behave(func(r *rules) { r.status, r.header = 0, nil })
}

func clientGoingAway(st *stage) {
	g := st.connected()
	var jitter []float64
	// A busy machine makes differences of its own, of less than this.
	const enough = 0.1
	spread := 0.0
	for _, wait := range []time.Duration{3 * time.Second, time.Second, time.Second, time.Second, time.Second} {
		n := st.called()
		g.tell(evtGoingAway, fields{"wait", int(wait.Seconds())})
		told := time.Now()
		g.close(1001)
		g = st.again()
		st.mu.Lock()
		after := st.callers[n].at.Sub(told)
		st.mu.Unlock()
		st.on("T-7.4")
		st.check(g.conn, after >= wait, fmt.Sprintf("a connection %v after GOING_AWAY or later", wait), fmt.Sprint(after.Round(time.Millisecond)))
		jitter = append(jitter, (after - wait).Seconds())
		st.signedIn(g)
		if spread = slices.Max(jitter) - slices.Min(jitter); spread > enough {
			break // the pauses of a client that backs off grow with each loss
		}
	}
	st.on("T-4.99")
	st.check(g.conn, spread > enough, "a random part beside GOING_AWAY's `wait`", fmt.Sprintf("%.3f s of difference over %d times", spread, len(jitter)))
}

// givenUp closes with a code at each FORWARD of a message.
func givenUp(name string, code int) clientScenario {
	return clientScenario{name: name, clauses: []string{"T-7.7"}, run: func(st *stage) {
		const line = "what closes"
		g := st.connected()
		st.behave(func(r *rules) {
			r.answer = func(_ *guest, _ *packet, l *letter) bool { return l != nil && l.text == line }
		})
		st.line(line)
		var usual []string // what it prints at a loss
		var closed mark
		for n := range 2 {
			l := st.letter(line)
			closed = st.mark()
			l.g.close(code)
			g = st.again()
			st.signedIn(g)
			if n == 0 {
				st.pause(time.Second / 5) // for what it prints once it is back
				usual = st.since(closed)
			}
		}
		st.on("T-7.7")
		if st.letterWithin(line, time.Second) != nil {
			st.fatal(g.conn, fmt.Sprintf("a message not to be sent after a second close with %d", code), "it is")
		}
		st.line("what does not")
		st.letter("what does not")
		st.check(g.conn, st.letterWithin(line, 0) == nil, fmt.Sprintf("a message not to be sent after a second close with %d", code), "it is")
		_ = st.program.stdin.Close() // it may have ended
		if st.program.ended(grace); st.program.hasEnded() != "" {
			after := st.since(closed)
			told := slices.ContainsFunc(after, func(s string) bool {
				return strings.Contains(s, line) || strings.Contains(strings.ToLower(s), "fail")
			}) || news(after, usual)
			st.check(nil, st.program.err != nil || told, "a report of the failure: printed, or by the exit status", fmt.Sprintf("%q, after %q at the first close", after, usual))
		}
	}}
}
