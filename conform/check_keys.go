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

// accepted and wider are, for a type, the markers of its family that a receiver takes, and
// those that it must not take.
var accepted = map[string][]byte{
	"str8": {0xd9}, "str16": {0xd9, 0xda}, "bin8": {0xc4}, "bin16": {0xc5}, "bin32": {0xc4, 0xc5, 0xc6},
}

var wider = map[string][]byte{
	"str8": {0xda, 0xdb}, "str16": {0xdb}, "bin8": {0xc5, 0xc6}, "bin16": {0xc6},
}

// others are a value of each type, by kind.
var others = []struct {
	kind  kind
	name  string
	value raw
}{
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
	}
	return kindBool
}

// A sample is a body that is well-formed, and how it is answered.
type sample struct {
	make func() fields
	want []int
}

// byToken is SIGN_IN with a token in the place of the password, beside the requests' codes.
const byToken = 0x100 + reqSignIn

func keyScenarios() []scenario {
	var all []scenario
	for _, code := range append(slices.Clone(requests), byToken) {
		if requestKeys[code] == nil {
			continue
		}
		clauses := []string{"T-2.12", "T-2.13", "T-2.14", "T-2.16", "T-2.17", "T-2.19"}
		if code != reqSetKey {
			clauses = append(clauses, "T-2.11", "T-2.15")
		}
		for _, k := range requestKeys[code] {
			if k.optional {
				clauses = append(clauses, "T-2.21")
				break
			}
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
	case reqRegister:
		return t.greeted(), sample{func() fields {
			return fields{"user", "no@name", "pass", "long enough", "inv", "invitation"}
		}, []int{errNameInvalid, errInviteInvalid, errRegistrationClosed}}
	case reqSignIn:
		return t.greeted(), sample{func() fields {
			return fields{"user", t.name(), "dev", "device", "pass", "long enough", "recv", false}
		}, []int{errCredentials}}
	case byToken:
		return t.greeted(), sample{func() fields {
			return fields{"user", t.name(), "dev", "device", "tok", randomBytes(32), "recv", false}
		}, []int{errCredentials}}
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
	return c, sample{func() fields { return append(fields(nil), body...) }, []int{want}}
}

func checkKeys(t *T, code int) {
	c, s := t.sample(code)
	name := requestNames[code]
	try := func(clause, what string, body fields, want ...int) *packet {
		t.on(clause)
		var sent any
		if body != nil {
			sent = body
		}
		p := c.exchange(code&0xff, sent)
		c.want(p, name+" with "+what, want...)
		return p
	}
	malformed := func(clause, k, what string, body fields) {
		p := try(clause, what, body, errMalformed)
		if p.code != errMalformed {
			return
		}
		if !t.inSeed("T-2.14") {
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
			try("T-2.19", fmt.Sprintf("an extension % x for %s", extension[:2], k.name), s.make().with(k.name, extension), errMalformed)
		}
		if kindOf(k.declared) == kindStr {
			for _, text := range []string{"\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"} {
				try("T-2.15", fmt.Sprintf("%s of bytes % x", k.name, text), s.make().with(k.name, text), errMalformed)
			}
		}
		if !k.optional {
			malformed("T-2.16", k.name, "no "+k.name, s.make().without(k.name))
		}
		twice := append(s.make(), k.name, good)
		try("T-2.17", k.name+" twice", twice, errMalformed)
	}
	malformed("T-2.16", "", "an empty body", fields{})
	malformed("T-2.16", "", "no body", nil)
}

var extensions = []raw{
	{0xd4, 1, 0},
	{0xd5, 1, 0, 0},
	{0xd6, 0xff, 0, 0, 0, 0},
	append(raw{0xd7, 1}, make(raw, 8)...), append(raw{0xd8, 1}, make(raw, 16)...),
	{0xc7, 1, 1, 0},
	{0xc8, 0, 1, 1, 0},
	{0xc9, 0, 0, 0, 1, 1, 0},
}
