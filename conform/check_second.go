package conform

import (
	"bytes"
	"fmt"
	"time"
)

func secondScenarios() []scenario {
	return []scenario{
		{name: "second-order", clauses: []string{"T-3.17", "T-3.18", "T-3.19", "T-4.67"}, run: checkSecondOrder, peer: true},
		{name: "second-ids", clauses: []string{"T-3.11"}, run: checkSecondIDs, peer: true},
		{name: "second-ping", clauses: []string{"T-1.24"}, run: checkSecondPing, peer: true},
		{name: "second-refs", clauses: []string{"T-4.143"}, run: checkSecondRefs, peer: true},
		{name: "second-deleted", clauses: []string{"T-4.50"}, run: checkSecondDeleted, peer: true},
		{name: "second-answers", clauses: []string{"T-4.68", "T-5.117", "T-5.118", "T-5.141", "T-5.191", "T-5.192"}, run: checkSecondAnswers, peer: true},
		{name: "second-returns", clauses: []string{"T-4.95", "T-4.96", "T-5.113", "T-5.114"}, run: checkSecondReturns, peer: true},
		{name: "second-retries", clauses: []string{"T-4.61", "T-5.42", "T-5.53", "T-5.114", "T-5.115"}, run: checkSecondRetries, peer: true},
		{name: "second-pauses", clauses: []string{"T-4.63"}, run: checkSecondPauses, peer: true},
		{name: "second-asks-for-time", clauses: []string{"T-4.106"}, run: checkSecondAsksForTime, peer: true},
		{name: "second-is-slow", clauses: []string{"T-5.141"}, run: checkSecondIsSlow, peer: true},
		{name: "second-keys-failed", clauses: []string{"T-4.149", "T-5.141"}, run: checkFetched, peer: true},
		{name: "second-keys-soon", clauses: []string{"T-4.72"}, run: checkFetchedSoon, peer: true},
		{name: "second-keys-later", clauses: []string{"T-4.148"}, run: checkFetchedLater, peer: true, slow: true},
		{name: "second-keys", clauses: []string{"T-4.70", "T-4.73"}, run: checkSecondKeys, peer: true},
		{name: "second-keys-unverified", clauses: []string{"T-5.190"}, run: checkUnverified, peer: true},
		{name: "second-certificates", clauses: []string{"T-5.42", "T-5.44"}, run: checkSecondCertificates, peer: true},
		{name: "second-silent", clauses: []string{"T-5.120"}, run: checkSecondSilent, peer: true},
	}
}

func checkSecondOrder(t *T) {
	a, b := t.member(), t.member()
	s := t.part(a, faceOrder)
	t.on("T-3.17")
	a.wantOK(a.exchange(reqForward, append(s.forward(false, "a1"), "ref", bin("0123456789abcdef"))))
	a.wantOK(a.exchange(reqForward, s.forward(false, "a2")))
	first := s.want("a1")
	t.on("T-3.18")
	b.wantOK(b.exchange(reqForward, s.forward(false, "b1")))
	s.want("b1").answer <- delivered
	t.on("T-3.19")
	id := a.ask(reqForward, s.forward(true, "a at once"))
	s.want("a at once").answer <- delivered
	a.want(a.response(id), "FORWARD with wait true while another is on its way", ok)
	t.on("T-3.17")
	t.check(a, !s.has("a2"), "a2 only after a1 was answered", "a2 before")
	t.on("T-4.67")
	p := a.exchange(reqForward, append(s.forward(false, "a1 again"), "ref", bin("0123456789abcdef")))
	a.want(p, "FORWARD with the ref and destination of one that is still held", ok)
	a.wantOK(a.exchange(reqForward, s.forward(false, "a3")))
	t.on("T-3.17")
	first.answer <- delivered
	s.want("a2").answer <- delivered
	t.on("T-4.67")
	next := s.arrival(t.s.patience, func(*post) bool { return true })
	if next == nil || !bytes.Equal(next.body, s.message("a3")) {
		t.fatal(a, "one message of one ref, and then the next", fmt.Sprintf("%q", s.texts()))
	}
	next.answer <- delivered
	a.quiet("no RETURN of what was delivered")
}

// checkSecondIDs uses each id again while a FORWARD with it waits for the second node.
func checkSecondIDs(t *T) {
	c := t.member()
	s := t.part(c, faceOrder)
	for _, id := range allIDs() {
		t.clause = ""
		one := t.signIn(c.user, "tok", bin(c.tok), "recv", false)
		one.expect(id, reqForward)
		one.sendBytes(one.request(id, reqForward, s.forward(true, fmt.Sprint(id))).pack())
		held := s.want(fmt.Sprint(id))
		t.on("T-3.11")
		one.sendBytes(one.request(id, reqGetInfo, nil).pack())
		one.wantClose(fmt.Sprintf("a REQUEST with id %d, which is in flight", id), 1002)
		one.hang()
		held.answer <- delivered
	}
}

// checkSecondPing sends a PING while a FORWARD waits for the second node.
func checkSecondPing(t *T) {
	c := t.member()
	s := t.part(c, faceOrder)
	id := c.ask(reqForward, s.forward(true, "held"))
	held := s.want("held")
	t.on("T-1.24")
	c.ping("while it waits", "while a FORWARD waits for its answer")
	answered := c.has(func(p *packet) bool { return p.pakt == pktResponse })
	t.check(c, !answered, "no response before the second node's", "one")
	held.answer <- delivered
	c.want(c.response(id), "FORWARD with wait true", ok)
}

// checkSecondRefs uses a ref for another destination, and again when nothing with it waits any more.
func checkSecondRefs(t *T) {
	c := t.member()
	s, other := t.part(c, faceOrder), t.part(c, faceStatus)
	ref := randomBytes(16)
	t.on("T-4.143")
	c.wantOK(c.exchange(reqForward, append(s.forward(false, "one"), "ref", ref)))
	first := s.want("one")
	c.wantOK(c.exchange(reqForward, append(other.forward(false, "two"), "ref", ref)))
	other.want("two").answer <- delivered
	first.answer <- answered200(typeAnswer, fields{"err", fields{"code", errNoSuchUser}}.pack())
	p := c.deliverAnswered() // so that it waits no longer
	t.check(c, p.reqt == reqReturn, "a RETURN", p.String())
	c.wantOK(c.exchange(reqForward, append(s.forward(false, "three"), "ref", ref)))
	s.want("three").answer <- delivered
}

func checkSecondDeleted(t *T) {
	a := t.member()
	s := t.part(a, faceOrder)
	t.on("T-4.50")
	a.wantOK(a.exchange(reqForward, s.forward(false, "first")))
	a.wantOK(a.exchange(reqForward, s.forward(false, "second")))
	first := s.want("first")
	a.user.leaving = true
	a.want(a.exchange(reqDeleteAccount, fields{"pass", a.user.pass}), "DELETE_ACCOUNT", ok)
	a.user.gone = true
	first.answer <- answered200(typeAnswer, fields{"err", fields{"code", errNoSuchUser}}.pack())
	s.want("second").answer <- delivered
}

// respondsWith has the second node answer a FORWARD with `wait` true, and returns the response and how
// long it took.
func (s *part) respondsWith(c *conn, text string, r response) (*packet, time.Duration) {
	start := time.Now()
	id := c.ask(reqForward, s.forward(true, text))
	s.want(text).answer <- r
	return c.response(id), time.Since(start)
}

func checkSecondAnswers(t *T) {
	c, patient := t.member(), t.member()
	s := t.part(c, faceStatus)
	// One that is never answered, while the others are.
	start := time.Now()
	never := patient.ask(reqForward, s.forward(true, "never"))
	held := s.want("never")
	t.on("T-5.117")
	refusal := fields{"err", fields{"code", errMailboxFull, "msg", "full", "wait", 5}}.pack()
	long := append(fields{"err", fields{"code", errNoSuchUser}}.pack(), make([]byte, 2_000_000)...)
	for _, tt := range []struct {
		what string
		r    response
	}{
		{"no error", delivered},
		{"neither err nor body", answered200(typeAnswer, fields{}.pack())},
		{"a body that is a map", answered200(typeAnswer, fields{"body", fields{"k", 1}}.pack())},
		{"an error", answered200(typeAnswer, refusal)},
		{"sealed bytes", answered200(typeSealed, randomBytes(8284))},
		{"no bytes", answered200(typeSealed, nil)},
		{"2,000,000 bytes", answered200(typeSealed, long[:2_000_000])},
	} {
		p, _ := s.respondsWith(c, tt.what, tt.r)
		if c.want(p, "a 200 with "+tt.what, ok) && !bytes.Equal(p.body.get("resp").bytes(), tt.r.body) {
			t.wrong(c, "resp as the second node answered, "+tt.what, fmt.Sprintf("%d other bytes", len(p.body.get("resp").bytes())))
		}
	}
	for _, tt := range []struct {
		clause, what string
		r            response
		want         int
	}{
		{"T-5.118", "a 200 of type text/html", answered200("text/html", refusal), errNodeTimeout},
		{"T-5.192", "a 200 with 2,000,001 bytes", answered200(typeSealed, long[:2_000_001]), errNodeTimeout},
		{"T-5.118", "status 500", status(500), errNodeTimeout},
		{"T-5.118", "status 502", status(502), errNodeTimeout},
		{"T-5.118", "status 504", status(504), errNodeTimeout},
		{"T-5.118", "the end of the connection", response{cut: true}, errNodeTimeout},
		{"T-5.118", "status 201", response{status: 201, header: delivered.header, body: delivered.body}, errNodeRefused},
		{"T-5.118", "status 204", status(204), errNodeRefused},
		{"T-5.118", "status 400", status(400), errNodeRefused},
		{"T-5.118", "status 401", status(401), errNodeRefused},
		{"T-5.118", "status 403", status(403), errNodeRefused},
		{"T-5.118", "status 404", status(404), errNodeRefused},
		{"T-5.118", "status 413", status(413), errNodeRefused},
		{"T-5.191", "a redirection", status(307, "Location", "https://"+s.face.name+"/elsewhere"), errNodeRefused},
		{"T-5.191", "a redirection that changes the method", status(303, "Location", "/elsewhere"), errNodeRefused},
		{"T-4.68", "status 429", status(429, "Retry-After", "1"), errNodeUnreachable},
		{"T-4.68", "status 503", status(503, "Retry-After", "1"), errNodeUnreachable},
	} {
		t.on(tt.clause)
		p, _ := s.respondsWith(c, tt.what, tt.r)
		c.want(p, "FORWARD with wait true that was answered with "+tt.what, tt.want)
		if tt.want == errNodeUnreachable {
			t.check(c, p.wait() > 0 || c.drafts, "NODE_UNREACHABLE with wait after "+tt.what, "none")
		}
	}
	t.on("T-5.191")
	for _, one := range s.seen() {
		t.check(c, one.path == "POST "+signedPath, "no redirection followed", one.path)
	}
	t.on("T-4.68")
	patient.await(31*time.Second-time.Since(start), func() bool { return len(patient.arrived) > 0 || patient.end != nil })
	p := patient.response(never)
	patient.want(p, "FORWARD with wait true to a node that does not answer", errNodeTimeout)
	if took := time.Since(start); took > fetchTime {
		t.wrong(patient, "a response within 30 s", took.String())
	}
	t.on("T-5.141")
	select {
	case <-held.left:
	case <-time.After(fetchTime - time.Since(start)):
		t.wrong(patient, "the attempt to be given up after 30 s in all", "the connection to the second node open")
	}
}

// seen are all messages that have come.
func (s *part) seen() []*post {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return append([]*post(nil), s.posts...)
}

func checkSecondReturns(t *T) {
	c := t.member()
	s := t.part(c, faceStatus)
	answer := func(n int) []byte {
		rest := n - len(fields{"body", fields{"k", make(bin, 300)}}.pack()) + 300
		return fields{"body", fields{"k", make(bin, rest)}}.pack()
	}
	for _, tt := range []struct {
		clause, what string
		r            response
		resp         bool
	}{
		{"T-5.113", "an error", answered200(typeAnswer, fields{"err", fields{"code", errNoSuchUser}}.pack()), true},
		{"T-5.113", "a body that is a map", answered200(typeAnswer, answer(400)), true},
		{"T-4.96", "4,096 bytes", answered200(typeAnswer, answer(4096)), true},
		{"T-4.96", "4,097 bytes", answered200(typeAnswer, answer(4097)), false},
		{"T-5.114", "status 201", response{status: 201, header: delivered.header, body: delivered.body}, false},
		{"T-5.114", "status 204", status(204), false},
		{"T-5.114", "status 400", status(400), false},
		{"T-5.114", "status 403", status(403), false},
		{"T-5.114", "status 404", status(404), false},
		{"T-5.114", "status 413", status(413), false},
	} {
		t.clause = ""
		ref := randomBytes(16)
		c.wantOK(c.exchange(reqForward, append(s.forward(false, tt.what), "ref", ref)))
		s.want(tt.what).answer <- tt.r
		t.on(tt.clause)
		p := c.deliverAnswered()
		if p.reqt != reqReturn || !bytes.Equal(p.body.get("ref").bytes(), ref) {
			t.fatal(c, "a RETURN after "+tt.what, p.String())
		}
		t.on("T-4.95")
		t.check(c, p.body.get("node").str() == s.face.name, "node "+s.face.name, p.body.get("node").str())
		t.on(tt.clause)
		if tt.resp {
			t.check(c, bytes.Equal(p.body.get("resp").bytes(), tt.r.body), "resp as the second node answered, "+tt.what, fmt.Sprintf("% x", p.body.get("resp").bytes()))
		} else {
			t.check(c, p.body.get("code").num() == errNodeRefused, "code NODE_REFUSED after "+tt.what, fmt.Sprint(p.body.get("code").num()))
		}
	}
	t.on("T-5.113")
	for _, tt := range []struct {
		what string
		r    response
	}{
		{"a map with a nil body", delivered},
		{"a map with neither err nor body", answered200(typeAnswer, fields{}.pack())},
		{"8,284 bytes of type " + typeSealed, answered200(typeSealed, randomBytes(8284))},
		{"one byte of type " + typeSealed, answered200(typeSealed, randomBytes(1))},
	} {
		c.wantOK(c.exchange(reqForward, s.forward(false, tt.what)))
		s.want(tt.what).answer <- tt.r
		// The next is handed over when the one before is answered or returned.
		c.wantOK(c.exchange(reqForward, s.forward(false, "behind "+tt.what)))
		s.want("behind " + tt.what).answer <- delivered
		c.nothingBefore("no RETURN for " + tt.what)
	}
}

// retryPatience is how long a node may take to try all again; it chooses its pauses itself.
const retryPatience = 30 * time.Second

// A retry is a message that is not delivered at the first attempt.
type retry struct {
	what     string
	first    response
	then     response
	code     int // of the RETURN, ok for none
	c        *conn
	attempts []*post
}

func checkSecondRetries(t *T) {
	all := []*retry{
		{what: "status 500, then delivered", first: status(500), then: delivered, code: ok},
		{what: "status 503, then refused", first: status(503, "Retry-After", "1"), then: status(403), code: errNodeRefused},
		{what: "a 200 of type text/html, then refused", first: answered200("text/html", []byte("<p>")), then: status(403), code: errNodeTimeout},
		{what: "the end of the connection, then delivered", first: response{cut: true}, then: delivered, code: ok},
		{what: "a redirection, then delivered", first: status(302, "Location", "/elsewhere"), then: delivered, code: ok},
		{what: "status 429, then refused", first: status(429, "Retry-After", "1"), then: status(413), code: errNodeRefused},
		{what: "status 500, then refused", first: status(500), then: status(404), code: errNodeTimeout},
		{what: "the end of the connection, then refused", first: response{cut: true}, then: status(400), code: errNodeTimeout},
		{what: "2,000,001 bytes, then delivered", first: answered200(typeSealed, make([]byte, 2_000_001)), then: delivered, code: ok},
	}
	s := t.part(t.member(), faceRetry)
	byBody := make(map[string]*retry)
	for _, r := range all { // before the first message, which does not wait for long
		r.c = t.member()
	}
	for _, r := range all {
		t.on("T-4.61")
		r.c.wantOK(r.c.exchange(reqForward, s.forward(false, r.what)))
		byBody[string(s.message(r.what))] = r
	}
	end := time.Now().Add(retryPatience)
	for range 2 * len(all) {
		one := s.arrival(time.Until(end), func(*post) bool { return true })
		if one == nil {
			break
		}
		r := byBody[string(one.body)]
		if r == nil || len(r.attempts) == 2 {
			t.fatal(nil, "two attempts for each message", fmt.Sprintf("%q", s.texts()))
		}
		r.attempts = append(r.attempts, one)
		if len(r.attempts) == 1 {
			one.answer <- r.first
		} else {
			one.answer <- r.then
		}
	}
	tried := 0
	for _, r := range all {
		if len(r.attempts) < 2 {
			t.on("T-5.42")
			r.c.quiet("no RETURN yet after " + r.what)
			continue
		}
		tried++
		t.on("T-5.53")
		t.check(r.c, r.attempts[0].header.Get("Signature") != r.attempts[1].header.Get("Signature"), "a signature of its own for each attempt", "the same")
		if t.on("T-5.42"); r.code == ok {
			r.c.nothingBefore("no RETURN of what was delivered at the second attempt, after " + r.what)
			continue
		}
		if t.on("T-5.114"); r.code == errNodeTimeout {
			t.on("T-5.115")
		}
		p := r.c.deliverAnswered()
		t.check(r.c, p.reqt == reqReturn && p.body.get("code").num() == int64(r.code), "code "+errorName(r.code)+" after "+r.what, fmt.Sprintf("%v, code %d", p, p.body.get("code").num()))
	}
	if tried == 0 {
		t.skip(fmt.Sprintf("the node did not try again within %v, which it need not", retryPatience))
	}
}

// checkSecondPauses refuses a message again and again. Pauses may have a random part, so it looks for one that is
// clearly longer than the first, and takes many that are not for no growth.
func checkSecondPauses(t *T) {
	const (
		enough   = 5 // pauses
		patience = 40 * time.Second
	)
	c := t.member()
	s := t.part(c, facePauses)
	c.wantOK(c.exchange(reqForward, s.forward(false, "again and again")))
	var last time.Time
	var pauses []time.Duration
	for end := time.Now().Add(patience); len(pauses) < enough; {
		one := s.arrival(time.Until(end), func(*post) bool { return true })
		if one == nil {
			t.skip(fmt.Sprintf("the pauses of the first %v tell nothing: %v", patience, pauses))
		}
		now := time.Now()
		if !last.IsZero() {
			pauses = append(pauses, now.Sub(last).Round(time.Millisecond))
			if pauses[len(pauses)-1] > pauses[0]*3/2 {
				t.on("T-4.63")
				one.answer <- delivered
				return
			}
		}
		last = now
		one.answer <- status(500)
	}
	t.on("T-4.63")
	t.wrong(c, "growing pauses between the attempts to forward a message", fmt.Sprint(pauses))
}

func checkSecondKeys(t *T) {
	c := t.member()
	s := t.part(c, faceKey)
	large := t.part(c, faceLarge)
	good := t.part(c, faceOrder)
	s.set(func(f *face) { f.key = []byte("no certificate") })
	large.set(func(f *face) { f.key = bytes.Repeat(f.key, 1+8192/len(f.key)) })
	key := func(clause string, s *part, what string, want int) *packet {
		t.clause = ""
		p := c.exchange(reqGetNodeKey, fields{"node", s.face.name, "new", true})
		if s.fetches() == 0 {
			t.skip(fetchedBefore)
		}
		t.on(clause)
		c.want(p, "GET_NODE_KEY of "+what, want)
		return p
	}
	key("T-4.73", s, "what serves no certificate", errNodeRefused)
	key("T-4.73", large, "what serves more than 8,192 bytes", errNodeRefused)
	p := key("T-4.70", good, "another node", ok)
	t.check(c, bytes.Equal(p.body.get("key").bytes(), good.face.key), "the certificate that the other node serves", "another one")
}

// fetchedBefore is why a key cannot be looked at.
const fetchedBefore = "the node asked for this key in a run of a moment ago: try again in a minute"

func checkSecondCertificates(t *T) {
	c := t.member()
	s := t.part(c, faceTLS)
	good := s.face.certificate
	t.on("T-5.44")
	for _, bad := range badCertificates {
		s.certify(bad)
		id := c.ask(reqForward, s.forward(true, bad.what))
		c.want(c.response(id), "FORWARD to a node with a certificate "+bad.what, errNodeUnreachable)
		t.check(c, !s.has(bad.what), "nothing sent to a node with a certificate "+bad.what, "the message")
	}
	t.clause = ""
	c.wantOK(c.exchange(reqForward, s.forward(false, "kept for later")))
	c.quiet("no RETURN of what could not be handed over yet")
	s.set(func(f *face) { f.certificate = good })
	p, _ := s.respondsWith(c, "good again", delivered)
	c.want(p, "FORWARD to the node with its certificate again", ok)
	one := s.arrival(retryPatience, func(*post) bool { return true })
	if one == nil {
		t.skip(fmt.Sprintf("the node did not try again within %v, which it need not", retryPatience))
	}
	t.on("T-5.42")
	t.check(c, bytes.Equal(one.body, s.message("kept for later")), "the message that could not be handed over", fmt.Sprintf("%q", s.texts()))
	one.answer <- delivered
	c.nothingBefore("no RETURN of what was handed over later")
}

// checkSecondSilent has the tested node connect to one that takes the connection, and then says nothing.
func checkSecondSilent(t *T) {
	const most, more = 10 * time.Second, 4 * time.Second
	c := t.member()
	s := t.part(c, faceSilent)
	s.set(func(f *face) { f.silent = true })
	t.on("T-5.120")
	start := time.Now()
	id := c.ask(reqForward, s.forward(true, "to nobody"))
	c.await(most+more, func() bool { return len(c.arrived) > 0 || c.end != nil })
	t.check(c, time.Since(start) < most+more, fmt.Sprintf("a response %v after TLS was begun", most), c.state())
	c.want(c.response(id), "FORWARD to a node that says nothing in TLS", errNodeUnreachable)
}
