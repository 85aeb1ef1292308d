package conform

import (
	"fmt"
	"slices"
	"strings"
)

// A key is a field of a request's body as section 4 declares it.
type key struct {
	name     string
	declared string // its type
	optional bool
}

// requestKeys are the bodies of requests to the node.
var requestKeys = map[int][]key{
	reqHandshake:     {{name: "ver", declared: "str8", optional: true}},
	reqRegister:      {{name: "user", declared: "str8"}, {name: "pass", declared: "str8"}, {name: "inv", declared: "str8", optional: true}},
	reqSignIn:        {{name: "user", declared: "str8"}, {name: "dev", declared: "str8", optional: true}, {name: "pass", declared: "str8"}, {name: "recv", declared: "bool", optional: true}},
	byToken:          {{name: "user", declared: "str8"}, {name: "dev", declared: "str8", optional: true}, {name: "tok", declared: "bin8"}, {name: "recv", declared: "bool", optional: true}},
	reqForward:       {{name: "node", declared: "str16"}, {name: "wait", declared: "bool"}, {name: "msg", declared: "bin32"}, {name: "ref", declared: "bin8", optional: true}},
	reqGetNodeKey:    {{name: "node", declared: "str16"}, {name: "new", declared: "bool", optional: true}},
	reqSetPassword:   {{name: "old", declared: "str8"}, {name: "new", declared: "str8"}},
	reqRemoveDevice:  {{name: "dev", declared: "str8"}},
	reqDeleteAccount: {{name: "pass", declared: "str8"}},
	reqSetKey:        {{name: "key", declared: "bin16"}},
}

// accepted and wider are, for a type, the markers of its family with a length or number behind them that a
// receiver takes, and those that it must not take.
var accepted = map[string][]byte{
	"str8": {0xd9}, "str16": {0xd9, 0xda}, "bin8": {0xc4}, "bin16": {0xc4, 0xc5}, "bin32": {0xc4, 0xc5, 0xc6}, "uint32": {0xcc, 0xcd, 0xce},
}

var wider = map[string][]byte{
	"str8": {0xda, 0xdb}, "str16": {0xdb}, "bin8": {0xc5, 0xc6}, "bin16": {0xc6}, "uint8": {0xcd, 0xce, 0xcf}, "uint16": {0xce, 0xcf}, "uint32": {0xcf}, "enum": {0xcc, 0xcd, 0xce, 0xcf},
}

// An other is a value in the place of one of another type.
type other struct {
	kind  kind
	name  string
	value raw
}

// others are a value of each type, by kind.
var others = []other{
	{kindNil, "nil", pack(nil)},
	{kindBool, "a bool", pack(true)},
	{kindUint, "a number", pack(1)},
	{kindInt, "a negative number", raw{0xff}},
	{kindInt, "an int 64", head(0xd3, 1)},
	{kindFloat, "a float 64", raw{0xcb, 0, 0, 0, 0, 0, 0, 0, 0}},
	{kindFloat, "a float 32", raw{0xca, 0, 0, 0, 0}},
	{kindStr, "a string", pack("words")},
	{kindBin, "a binary", pack(bin("0123456789abcdef"))},
	{kindArray, "an array", pack([]any{"words"})},
	{kindMap, "a map", fields{}.pack()},
}

func kindOf(declared string) kind {
	switch {
	case strings.HasPrefix(declared, "str"):
		return kindStr
	case strings.HasPrefix(declared, "bin"):
		return kindBin
	case declared == "bool":
		return kindBool
	case declared == "map":
		return kindMap
	case declared == "array":
		return kindArray
	}
	return kindUint
}

// A sample is a body that is well-formed, and how it is answered.
type sample struct {
	make func() fields
	want []int
	once bool // a connection takes one
}

// byToken is SIGN_IN with a token in the place of the password, beside the requests' codes.
const byToken = 0x100 + reqSignIn

func keyScenarios() []scenario {
	var all []scenario
	for _, code := range append(slices.Clone(requests), byToken) {
		if requestKeys[code] == nil {
			continue
		}
		clauses := []string{"T-2.12", "T-2.13", "T-2.14", "T-2.17", "T-2.19", "T-2.20"}
		if code != reqSetKey {
			clauses = append(clauses, "T-2.11", "T-2.15")
		}
		if slices.ContainsFunc(requestKeys[code], func(k key) bool { return k.optional }) {
			clauses = append(clauses, "T-2.21")
		}
		if slices.ContainsFunc(requestKeys[code], func(k key) bool { return !k.optional }) {
			clauses = append(clauses, "T-2.16")
		}
		all = append(all, scenario{
			name: "keys-" + strings.ToLower(strings.NewReplacer("_", "-", " ", "-").Replace(requestNames[code])), clauses: clauses,
			run: func(t *T) { checkKeys(t, code) },
		})
	}
	return all
}

// sample returns a connection on which a request is allowed, and a body for it. Where
// there is a choice, it is one that does nothing.
func (t *T) sample(code int) (*conn, sample) {
	switch code {
	case reqHandshake:
		return t.dial(), sample{make: func() fields { return fields{"ver", "1.0.0"} }, want: []int{ok}, once: true}
	case reqRegister:
		return t.greeted(), sample{make: func() fields {
			return fields{"user", "no@name", "pass", "long enough", "inv", "invitation"}
		}, want: []int{errNameInvalid, errInviteInvalid, errRegistrationClosed}}
	case reqSignIn:
		return t.greeted(), sample{make: func() fields {
			return fields{"user", t.name(), "dev", "device", "pass", "long enough", "recv", false}
		}, want: []int{errCredentials}}
	case byToken:
		return t.greeted(), sample{make: func() fields {
			return fields{"user", t.name(), "dev", "device", "tok", randomBytes(32), "recv", false}
		}, want: []int{errCredentials}}
	}
	c := t.member()
	body := map[int]fields{
		reqForward:       {"node", "x", "wait", true, "msg", bin("sealed"), "ref", bin("0123456789abcdef")},
		reqGetNodeKey:    {"node", "x", "new", false},
		reqSetPassword:   {"old", c.user.pass, "new", c.user.pass},
		reqRemoveDevice:  {"dev", "unknown"},
		reqDeleteAccount: {"pass", "wrong"},
		reqSetKey:        {"key", bin("no certificate")},
	}[code]
	want := map[int]int{
		reqForward: errNodeInvalid, reqGetNodeKey: errNodeInvalid, reqSetPassword: ok, reqRemoveDevice: ok,
		reqDeleteAccount: errCredentials, reqSetKey: errMalformed,
	}[code]
	return c, sample{make: func() fields { return append(fields(nil), body...) }, want: []int{want}}
}

func checkKeys(t *T, code int) {
	if code == reqHandshake && t.s.drafts() {
		t.skip(seedAlone)
	}
	c, s := t.sample(code)
	name := requestNames[code]
	tryBytes := func(clause, what string, make func(id uint8) raw, want ...int) *packet {
		t.on(clause)
		if s.once { // and waits no longer than 3 s for it
			c.hang()
			c = t.dial()
		}
		p := c.exchangeBytes(code&0xff, make)
		c.want(p, name+" with "+what, want...)
		return p
	}
	try := func(clause, what string, body any, want ...int) *packet {
		return tryBytes(clause, what, func(id uint8) raw { return c.request(id, code&0xff, body).pack() }, want...)
	}
	malformed := func(clause, k, what string, body any) {
		p := try(clause, what, body, errMalformed)
		if p.code != errMalformed || !t.inSeed("T-2.14") {
			return
		}
		if msg := p.root.get("err").get("msg").str(); k != "" && !strings.Contains(msg, k) {
			t.wrong(c, fmt.Sprintf("err.msg that says that %s is wrong", k), p.String())
		}
	}
	for _, k := range requestKeys[code] {
		good := s.make().get(k.name)
		if code != reqSetKey { // a key that is none is MALFORMED in itself
			for _, marker := range accepted[k.declared] {
				try("T-2.11", fmt.Sprintf("%s in marker %02x", k.name, marker), s.make().with(k.name, packAs(marker, good)), s.want...)
			}
		}
		for _, marker := range wider[k.declared] {
			malformed("T-2.12", k.name, fmt.Sprintf("%s in marker %02x", k.name, marker), s.make().with(k.name, packAs(marker, good)))
		}
		for _, other := range others {
			switch {
			case other.kind == kindOf(k.declared), code == reqSetKey && other.kind == kindNil:
			case other.kind == kindNil && k.optional:
				malformed("T-2.21", k.name, "nil for "+k.name, s.make().with(k.name, other.value))
			default:
				malformed("T-2.13", k.name, other.name+" for "+k.name, s.make().with(k.name, other.value))
			}
		}
		for _, extension := range extensions {
			malformed("T-2.19", k.name, fmt.Sprintf("an extension % x for %s", extension[:2], k.name), s.make().with(k.name, extension))
		}
		malformed("T-2.19", "", "the marker c1 for "+k.name, s.make().with(k.name, unused))
		if kindOf(k.declared) == kindStr {
			for _, text := range noUTF8 {
				malformed("T-2.15", k.name, fmt.Sprintf("%s of bytes % x", k.name, text), s.make().with(k.name, text))
			}
		}
		if !k.optional {
			malformed("T-2.16", k.name, "no "+k.name, s.make().without(k.name))
		}
		malformed("T-2.17", k.name, k.name+" twice", append(s.make(), k.name, good))
		last := append(s.make().without(k.name), k.name, good)
		for cut := 1; cut <= len(pack(good)); cut++ {
			tryBytes("T-2.20", fmt.Sprintf("%s without its last %d bytes", k.name, cut), func(id uint8) raw {
				b := c.readable(id, code&0xff, last)
				return b[:len(b)-cut]
			}, errMalformed)
		}
		for _, head := range tooLong(k.declared) {
			tryBytes("T-2.20", fmt.Sprintf("%s of the bytes % x alone", k.name, []byte(head)), func(id uint8) raw {
				return c.readable(id, code&0xff, last.with(k.name, head))
			}, errMalformed)
		}
	}
	if slices.ContainsFunc(requestKeys[code], func(k key) bool { return !k.optional }) {
		malformed("T-2.16", "", "an empty body", fields{})
		malformed("T-2.16", "", "no body", nil)
	}
}

// readable is a request whose id and pakt can be read before any cut, and that ends with its body.
func (c *conn) readable(id uint8, code int, body fields) raw {
	return c.root(fields{"id", id, "pakt", pktRequest, "ver", c.ver, "reqt", code, "body", body}).pack()
}

// noUTF8 are bytes that are no UTF-8.
var noUTF8 = []string{"\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"}

// tooLong are heads of a type's family, wider ones too, that declare more bytes than follow; of numbers, ones cut off.
func tooLong(declared string) (heads []raw) {
	for _, marker := range slices.Concat(accepted[declared], wider[declared]) {
		h := head(marker, uint64(1)<<(8*widths[marker])-1)
		if kindOf(declared) == kindUint {
			h = h[:len(h)-1]
		}
		heads = append(heads, h)
	}
	if kindOf(declared) == kindStr {
		heads = append(heads, raw{0xbf}, raw{0xa1})
	}
	return heads
}

// unused is the marker that stands for nothing.
var unused = raw{0xc1}

var extensions = []raw{
	{0xd4, 1, 0},
	{0xd5, 1, 0, 0},
	{0xd6, 0xff, 0, 0, 0, 0},
	append(raw{0xd7, 1}, make(raw, 8)...), append(raw{0xd8, 1}, make(raw, 16)...),
	{0xc7, 1, 1, 0},
	{0xc8, 0, 1, 1, 0},
	{0xc9, 0, 0, 0, 1, 1, 0},
}
