package conform

import (
	"fmt"
	"slices"
)

// delivered returns connections of one new user, each its own device, that have one DELIVER
// unanswered each.
func (t *T) delivered(n int) (conns []*conn, pending []*packet) {
	c := t.member()
	conns = append(conns, c)
	for i := range n - 1 {
		conns = append(conns, t.signIn(c.user, "dev", fmt.Sprintf("device-%d", i)))
	}
	c.send(c.user, "hello")
	for _, c := range conns {
		pending = append(pending, c.deliver())
	}
	return conns, pending
}

// A badResponse is a RESPONSE to a request of the node for which it closes.
type badResponse struct {
	clause, what string
	b            func(id uint8) raw
}

// versionsAndErrors are bad responses in what the later drafts' form has no place for.
func versionsAndErrors(response func(id uint8) fields) []badResponse {
	failed := func(id uint8, err any) raw { return response(id).with("err", err).pack() }
	all := []badResponse{
		{"T-3.8", "no ver", func(id uint8) raw { return response(id).without("ver").pack() }},
		{"T-3.8", "ver twice", func(id uint8) raw { return append(response(id), "ver", "1.0.0").pack() }},
		{"T-3.8", "a ver of 65 bytes", func(id uint8) raw { return response(id).with("ver", "1.0.0-"+letters(59)).pack() }},
		{"T-6.4", "code twice", func(id uint8) raw { return failed(id, fields{"code", errRejected, "code", errRejected}) }},
		{"T-6.4", "err in a map 32", func(id uint8) raw { return failed(id, fields{"code", errRejected}.packAs(0xdf)) }},
		{"T-6.4", "a key of err in marker da", func(id uint8) raw { return failed(id, fields{packAs(0xda, "code"), errRejected}) }},
	}
	for _, ver := range []string{"", "1.0", "1.0.0.0", "v1.0.0", "1.0.0-01"} {
		all = append(all, badResponse{"T-3.8", fmt.Sprintf("ver %q", ver), func(id uint8) raw { return response(id).with("ver", ver).pack() }})
	}
	return all
}

func checkMalformedResponses(t *T) {
	response := func(id uint8) fields { return t.root(fields{"ver", "1.0.0", "id", id, "pakt", pktResponse}) }
	failed := func(id uint8, err any) raw { return response(id).with("err", err).pack() }
	// What each form calls an err, the other does not.
	bare, code := any(errBusy), any(fields{"code", errBusy})
	if t.s.drafts() {
		bare, code = code, bare
	}
	cases := []badResponse{
		{"T-3.8", "a reqt", func(id uint8) raw { return response(id).with("reqt", 0).pack() }},
		{"T-3.8", "a map as body", func(id uint8) raw { return response(id).with("body", fields{}).pack() }},
		{"T-3.8", "a body beside err", func(id uint8) raw {
			return append(response(id), "err", code, "body", fields{}).pack()
		}},
		{"T-3.8", "an unknown key", func(id uint8) raw { return response(id).with("more", 1).pack() }},
		{"T-3.8", "reqt twice", func(id uint8) raw { return append(response(id), "reqt", nil, "reqt", nil).pack() }},
		{"T-3.8", "body twice", func(id uint8) raw { return append(response(id), "body", nil, "body", nil).pack() }},
		{"T-3.8", "err twice", func(id uint8) raw { return append(response(id), "err", code, "err", code).pack() }},
		{"T-3.8", "a key in marker da", func(id uint8) raw { return append(response(id), packAs(0xda, "body"), nil).pack() }},
		{"T-3.8", "a key in marker db", func(id uint8) raw { return append(response(id), packAs(0xdb, "body"), nil).pack() }},
		{"T-3.8", "a number as a key", func(id uint8) raw { return append(response(id), 5, nil).pack() }},
		{"T-3.8", "5 levels", func(id uint8) raw { return append(response(id), "more", nested(4, true)).pack() }},
		{"T-3.8", "marker c1 behind pakt", func(id uint8) raw { return append(response(id), "body", raw{0xc1}).pack() }},
		{"T-3.8", "the end behind pakt", func(id uint8) raw {
			return append(raw{0x84}, fields{"id", id, "pakt", pktResponse}.content()...)
		}},
		{"T-3.8", "a body in a map 32", func(id uint8) raw { return response(id).with("body", fields{}.packAs(0xdf)).pack() }},
		{"T-3.8", "bytes behind the root", func(id uint8) raw { return append(response(id).pack(), 0xc0) }},
		{"T-6.4", "err in the other revision's form", func(id uint8) raw { return failed(id, bare) }},
		{"T-6.4", "a nil err", func(id uint8) raw { return failed(id, nil) }},
		{"T-6.4", "err without code", func(id uint8) raw { return failed(id, fields{"msg", "text"}) }},
		{"T-6.4", "err with an unknown key", func(id uint8) raw { return failed(id, fields{"code", 8, "more", nil}) }},
		{"T-3.12", "an id that is not in flight", func(id uint8) raw { return response(id + 1).pack() }},
	}
	if !t.s.drafts() {
		cases = append(cases, versionsAndErrors(response)...)
	}
	add := func(clause, what string, b func(id uint8) raw) {
		cases = append(cases, badResponse{clause, what, b})
	}
	for _, k := range responseKeys {
		if k.in != "" && t.s.drafts() {
			continue // an err has no parts there
		}
		with := func(id uint8, v raw) raw {
			if k.in == "" {
				return response(id).with(k.name, v).pack()
			}
			return failed(id, fields{"code", errRejected}.with(k.name, v))
		}
		faulty := func(what string, v raw) {
			add(k.clause, fmt.Sprintf("%s for %s", what, k.in+k.name), func(id uint8) raw { return with(id, v) })
		}
		for _, marker := range wider[k.declared] {
			v := packAs(marker, 1)
			if kindOf(k.declared) == kindStr {
				v = packAs(marker, "1.0.0")
			}
			faulty(fmt.Sprintf("marker %02x", marker), v)
		}
		for _, other := range others {
			if other.kind != kindOf(k.declared) || k.declared == "" {
				if other.kind != kindNil || k.in != "" || k.name == "ver" { // which is like absence
					faulty(other.name, other.value)
				}
			}
		}
		for _, extension := range extensions {
			faulty(fmt.Sprintf("an extension % x", extension[:2]), extension)
		}
		if kindOf(k.declared) == kindStr {
			for _, text := range noUTF8 {
				faulty(fmt.Sprintf("bytes % x", text), pack(text))
			}
		}
		for _, head := range tooLong(k.declared) {
			add(k.clause, fmt.Sprintf("the bytes % x alone for %s", []byte(head), k.in+k.name), func(id uint8) raw {
				b := fields{"id", id, "pakt", pktResponse}
				if k.name != "ver" {
					b = t.root(fields{"id", id, "pakt", pktResponse, "ver", "1.0.0"})
				}
				if k.in == "" {
					return append(b, k.name, head).pack()
				}
				return append(b, "err", fields{"code", errRejected}.without(k.name).with(k.name, head)).pack()
			})
		}
	}
	conns, pending := t.delivered(1)
	t.on("T-3.12")
	conns[0].answer(pending[0], ok)
	conns[0].alive("a RESPONSE to a DELIVER")
	conns[0].sendBytes(response(pending[0].id).pack())
	conns[0].wantClose("a second RESPONSE to a DELIVER", 1002)
	for batch := range slices.Chunk(cases, maxDevices) {
		t.clause = ""
		conns, pending := t.delivered(len(batch))
		for i, tt := range batch {
			conns[i].sendBytes(tt.b(pending[i].id))
		}
		for i, tt := range batch {
			t.on(tt.clause)
			conns[i].wantClose("a RESPONSE with "+tt.what, 1002)
			conns[i].hang()
		}
	}
}

// maxDevices is how many a user may have.
const maxDevices = 32

// responseKeys are those of a client's RESPONSE; one without a type has no value but nil there.
var responseKeys = []struct {
	in string // the map that it is in, where not the root
	key
	clause string
}{
	{key: key{name: "ver", declared: "str8"}, clause: "T-3.8"},
	{key: key{name: "reqt"}, clause: "T-3.8"},
	{key: key{name: "body"}, clause: "T-3.8"},
	{in: "err.", key: key{name: "code", declared: "enum"}, clause: "T-6.4"},
	{in: "err.", key: key{name: "msg", declared: "str8", optional: true}, clause: "T-6.4"},
	{in: "err.", key: key{name: "wait", declared: "uint32", optional: true}, clause: "T-6.4"},
}

func checkResponses(t *T) {
	response := func(id uint8) fields { return t.root(fields{"ver", "1.0.0", "id", id, "pakt", pktResponse}) }
	code := func(code int) any {
		if t.s.drafts() {
			return code
		}
		return fields{"code", code}
	}
	cases := []struct {
		clause, what string
		b            func(id uint8) raw
	}{
		{"T-2.6", "a nil reqt and a nil body", func(id uint8) raw { return append(response(id), "reqt", nil, "body", nil).pack() }},
		{"T-2.6", "a nil body beside err", func(id uint8) raw {
			return append(response(id), "body", nil, "err", code(errRejected)).pack()
		}},
		{"T-6.3", "an err of code 0x7f", func(id uint8) raw { return response(id).with("err", code(0x7f)).pack() }},
		{"T-6.3", "an err with msg and wait", func(id uint8) raw {
			return response(id).with("err", fields{"code", errRejected, "msg", "for people", "wait", 1<<32 - 1}).pack()
		}},
		{"T-6.3", "an err in larger markers than necessary", func(id uint8) raw {
			return response(id).with("err", fields{"code", errRejected, "msg", packAs(0xd9, "m"), "wait", packAs(0xce, 1)}.packAs(0xde)).pack()
		}},
	}
	if t.s.drafts() {
		cases = cases[:len(cases)-2] // an err has no parts there
	}
	conns, pending := t.delivered(len(cases))
	for i, tt := range cases {
		t.on(tt.clause)
		conns[i].mu.Lock()
		delete(conns[i].theirs, pending[i].id)
		conns[i].mu.Unlock()
		conns[i].sendBytes(tt.b(pending[i].id))
		conns[i].alive("a RESPONSE with " + tt.what)
	}
	t.clause = ""
	conns, pending = t.delivered(1)
	c, p := conns[0], pending[0]
	if t.inSeed("T-3.141") {
		for _, ver := range []string{"1.0.1", "2.0.0", "0.0.1-x"} {
			c.ver = ver
			c.answer(p, ok)
			c.ver = "1.0.0"
			c.alive("a RESPONSE with ver " + ver)
			c.send(c.user, "after ver "+ver)
			p = c.deliver()
		}
		c = t.again(c)
		p = c.deliver()
		t.check(c, text(p) == "after ver 0.0.1-x", "none of those answered with another ver", text(p))
	}
	t.on("T-3.14")
	for _, id := range allIDs() { // that of the DELIVER in flight is among them
		c.expect(id, reqGetInfo)
		c.sendBytes(c.request(id, reqGetInfo, nil).pack())
		c.want(c.response(id), fmt.Sprintf("GET_INFO with id %d while the DELIVER %d is in flight", id, p.id), ok)
	}
	c.answer(p, ok)
	c.alive("a RESPONSE with an id that this side used too")
}
