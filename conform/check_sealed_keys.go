package conform

import (
	"fmt"
	"slices"
	"strings"
)

// sealedNames are those of what is sealed for a node (section 5.3).
var sealedNames = map[int]string{sealedMessage: "MESSAGE", sealedGetUserKey: "GET_USER_KEY"}

// sealedKeys are the bodies of sealed requests.
var sealedKeys = map[int][]key{
	sealedMessage:    {{name: "to", declared: "str8"}, {name: "mid", declared: "bin8"}, {name: "msg", declared: "bin32"}},
	sealedGetUserKey: {{name: "user", declared: "str8"}, {name: "seal", declared: "bin8"}},
}

// sealedRoot are the keys of every sealed request.
var sealedRoot = []key{{name: "type", declared: "enum"}, {name: "body", declared: "map"}}

func sealedKeyScenarios() []scenario {
	var all []scenario
	for _, kind := range []int{sealedMessage, sealedGetUserKey} {
		all = append(all, scenario{
			name: "inside-keys-" + strings.ToLower(strings.ReplaceAll(sealedNames[kind], "_", "-")), clauses: []string{"T-5.21", "T-5.140"},
			run: func(t *T) { checkSealedKeys(t, kind) },
		})
	}
	return all
}

// sealedCode is how a sealed request was answered, whether the answer is sealed, as that to GET_USER_KEY is once
// its `seal` could be read, or not. -1 stands for bytes that are neither.
func (c *conn) sealedCode(plain raw, seal bin) (code int, shown string) {
	answer, resp := c.hand(c.t.seal(plain, recipe{}))
	if answer == nil {
		var err error
		if answer, err = openAnswer(seal, resp); err != nil {
			return noCode, fmt.Sprintf("% x", resp[:min(len(resp), 32)])
		}
	}
	return answerCode(answer), codeName(answerNames, answerCode(answer))
}

// checkSealedKeys sweeps the keys of a sealed request.
func checkSealedKeys(t *T, kind int) {
	c, to := t.member(), t.newUser()
	seal := randomBytes(32)
	body := map[int]fields{
		sealedMessage:    {"to", to.name, "mid", randomBytes(16), "msg", bin("text")},
		sealedGetUserKey: {"user", to.name, "seal", seal},
	}[kind]
	request := func(body any) fields { return fields{"type", kind, "body", body} }
	try := func(what string, plain raw, want int) {
		if code, shown := c.sealedCode(plain, seal); code != want {
			t.wrong(c, fmt.Sprintf("an answer %s for %s with %s", codeName(answerNames, want), sealedNames[kind], what), shown)
		}
	}
	t.on("T-5.140")
	try("its root in a map 16", request(body).packAs(0xde), ok)
	try("its body in a map 16", request(body.packAs(0xde)).pack(), ok)
	try("a key in marker d9", request(append(body.without("mid").without("seal"), packAs(0xd9, body[2].(string)), body[3])).pack(), ok)
	for _, k := range sealedKeys[kind] {
		for _, marker := range accepted[k.declared] {
			try(fmt.Sprintf("%s in marker %02x", k.name, marker), request(body.with(k.name, packAs(marker, body.get(k.name)))).pack(), ok)
		}
	}
	t.on("T-5.21")
	whole := request(body).pack()
	for cut := range whole {
		try(fmt.Sprintf("%d of its %d bytes", cut, len(whole)), whole[:cut], errMalformed)
	}
	keys := append(slices.Clone(sealedRoot), sealedKeys[kind]...)
	for i, k := range keys {
		in := body
		enclose := func(f fields) raw { return request(f).pack() }
		if i < len(sealedRoot) {
			in = request(body)
			enclose = fields.pack
		}
		t.sweep(k, in, func(what string, f fields) { try(what, enclose(f), errMalformed) })
	}
	try("its root in a map 32", request(body).packAs(0xdf), errMalformed)
	try("its body in a map 32", request(body.packAs(0xdf)).pack(), errMalformed)
	for _, name := range []raw{packAs(0xda, "more"), packAs(0xdb, "more"), pack(bin("more")), pack(5), pack(nil), pack([]any{}), {0xff}} {
		try(fmt.Sprintf("a key in bytes % x", []byte(name)), request(append(slices.Clone(body), name, nil)).pack(), errMalformed)
		try(fmt.Sprintf("a key in bytes % x in its root", []byte(name)), append(request(body), name, nil).pack(), errMalformed)
	}
}

// sweep makes of a well-formed map all that a key in it must not be.
func (t *T) sweep(k key, in fields, malformed func(what string, f fields)) {
	good := in.get(k.name)
	for _, marker := range wider[k.declared] {
		malformed(fmt.Sprintf("%s in marker %02x", k.name, marker), in.with(k.name, packAs(marker, good)))
	}
	for _, other := range others {
		if other.kind != kindOf(k.declared) {
			malformed(other.name+" for "+k.name, in.with(k.name, other.value))
		}
	}
	for _, extension := range extensions {
		malformed(fmt.Sprintf("an extension % x for %s", extension[:2], k.name), in.with(k.name, extension))
	}
	malformed("the marker c1 for "+k.name, in.with(k.name, unused))
	if kindOf(k.declared) == kindStr {
		for _, text := range noUTF8 {
			malformed(fmt.Sprintf("%s of bytes % x", k.name, text), in.with(k.name, text))
		}
	}
	for _, head := range tooLong(k.declared) {
		malformed(fmt.Sprintf("%s of the bytes % x alone", k.name, []byte(head)), in.without(k.name).with(k.name, head))
	}
	malformed("no "+k.name, in.without(k.name))
	malformed(k.name+" twice", append(slices.Clone(in), k.name, good))
}
