package conform

import (
	"fmt"
	"slices"
)

// Who may make a request.
const (
	first      = iota // everybody, first and once
	beforehand        // who has not signed in
	anybody           // who has made the HANDSHAKE
	members           // who has signed in
)

// mayMake is the column of section 2's table that says who may make a request. All others are UNSUPPORTED.
var mayMake = map[int]int{
	reqHandshake: first, reqRegister: beforehand, reqSignIn: beforehand, reqGetInfo: anybody,
	reqForward: members, reqGetNodeKey: members, reqSetPassword: members, reqListDevices: members, reqRemoveDevice: members,
	reqDeleteAccount: members, reqSetKey: members,
}

// A state is how far a connection has come.
type state struct {
	what     string
	greeted  bool
	signedIn bool
	reach    func(t *T, u *user) *conn
}

var states = []state{
	{what: "before HANDSHAKE", reach: func(t *T, _ *user) *conn {
		return t.dialAs(false) // as long as no HANDSHAKE was taken
	}},
	{what: "after a HANDSHAKE that failed", reach: func(t *T, _ *user) *conn {
		c := t.dialAs(false)
		c.try(reqHandshake, fields{"wrong", 1}, "a wrong body", errMalformed)
		return c
	}},
	{what: "after HANDSHAKE", greeted: true, reach: func(t *T, _ *user) *conn { return t.greeted() }},
	{what: "after REGISTER", greeted: true, reach: func(t *T, _ *user) *conn {
		c := t.greeted()
		t.registerOn(c)
		return c
	}},
	{what: "after a SIGN_IN that failed", greeted: true, reach: func(t *T, u *user) *conn {
		c := t.greeted()
		c.try(reqSignIn, fields{"user", u.name, "pass", "not the password"}, "a wrong password", errCredentials)
		return c
	}},
	{what: "signed in", greeted: true, signedIn: true, reach: func(t *T, u *user) *conn { return t.signIn(u) }},
	{what: "signed in with recv false", greeted: true, signedIn: true, reach: func(t *T, u *user) *conn {
		return t.signIn(u, "dev", "sender", "recv", false)
	}},
}

// refusal returns how the state of a connection has a request answered, by which clause; ok where it is allowed.
func (s state) refusal(code int) (clause string, want int) {
	who, known := mayMake[code]
	switch {
	case !s.greeted && code == reqHandshake:
		return "T-3.143", ok
	case !s.greeted:
		return "T-3.25", errHandshakeRequired
	case who == first && known:
		return "T-3.26", errHandshakeDone
	case !known && s.signedIn:
		return "T-3.28", errUnsupported
	case !known:
		return "T-2.28", errUnsupported
	case who == members && !s.signedIn:
		return "T-3.29", errSignInRequired
	case who == beforehand && s.signedIn:
		return "T-3.30", errSignedIn
	}
	return "T-3.143", ok
}

// checkStates makes every request there is in every state, with no body and with one that no request has. The
// second shows that a request is allowed, and does nothing.
func checkStates(t *T) {
	u := t.newUser()
	for _, s := range states {
		t.clause = ""
		c := s.reach(t, u)
		type one struct {
			code int
			body any
			id   uint8
		}
		var all []one
		for code := range 0x80 {
			if _, want := s.refusal(code); want != ok {
				all = append(all, one{code: code})
			}
			all = append(all, one{code: code, body: fields{"no such key", 1}})
		}
		for batch := range slices.Chunk(all, 128) { // in one go, as before HANDSHAKE there is not much time
			for i, r := range batch {
				batch[i].id = c.ask(r.code, r.body)
			}
			for _, r := range batch {
				clause, want := s.refusal(r.code)
				if want == ok {
					want = errMalformed
				}
				t.on(clause)
				c.want(c.response(r.id), fmt.Sprintf("request 0x%02x, %v as body, %s", r.code, r.body, s.what), want, errBusy)
			}
		}
		t.on("T-3.32")
		if !s.greeted {
			c.speak(t.s.drafts())
			c.want(c.exchange(reqHandshake, nil), "HANDSHAKE after many errors", ok)
		}
		c.alive("many errors " + s.what)
	}
}

// checkForm sends bodies that are wrong in their form, and in their content besides.
func checkForm(t *T) {
	t.on("T-3.142")
	fresh := t.greeted()
	long := letters(255)
	for _, tt := range []struct {
		what string
		body fields
	}{
		{"no name and no pass", fields{"user", "a b"}},
		{"no name and a number for pass", fields{"user", "a b", "pass", 1}},
		{"an unknown key and a short pass", fields{"user", "a b", "pass", "short", "more", 1}},
		{"a number for user and a long inv", fields{"user", 1, "pass", "long enough", "inv", long}},
	} {
		fresh.try(reqRegister, tt.body, tt.what, errMalformed)
	}
	for _, tt := range []struct {
		what string
		body fields
	}{
		{"no name and neither pass nor tok", fields{"user", "a b"}},
		{"an empty tok and a number for recv", fields{"user", t.name(), "tok", bin{}, "recv", 1}},
		{"an unknown user and an unknown key", fields{"user", t.name(), "pass", "long enough", "more", 1}},
	} {
		fresh.try(reqSignIn, tt.body, tt.what, errMalformed)
	}
	c := t.member()
	for _, tt := range []struct {
		what string
		code int
		body fields
	}{
		{"no node's name and no wait", reqForward, fields{"node", "x", "msg", bin("x")}},
		{"2,000,001 bytes of msg and no node", reqForward, fields{"wait", true, "msg", make(bin, 2_000_001)}},
		{"2,000,001 bytes of msg and a number for node", reqForward, fields{"node", 1, "wait", true, "msg", make(bin, 2_000_001)}},
		{"no node's name and a number for new", reqGetNodeKey, fields{"node", "x", "new", 1}},
		{"a wrong old and no new", reqSetPassword, fields{"old", "a wrong one"}},
		{"a wrong old and an unknown key", reqSetPassword, fields{"old", "a wrong one", "new", "short", "more", 1}},
		{"a wrong pass and an unknown key", reqDeleteAccount, fields{"pass", "a wrong one", "more", 1}},
		{"a long key and an unknown one", reqSetKey, fields{"key", make(bin, 8193), "more", 1}},
	} {
		c.try(tt.code, tt.body, tt.what, errMalformed)
	}
}
