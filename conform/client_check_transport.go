package conform

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

func clientTransportScenarios() []clientScenario {
	return []clientScenario{
		{
			name: everyClient, run: clientCorrect,
			clauses: []string{"T-1.1", "T-1.2", "T-1.7", "T-1.74", "T-3.70", "T-4.36", "T-5.71", "T-8.2", "T-8.171", "T-2.100"},
		},
		{name: "client-device", run: clientDevice, clauses: []string{"T-4.36"}},
		certificateScenario("client-untrusted", "is of an authority that it does not know", func(c *clientSuite) *tls.Certificate { return c.foreign }),
		certificateScenario("client-expired", "has expired", func(c *clientSuite) *tls.Certificate { return c.expired }),
		certificateScenario("client-other-name", "is for another name", func(c *clientSuite) *tls.Certificate { return c.named }),
		{name: "client-certificate-later", run: clientCertificateLater, clauses: []string{"T-1.4"}},
		{name: "client-old-tls", run: clientOldTLS, clauses: []string{"T-1.6"}},
		{name: "client-ping", run: clientPing, clauses: []string{"T-1.22", "T-1.24"}},
		{name: "client-fragments", run: clientFragments, clauses: []string{"T-1.23", "T-1.73"}},
		{name: "client-text", run: clientText, clauses: []string{"T-1.71"}},
		{name: "client-too-long", run: clientTooLong, clauses: []string{"T-1.72"}},
	}
}

// unusable ends the scenario that shows whether a client can be used.
func (st *stage) unusable(what, contract string) {
	text := fmt.Sprintf("%s: %s. %s", what, st.state(), contract)
	st.T.mu.Lock()
	st.blocked = text
	st.T.mu.Unlock()
	runtime.Goexit()
}

func clientCorrect(st *stage) {
	st.start()
	g := st.guestWithin(st.s.patience)
	if g == nil {
		st.unusable("it did not open a WebSocket",
			"It is to connect to the address in TIPT_CONNECT, as to the node in TIPT_URL, and to trust the certificate in the file TIPT_CA.")
	}
	if !g.await(st.s.patience, func() bool { return g.in || g.end != nil }) || !g.isIn() {
		st.unusable("it did not sign in", "It is to sign in as TIPT_USER with the password TIPT_PASS.")
	}
	const line = "a first line"
	st.line(line)
	l := st.letterWithin(line, st.s.patience)
	if l == nil {
		st.unusable("it did not send a line of its standard input as a MESSAGE", "It is to send each to the address in TIPT_TO.")
	}
	text := "and one back " + st.s.run
	id := g.deliver(delivery(textMessage(text)))
	if !st.printed(text) {
		st.unusable("it did not print a message that it got", "It is to print each on a line of standard output.")
	}
	st.on("T-3.70")
	g.wantTaken(id, "a DELIVER")

	st.mu.Lock()
	c := *st.callers[0]
	st.mu.Unlock()
	st.on("T-1.1")
	host := strings.TrimSuffix(g.hello.Host, ":443")
	st.check(g.conn, host == playedNode && c.server == playedNode, "the node's name for TLS and as Host",
		fmt.Sprintf("%q for TLS, %q as Host", c.server, g.hello.Host))
	st.on("T-1.2")
	st.check(g.conn, g.hello.URL.Path == "/ws", "the path /ws", g.hello.URL.Path)
	st.on("T-1.7")
	st.check(g.conn, c.version == tls.VersionTLS13, "TLS 1.3", tls.VersionName(c.version))
	st.on("T-4.36")
	dev := g.signIn.get("dev").str()
	st.check(g.conn, dev != "" && dev != "default", "a `dev` that was made up", fmt.Sprintf("%q", dev))
	st.on("T-5.71")
	st.check(g.conn, l.node == otherNode && l.to == st.to, "`node` and `to` of TIPT_TO", fmt.Sprintf("%q and %q", l.node, l.to))
	st.on("T-8.2")
	content, err := unpack(l.inner.get("body").get("msg").bytes())
	st.check(g.conn, err == nil && len(textFaults(content)) == 0, "a TEXT of `text` and `time`", fmt.Sprintf("% x", l.inner.get("body").get("msg").bytes()))
	st.on("T-8.171")
	st.check(g.conn, content.get("type").num() == contentText, "a TEXT, since the recipient has no certificate", "something else")
	st.on("T-2.100")
	st.check(g.conn, isTime(content.get("body").get("time").num()), "a TEXT's `time` in milliseconds since 1970", fmt.Sprint(content.get("body").get("time").num()))
	st.line("Grüße, 你好 🐙")
	st.letter("Grüße, 你好 🐙")
	st.on("T-1.74")
	_ = st.program.stdin.Close() // it may have ended
	g.wantClose("the end of standard input", 1000)
}

// clientDevice has the client run in two homes in which it has never been.
func clientDevice(st *stage) {
	var devs []string
	for range 2 {
		home, err := os.MkdirTemp(filepath.Dir(st.run.roots), "home-")
		if err != nil {
			st.fatal(nil, "a folder to be made", err.Error())
		}
		st.home = home
		st.start()
		g := st.guestWithin(st.s.patience)
		if g == nil || !g.await(st.s.patience, func() bool { return g.in || g.end != nil }) || !g.isIn() {
			st.skip("needs a client that runs in a home of its own: it did not sign in with another HOME")
		}
		devs = append(devs, g.signIn.get("dev").str())
		st.program.end()
		st.mu.Lock()
		st.met = len(st.guests)
		st.mu.Unlock()
	}
	st.on("T-4.36")
	st.check(nil, devs[0] != devs[1], "another `dev` of the same program in another home", fmt.Sprintf("%q in both", devs[0]))
}

var textShape = shape{{key: "text", declared: "str32", most: 1_990_000}, {key: "time", declared: "uint64", most: anyNumber}}

// caller waits until it is known what came of the client's nth connection, counted from 0, and
// returns nil when there is no such.
func (st *stage) caller(n int, d time.Duration) *caller {
	var c *caller
	st.within(d, func() bool {
		if n < len(st.callers) && st.callers[n].settled {
			copied := *st.callers[n]
			c = &copied
		}
		return c != nil || n >= len(st.callers) && st.program.hasEnded() != ""
	})
	return c
}

// called is how many connections have come.
func (st *stage) called() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.callers)
}

func certificateScenario(name, what string, of func(*clientSuite) *tls.Certificate) clientScenario {
	return clientScenario{name: name, clauses: []string{"T-1.4"}, run: func(st *stage) {
		st.behave(func(r *rules) { r.certificate = of(st.run) })
		st.start()
		st.wantDistrust(0, what)
	}}
}

// wantDistrust waits for the client's nth connection, and for it to go no further than TLS.
func (st *stage) wantDistrust(n int, what string) {
	c := st.caller(n, st.s.patience+backOff+dialTime)
	if c == nil {
		st.fatal(nil, "the client to connect", st.state())
	}
	st.on("T-1.4")
	st.check(nil, !c.asked, "nothing but the end of a connection to a node whose certificate "+what, "a request for an upgrade")
}

func clientCertificateLater(st *stage) {
	g := st.connected()
	st.behave(func(r *rules) { r.certificate = st.run.foreign })
	n := st.called()
	g.hang()
	if st.caller(n, st.s.patience+backOff) == nil {
		st.skip("the client did not connect again")
	}
	st.wantDistrust(n, "was good on the first connection alone")
}

func clientOldTLS(st *stage) {
	st.behave(func(r *rules) { r.newest = tls.VersionTLS11 })
	st.start()
	c := st.caller(0, st.s.patience+dialTime)
	if c == nil {
		st.fatal(nil, "the client to connect", st.state())
	}
	st.on("T-1.6")
	st.check(nil, !c.secure, "no connection by TLS 1.1", "TLS 1.1 spoken")
}

// hold keeps answers back: those to packets, and what is in them, that are wanted, until release is called.
func (st *stage) hold(wanted func(*packet, *letter) bool) (release func()) {
	type held struct {
		g *guest
		p *packet
		l *letter
	}
	var all []held // guarded by st.mu
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			if !wanted(p, l) {
				return false
			}
			st.mu.Lock()
			defer st.mu.Unlock()
			all = append(all, held{g, p, l})
			return true
		}
	})
	return func() {
		st.mu.Lock()
		st.rules.answer = nil
		waiting := all
		st.mu.Unlock()
		for _, h := range waiting {
			h.g.serve(h.p, h.l)
		}
	}
}

func aMessage(_ *packet, l *letter) bool { return l.isMessage() }

func clientPing(st *stage) {
	const early = "before HANDSHAKE"
	st.behave(func(r *rules) { r.greet = func(g *guest) { g.sendFrame("PING", true, opPing, []byte(early)) } })
	release := st.hold(func(*packet, *letter) bool { return true })
	st.start()
	g := st.guest()
	st.on("T-1.22")
	g.wantPong(early, "before HANDSHAKE")
	release()
	st.signedIn(g)
	g.ping(strings.Repeat("p", 125), "with 125 bytes")
	g.ping("", "with no bytes")
	st.on("T-1.24")
	release = st.hold(aMessage)
	st.line("worked on")
	st.letter("worked on")
	g.ping("waiting", "while the client waits for a response")
	release()
	for range 20 {
		g.deliver(delivery(textMessage("one of many")))
	}
	g.ping("working", "behind 20 DELIVERs")
}

func clientFragments(st *stage) {
	g := st.connected()
	text := "in parts " + st.s.run + strings.Repeat(" and on", 20_000)
	id := g.freeID()
	g.expect(id, reqDeliver)
	packet := g.request(id, reqDeliver, delivery(textMessage(text))).pack()
	third := len(packet) / 3
	g.sendFrame("fragment", false, opBinary, packet[:third])
	g.sendFrame("fragment", false, opContinuation, packet[third:2*third])
	st.on("T-1.23")
	g.ping("between", "between the fragments of a message")
	g.sendFrame("fragment", true, opContinuation, packet[2*third:])
	st.on("T-1.73")
	g.wantTaken(id, "a DELIVER in fragments")
}

func clientText(st *stage) {
	g := st.connected()
	st.on("T-1.71")
	g.sendFrame("text", true, opText, []byte("a text message"))
	g.wantClose("a text message", 1003)
}

func clientTooLong(st *stage) {
	g := st.connected()
	st.on("T-1.72")
	id := g.freeID()
	g.expect(id, reqDeliver)
	packet := g.request(id, reqDeliver, delivery(make(bin, 2_100_000))).pack()
	g.sendFrame("packet", true, opBinary, packet)
	g.wantClose(fmt.Sprintf("a message of %d bytes", len(packet)), 1009)
}
