package conform

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net/http"
	"time"
)

// A guest is a connection of a client to the node that the suite plays. Its reader keeps all that comes
// and answers it as the stage's rules say.
type guest struct {
	*conn
	st    *stage
	hello *http.Request // for the upgrade
	// encode is in place of the packets' usual encoding; nil for that. The reader's.
	encode func(fields) raw

	// Guarded by conn's mu.
	fixed   bool // the form, by HANDSHAKE
	hailed  bool // a HANDSHAKE has come; none is refused but as a second one
	greeted bool
	enters  bool           // has sent a SIGN_IN that has not failed
	in      bool           // signed in
	signIn  *value         // body of SIGN_IN
	left    bool           // the client's close frame has been answered
	doubled map[uint8]bool // ids that were used while in flight
}

func (st *stage) newGuest(secure *tls.Conn, r *bufio.Reader, request *http.Request, rules rules) *guest {
	g := &guest{st: st, hello: request, doubled: make(map[uint8]bool)}
	g.conn = &conn{
		t: st.T, guest: g, tls: secure, opened: time.Now(), ver: "1.0.0",
		readDone: make(chan struct{}), asked: make(map[uint8]int), theirs: make(map[uint8]bool), changed: make(chan struct{}),
	}
	if rules.version != "" {
		g.ver = rules.version
	}
	if rules.greet != nil {
		rules.greet(g)
	}
	go g.read(r)
	return g
}

func (g *guest) isIn() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in
}

// take keeps a message of the client, holds it against what all packets have to be, and
// answers it.
func (g *guest) take(opcode byte, b []byte) {
	what := "packet"
	if opcode == opText {
		what = "text"
	}
	g.mu.Lock()
	drafts := g.reads(b)
	p, found := readGuestPacket(b, drafts)
	g.note(false, what, b)
	if opcode == opText || len(b) > 2_100_000 {
		found = append(found, fault{"T-1.70", fmt.Sprintf("a %s message of %d bytes", what, len(b))})
	}
	served := false
	if p != nil {
		if ver := p.root.get("ver").str(); g.nodeVer == "" {
			g.nodeVer = ver
		} else if ver != g.nodeVer && !drafts {
			found = append(found, fault{"T-4.120", fmt.Sprintf("ver %q after %q", ver, g.nodeVer)})
		}
		more, serve := g.weigh(p, drafts)
		found, served = append(found, more...), serve
		g.arrived = append(g.arrived, p)
		if over := len(g.arrived) - keptLines; over > 0 {
			g.arrived = append([]*packet(nil), g.arrived[over:]...)
		}
	}
	g.signal()
	g.mu.Unlock()
	for _, f := range found {
		g.blame(f.clause, f.what)
	}
	if served {
		g.st.serve(g, p)
	}
}

// weigh says what is wrong with a packet where it stands, and whether it wants to be served. The
// caller holds mu.
func (g *guest) weigh(p *packet, drafts bool) (found []fault, serve bool) {
	switch p.pakt {
	case pktResponse:
		if _, known := g.asked[p.id]; !known {
			return []fault{{"T-3.70", fmt.Sprintf("a second response, or one that nobody asked for, with id %d", p.id)}}, false
		}
		delete(g.asked, p.id)
		if p.code == ok && !p.body.isNil() {
			found = append(found, fault{"T-4.121", "a body in the response to a DELIVER or RETURN"})
		}
		return found, false
	case pktRequest:
		if !g.greeted && p.reqt != reqHandshake && len(g.arrived) == 0 {
			found = append(found, fault{"T-3.37", fmt.Sprintf("first of all %s", guestName(p))})
		}
		if g.theirs[p.id] {
			g.doubled[p.id] = true
			return append(found, fault{"T-3.74", fmt.Sprintf("a REQUEST with id %d, which is in flight", p.id)}), false
		}
		g.theirs[p.id] = true
		if p.reqt == reqHandshake && g.hailed {
			found = append(found, fault{"T-3.220", "a second HANDSHAKE"})
		}
		g.hailed = g.hailed || p.reqt == reqHandshake
	}
	switch before := p.reqt == reqRegister || p.reqt == reqSignIn; {
	case before && g.in, p.reqt >= reqForward && !g.enters:
		found = append(found, fault{"T-3.38", fmt.Sprintf("%s, signed in: %t", guestName(p), g.in)})
	case p.pakt == pktRequest && p.reqt == reqSignIn:
		g.enters = true
	}
	if drafts {
		if faults := draftFaults(p); len(faults) > 0 {
			return append(found, faults...), true
		}
	}
	return append(found, bodyOf(p)...), true
}

// leave answers the client's close frame, and ends the connection. The reader calls it.
func (g *guest) leave(payload []byte) {
	g.mu.Lock()
	first := !g.left
	g.left = true
	g.mu.Unlock()
	if first {
		g.sendFrame("close", true, opClose, payload)
	}
	_ = g.tls.NetConn().Close() // it may have ended
}

// close closes the connection as a node does.
func (g *guest) close(code int) {
	g.mu.Lock()
	g.left = true
	g.mu.Unlock()
	g.sendFrame("close", true, opClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	select {
	case <-g.readDone:
	case <-timer.C: // it is the client's to say how long it takes
	}
	g.hang()
}

// reply answers a request with a body.
func (g *guest) reply(p *packet, body any) {
	f := g.root(fields{"ver", g.ver, "id", p.id, "pakt", pktResponse})
	if body != nil {
		f = append(f, "body", body)
	}
	encode := fields.pack
	if g.encode != nil {
		encode = g.encode
	}
	g.replyAs(p, encode(f))
}

// replyAs answers a request with a packet that was made.
func (g *guest) replyAs(p *packet, b raw) {
	g.mu.Lock()
	delete(g.theirs, p.id)
	g.mu.Unlock()
	g.sendBytes(b)
}

// tell sends the client an event.
func (g *guest) tell(code int, body any) {
	f := g.root(fields{"ver", g.ver, "id", 0, "pakt", pktEvent, "reqt", code})
	if body != nil {
		f = append(f, "body", body)
	}
	g.sendBytes(f.pack())
}

// text is a `msg` that says something.
func textMessage(text string) bin {
	return bin(fields{"type", 0, "body", fields{"text", text, "time", stamp(time.Now())}}.pack())
}

// delivery is the body of a DELIVER.
func delivery(msg bin) fields {
	return fields{"mid", randomBytes(16), "from", "friend@" + otherNode, "time", stamp(time.Now()), "msg", msg}
}

// deliver sends a DELIVER and returns its id.
func (g *guest) deliver(body fields) uint8 { return g.ask(reqDeliver, body) }

// wantTaken waits for the response to a DELIVER or RETURN, which is to be without an error.
func (g *guest) wantTaken(id uint8, what string) {
	if p := g.response(id); p.code != ok {
		g.t.wrong(g.conn, "a response without an error to "+what, guestResponse(p))
	}
}

// goesOn shows that the connection serves: a text is delivered.
func (g *guest) goesOn(after string) {
	text := "and on it goes " + g.t.s.run + fmt.Sprint(g.t.s.names.Add(1))
	id := g.deliver(delivery(textMessage(text)))
	p := g.find(func(p *packet) bool { return p.pakt == pktResponse && p.id == id })
	if p == nil || p.code != ok {
		got := g.state()
		if p != nil {
			got = guestResponse(p)
		}
		g.t.fatal(g.conn, "a DELIVER to be taken after "+after, got)
	}
	if !g.st.printed(text) {
		g.t.fatal(g.conn, "a message on a line of standard output after "+after, g.st.state())
	}
}

// serve answers a request, or takes note of an event.
func (st *stage) serve(g *guest, p *packet) {
	var l *letter
	if p.reqt == reqForward && g.isIn() {
		l = st.open(g, p)
	}
	st.mu.Lock()
	answer := st.rules.answer
	st.mu.Unlock()
	if answer == nil || !answer(g, p, l) {
		g.serve(p, l)
	}
	if l != nil {
		st.note(func() { st.letters = append(st.letters, l) })
	}
}

// serve answers as a good node does.
func (g *guest) serve(p *packet, l *letter) {
	st := g.st
	g.mu.Lock()
	greeted, in := g.greeted, g.in
	g.mu.Unlock()
	switch before := p.reqt < reqForward && p.reqt != reqGetInfo; {
	case p.pakt == pktEvent:
		return
	case p.reqt != reqHandshake && !greeted:
		g.answer(p, errHandshakeRequired)
		return
	case p.reqt == reqHandshake && greeted:
		g.answer(p, errHandshakeDone)
		return
	case before && in:
		g.answer(p, errSignedIn)
		return
	case p.reqt >= reqForward && !in:
		g.answer(p, errSignInRequired)
		return
	}
	switch p.reqt {
	case reqHandshake:
		g.mu.Lock()
		g.greeted = true
		g.mu.Unlock()
		g.reply(p, fields{"ver", g.ver, "comp", true})
	case reqRegister:
		g.answer(p, errNameTaken)
	case reqSignIn:
		g.admit(p)
	case reqGetInfo:
		g.reply(p, fields{"node", playedNode, "soft", "tipt conform", "reg", 2, "time", stamp(time.Now())})
	case reqGetNodeKey:
		st.mu.Lock()
		key := st.keys[len(st.keys)-1]
		st.mu.Unlock()
		g.reply(p, fields{"key", bin(key.certificate)})
	case reqForward:
		g.reply(p, st.response(l))
	case reqListDevices:
		g.reply(p, fields{"devs", []any{}})
	case reqSetKey:
		st.note(func() { st.own = p.body.get("key").bytes() })
		g.reply(p, nil)
	case reqSetPassword, reqRemoveDevice, reqDeleteAccount:
		g.reply(p, nil)
	default:
		g.answer(p, errUnsupported)
	}
}

// response is the body of the response to a FORWARD that went well.
func (st *stage) response(l *letter) any {
	if !l.wait {
		return nil
	}
	st.mu.Lock()
	encode := st.rules.inside
	st.mu.Unlock()
	if encode == nil {
		encode = fields.pack
	}
	if user := l.user(); user != "" {
		return fields{"resp", l.sealed(encode(st.userKey(user)))}
	}
	return fields{"resp", bin(encode(fields{"body", nil}))}
}

// admit answers SIGN_IN.
func (g *guest) admit(p *packet) {
	st := g.st
	tok, pass := p.body.get("tok").bytes(), p.body.get("pass").str()
	st.mu.Lock()
	good := p.body.get("user").str() == st.user && (tok == nil && pass == st.pass || tok != nil && st.tokens[string(tok)])
	body := fields{"addr", st.user + "@" + playedNode}
	if tok == nil && good {
		given := randomBytes(32)
		st.tokens[string(given)] = true
		body = append(body, "tok", given)
	}
	st.mu.Unlock()
	if !good {
		g.mu.Lock()
		g.enters = false
		g.mu.Unlock()
		g.answer(p, errCredentials)
		return
	}
	g.reply(p, body)
	g.mu.Lock()
	g.in, g.signIn = true, p.body
	g.signal()
	g.mu.Unlock()
}

// open opens what a FORWARD carries, and holds it against what is to be in it.
func (st *stage) open(g *guest, p *packet) *letter {
	body := p.body
	l := &letter{
		g: g, p: p, at: time.Now(), node: body.get("node").str(), wait: p.pakt == pktRequest && body.get("wait").is(true), ref: body.get("ref").bytes(),
	}
	if body.get("msg") == nil { // which is a fault of its own
		return l
	}
	st.mu.Lock()
	keys := append([]*openingKey(nil), st.keys...)
	st.mu.Unlock()
	var err error
	for _, key := range keys {
		if l.how, err = key.open(body.get("msg").bytes()); err == nil {
			break
		}
	}
	if err != nil {
		g.blame("T-5.70", fmt.Sprintf("a `msg` that the destination cannot open: %v", err))
		return l
	}
	for _, what := range l.how.against {
		g.blame("T-5.70", what)
	}
	inner, err := unpack(l.how.plain)
	if err != nil {
		g.blame("T-5.71", fmt.Sprintf("% x inside the seal: %v", l.how.plain[:min(len(l.how.plain), shownBytes)], err))
		return l
	}
	l.inner = inner
	for _, f := range sealedFaults(inner, len(l.how.plain)) {
		g.blame("T-5.71", f)
	}
	request := inner.get("body")
	l.to, l.mid = request.get("to").str(), request.get("mid").bytes()
	if seal := request.get("seal").bytes(); seal != nil {
		for _, f := range st.run.sealFaults(g, l.wait, seal) {
			g.blame("T-5.72", f)
		}
	}
	if content, err := unpack(request.get("msg").bytes()); err == nil {
		st.read(g, l, content)
	}
	if l.ref != nil && l.mid != nil && !bytes.Equal(l.ref, l.mid) {
		g.blame("T-4.125", fmt.Sprintf("ref % x for a message with mid % x", l.ref, l.mid))
	}
	return l
}
