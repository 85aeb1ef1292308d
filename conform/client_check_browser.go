package conform

import (
	"fmt"
	"slices"
)

// scriptless is why clauses about scripts in browsers are not tested with other clients.
const scriptless = "concerns scripts in browsers alone, which are told by the Origin of their upgrade"

func clientBrowserScenarios() []clientScenario {
	return []clientScenario{{name: "client-script-closes", run: clientScriptCloses, clauses: []string{"T-1.36"}}}
}

// isScript reports whether the client is one in a browser, which says an Origin. Others leave it out.
func (g *guest) isScript() bool { return g.hello.Header.Get("Origin") != "" }

// closesAs are the codes that a client may close with where one is asked for: a script in a browser cannot
// send it, if it is below 3000 and not 1000.
func (g *guest) closesAs(code int) []int {
	if g.isScript() && code < 3000 && code != 1000 {
		return []int{4000, code}
	}
	return []int{code}
}

// wantClose waits for the client to close, and checks with which code.
func (g *guest) wantClose(what string, code int) bool {
	codes := g.closesAs(code)
	if !g.conn.wantClose(what, codes...) {
		return false
	}
	g.mu.Lock()
	got := g.end.code
	g.mu.Unlock()
	if got != codes[0] {
		g.blame("T-1.36", fmt.Sprintf("a close with %d by a client that sends an Origin, as scripts in browsers alone do", got))
	}
	return true
}

func clientScriptCloses(st *stage) {
	g := st.connected()
	if !g.isScript() {
		st.skip(scriptless)
	}
	st.on("T-1.36")
	g.sendFrame("text", true, opText, []byte("a text message"))
	g.conn.wantClose("a text message to a client that sends an Origin", 4000)
	g = st.again()
	st.signedIn(g)
	g.sendBytes(raw{0xc1})
	g.conn.wantClose("what is no msgpack to a client that sends an Origin", 4000)
}

// askedInfo waits for a GET_INFO.
func (g *guest) askedInfo() bool {
	return g.await(g.st.pingsEvery()+slack, func() bool {
		return g.end != nil || slices.ContainsFunc(g.arrived, func(p *packet) bool { return p.reqt == reqGetInfo })
	}) && g.open()
}
