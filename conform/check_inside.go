package conform

import (
	"bytes"
	"fmt"
)

func insideScenarios() []scenario {
	return append(sealedKeyScenarios(),
		scenario{name: "inside-message", clauses: []string{"T-5.20", "T-5.21", "T-5.22", "T-5.23", "T-5.24", "T-5.34", "T-6.5"}, run: checkInside},
		scenario{name: "user-key", clauses: []string{"T-5.29", "T-5.30", "T-5.31", "T-5.32"}, run: checkUserKey},
	)
}

func checkInside(t *T) {
	c := t.member()
	name, mid := c.user.name, randomBytes(16)
	body := fields{"to", name, "mid", mid, "msg", bin("text")}
	request := func(body any) fields { return fields{"type", 0, "body", body} }
	try := func(what string, plain raw, want int) { c.wantAnswer(what, t.seal(plain, recipe{}), want) }
	t.on("T-5.20")
	try("unknown keys", append(fields{"more", 1}, request(fields{"to", name, "mid", mid, "msg", bin("unknown keys"), "more", fields{"k", []any{}}})...).pack(), ok)
	c.wantTexts("with unknown keys", "unknown keys")
	t.on("T-5.21")
	for _, tt := range []struct {
		what  string
		plain raw
	}{
		{"no bytes", nil},
		{"nil", raw{0xc0}},
		{"an array", pack([]any{0})},
		{"bytes behind the map", append(request(body).pack(), 0)},
		{"an extension under an unknown key", append(request(body), "more", extensions[0]).pack()},
		{"5 levels", append(request(body), "more", nested(4, true)).pack()},
		{"an empty to", request(body.with("to", "")).pack()},
		{"to that is no name", request(body.with("to", "a b")).pack()},
		{"to with the node's name", request(body.with("to", name+"@"+t.s.node)).pack()},
		{"to of 65 bytes", request(body.with("to", letters(65))).pack()},
		{"mid of 15 bytes", request(body.with("mid", randomBytes(15))).pack()},
		{"mid of 17 bytes", request(body.with("mid", randomBytes(17))).pack()},
	} {
		try(tt.what+" inside the seal", tt.plain, errMalformed)
	}
	t.on("T-5.24")
	c.wantAnswer("msg of 1,990,001 bytes", t.seal(message(name, randomBytes(16), make([]byte, 1_990_001)), recipe{aead: true, chunk: 1 << 16}), errMalformed)
	t.on("T-5.22")
	for _, kind := range []int{2, 0x7f} {
		try(fmt.Sprintf("type %d", kind), fields{"type", kind, "body", fields{}}.pack(), errUnsupported)
	}
	t.on("T-5.23")
	answer, resp := c.hand(t.seal(message(name, randomBytes(16), []byte("last")), recipe{}))
	t.check(c, answer != nil && answerCode(answer) == ok && answer.get("body").isNil(), "an answer with a nil body, or none", fmt.Sprintf("% x", resp))
	unknown := t.s.UserPrefix + "nobody-" + t.s.run
	answer, _ = c.hand(t.seal(message(unknown, randomBytes(16), nil), recipe{}))
	t.check(c, answerCode(answer) == errNoSuchUser, "NO_SUCH_USER for an unknown user", codeName(answerNames, answerCode(answer)))
	t.on("T-5.34")
	for _, f := range (shape{{key: "err", declared: "map", most: 3}}).faults("T-5.34", "answer", answer) {
		t.wrong(c, "an answer of err alone", f.what)
	}
	for _, f := range answer.faults(1) {
		t.wrong(c, "an answer as section 2 wants it", f.what)
	}
	t.on("T-6.5")
	for _, f := range errorShape.faults("T-6.5", "err", answer.get("err")) {
		t.wrong(c, "an err as declared", f.what)
	}
	_, known := answerNames[answerCode(answer)]
	t.check(c, known, "a CNNodeForwardError", fmt.Sprint(answerCode(answer)))
	c.wantTexts("and nothing else", "last")
}

// key asks for a user's key and opens the answer.
func (c *conn) key(what string, plain raw, seal bin) *value {
	_, resp := c.hand(c.t.seal(plain, recipe{}))
	answer, err := openAnswer(seal, resp)
	if err != nil {
		c.t.wrong(c, "a sealed answer for "+what, err.Error())
	}
	return answer
}

func checkUserKey(t *T) {
	c, other := t.member(), t.member()
	certificate := t.certificate()
	t.on("T-5.29")
	seal := randomBytes(32)
	answer := c.key("a user without a key", userKey(other.user.name, seal), seal)
	t.on("T-5.30")
	none := answer.get("body").get("key")
	t.check(c, none != nil && none.isNil() && answerCode(answer) == ok, "a nil key", "something else")
	other.wantOK(other.exchange(reqSetKey, fields{"key", bin(certificate)}))
	seal = randomBytes(32)
	answer = c.key("a user with a key", userKey(other.user.name, seal), seal)
	t.check(c, bytes.Equal(answer.get("body").get("key").bytes(), certificate), "the key that was set", "another one")
	other.wantOK(other.exchange(reqSetKey, fields{"key", nil}))
	seal = randomBytes(32)
	answer = c.key("a user whose key was removed", userKey(other.user.name, seal), seal)
	none = answer.get("body").get("key")
	t.check(c, none != nil && none.isNil(), "a nil key", "something else")
	t.on("T-5.29")
	seal = randomBytes(32)
	sealed := t.seal(userKey(other.user.name, seal), recipe{})
	_, before := c.hand(sealed)
	other.wantOK(other.exchange(reqSetKey, fields{"key", bin(certificate)}))
	_, behind := c.hand(sealed)
	t.check(c, !bytes.Equal(before[:min(12, len(before))], behind[:min(12, len(behind))]),
		"another nonce in the answer to the same request, once another key is set", fmt.Sprintf("% x in both", before[:min(12, len(before))]))
	t.on("T-5.31")
	request := func(body fields) raw { return fields{"type", 1, "body", body}.pack() }
	for _, tt := range []struct {
		what string
		body fields
		want int
	}{
		{"an unknown user", fields{"user", t.s.UserPrefix + "nobody-" + t.s.run}, errNoSuchUser},
		{"a user that is no name", fields{"user", "a b"}, errMalformed},
		{"an empty user", fields{"user", ""}, errMalformed},
		{"a number for user", fields{"user", 5}, errMalformed},
		{"no user", fields{}, errMalformed},
	} {
		seal := randomBytes(32)
		answer := c.key(tt.what, request(append(tt.body, "seal", seal)), seal)
		t.check(c, answerCode(answer) == tt.want, codeName(answerNames, tt.want)+" for "+tt.what, codeName(answerNames, answerCode(answer)))
	}
	for _, body := range []fields{{"user", other.user.name}, {"user", other.user.name, "seal", randomBytes(31)}, {"user", other.user.name, "seal", "text"}} {
		c.wantAnswer("GET_USER_KEY without a seal of 32 bytes", t.seal(request(body), recipe{}), errMalformed)
	}
	t.on("T-5.32")
	for _, user := range []string{other.user.name, t.s.UserPrefix + "nobody-" + t.s.run} {
		c.want(c.exchange(reqForward, t.forward(false, t.seal(userKey(user, randomBytes(32)), recipe{}))), "GET_USER_KEY with wait false", ok)
	}
	c.send(c.user, "fence")
	c.wantTexts("and no RETURN", "fence")
	c.quiet("no RETURN for GET_USER_KEY")
}
