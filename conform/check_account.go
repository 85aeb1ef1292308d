package conform

import (
	"fmt"
	"slices"
	"time"
)

func accountScenarios() []scenario {
	return []scenario{
		{name: "register", clauses: []string{"T-2.12", "T-4.11", "T-4.12"}, run: checkRegister},
		{name: "passwords", clauses: []string{"T-4.140"}, run: checkPasswords},
		{name: "unneeded-invitations", clauses: []string{"T-4.141"}, run: checkUnneededInvitations},
		{name: "invitations", clauses: []string{"T-4.16", "T-4.17"}, run: checkInvitations},
		{name: "registration-closed", clauses: []string{"T-4.18"}, run: checkRegistrationClosed},
		{name: "sign-in", clauses: []string{"T-4.19", "T-4.20", "T-4.21", "T-4.22", "T-4.26"}, run: checkSignIn},
		{name: "credentials", clauses: []string{"T-4.23", "T-4.24"}, run: checkCredentials},
		{name: "failed-sign-ins", clauses: []string{"T-3.35", "T-4.53"}, run: checkFailedSignIns},
		{name: "sign-in-times", clauses: []string{"T-4.25"}, run: checkSignInTimes},
		{name: "set-password", clauses: []string{"T-4.38", "T-4.39", "T-4.40", "T-4.41", "T-4.144"}, run: checkSetPassword},
		{name: "delete-account", clauses: []string{"T-4.46", "T-4.47", "T-4.48", "T-4.49", "T-4.101"}, run: checkDeleteAccount},
		{name: "set-key", clauses: []string{"T-4.51", "T-4.52"}, run: checkSetKey},
	}
}

func checkRegister(t *T) {
	c := t.greeted()
	t.on("T-4.12")
	for _, n := range []int{0, 1, 7} {
		c.try(reqRegister, t.registration(t.name(), letters(n)), fmt.Sprintf("pass of %d bytes", n), errPasswordInvalid)
	}
	t.on("T-2.12")
	c.try(reqRegister, t.registration(t.name(), letters(256)), "pass of 256 bytes, which is no str8", errMalformed)
	for _, n := range []int{8, 255} {
		u := &user{name: t.name(), pass: letters(n)}
		t.on("T-4.12")
		p := c.try(reqRegister, t.registration(u.name, u.pass), fmt.Sprintf("pass of %d bytes", n), ok)
		if p.code != ok {
			continue
		}
		t.users = append(t.users, u)
		t.on("T-4.11")
		if !p.body.isNil() {
			t.wrong(c, "no body", "a body")
		}
		one := t.greeted()
		one.try(reqSignIn, fields{"user", u.name, "pass", u.pass}, "the new account", ok)
	}
}

// checkPasswords signs in with passwords that a mapping would make the right one.
func checkPasswords(t *T) {
	u := &user{name: t.name(), pass: "Pa\u00dfw\u00f6rt \uff11 "}
	c := t.greeted()
	c.wantOK(c.exchange(reqRegister, t.registration(u.name, u.pass)))
	t.users = append(t.users, u)
	t.on("T-4.140")
	for _, pass := range []string{
		"pa\u00dfw\u00f6rt \uff11 ", "Pa\u00dfwo\u0308rt \uff11 ", "Passw\u00f6rt \uff11 ", "Pa\u00dfw\u00f6rt 1 ", "Pa\u00dfw\u00f6rt \uff11", "Pa\u00dfw\u00f6rt\u00a0\uff11 ",
	} {
		c.try(reqSignIn, fields{"user", u.name, "pass", pass}, fmt.Sprintf("pass %+q for %+q", pass, u.pass), errCredentials)
	}
	c.try(reqSignIn, fields{"user", u.name, "pass", u.pass}, "the same bytes", ok)
}

// checkUnneededInvitations gives invitations where registration is open.
func checkUnneededInvitations(t *T) {
	if t.s.registration != 0 {
		t.skip("the node's registration is not open")
	}
	c := t.greeted()
	t.on("T-4.141")
	c.try(reqRegister, fields{"user", t.name(), "pass", "long enough", "inv", ""}, "an empty inv", errInviteInvalid)
	for _, inv := range []string{"x", letters(64)} {
		u := &user{name: t.name(), pass: "correct horse"}
		if c.try(reqRegister, fields{"user", u.name, "pass", u.pass, "inv", inv}, fmt.Sprintf("an inv of %d bytes, which is none", len(inv)), ok).code == ok {
			t.users = append(t.users, u)
		}
	}
}

func checkInvitations(t *T) {
	if t.s.registration != 1 {
		t.skip("the node does not register by invitation")
	}
	c := t.greeted()
	t.on("T-4.16")
	for _, body := range []fields{{}, {"inv", ""}, {"inv", "unknown"}, {"inv", letters(64)}} {
		c.try(reqRegister, append(fields{"user", "a b", "pass", "short"}, body...), "no good invitation", errInviteInvalid)
	}
	t.on("T-4.17")
	inv := t.invite()
	for _, body := range []fields{{"user", "a b", "pass", "long enough"}, {"user", t.name(), "pass", "short"}} {
		c.try(reqRegister, append(body, "inv", inv), "an invitation and another fault", errNameInvalid, errPasswordInvalid)
	}
	u := &user{name: t.name(), pass: "correct horse"}
	if c.try(reqRegister, fields{"user", u.name, "pass", u.pass, "inv", inv}, "an invitation that failures left", ok).code != ok {
		return
	}
	t.users = append(t.users, u)
	t.on("T-4.16")
	c.try(reqRegister, fields{"user", t.name(), "pass", u.pass, "inv", inv}, "a used invitation", errInviteInvalid)
}

func checkRegistrationClosed(t *T) {
	if t.s.registration != 2 {
		t.skip("the node's registration is not closed")
	}
	t.on("T-4.18")
	c := t.greeted()
	for _, body := range []fields{{"user", t.name(), "pass", "long enough"}, {"user", "a b", "pass", "", "inv", letters(65)}} {
		c.try(reqRegister, body, "closed registration", errRegistrationClosed)
	}
}

func checkSignIn(t *T) {
	u := t.newUser()
	t.on("T-4.19")
	c := t.greeted()
	p := c.signIn(u, "dev", "one")
	if got, want := p.body.get("addr").str(), u.name+"@"+t.s.node; got != want {
		t.wrong(c, "addr "+want, got)
	}
	if c.tok == nil {
		t.fatal(c, "a tok after SIGN_IN by password", "none")
	}
	t.on("T-4.20")
	again := t.greeted()
	p = again.exchange(reqSignIn, fields{"user", u.name, "dev", "one", "tok", bin(c.tok)})
	again.want(p, "SIGN_IN by token", ok)
	t.on("T-4.19")
	t.check(again, p.body.get("tok") == nil, "no tok after SIGN_IN by token", "one")
	t.on("T-4.20")
	for _, body := range []fields{{}, {"dev", "two"}, {"dev", "One"}} {
		other := t.greeted()
		other.try(reqSignIn, append(fields{"user", u.name, "tok", bin(c.tok)}, body...), "another device's token", errCredentials)
	}
	t.on("T-4.21")
	newer := t.signIn(u, "dev", "one")
	old := t.greeted()
	old.try(reqSignIn, fields{"user", u.name, "dev", "one", "tok", bin(c.tok)}, "a token that was replaced", errCredentials)
	old.try(reqSignIn, fields{"user", u.name, "dev", "one", "tok", bin(newer.tok)}, "the token that replaced it", ok)
	t.on("T-4.22")
	c = t.greeted()
	c.try(reqSignIn, fields{"user", u.name, "pass", u.pass, "tok", bin(newer.tok)}, "both pass and tok", errMalformed)
	c.try(reqSignIn, fields{"user", u.name}, "neither pass nor tok", errMalformed)
	t.on("T-4.26")
	for _, dev := range []string{"", letters(65), letters(255)} {
		c.try(reqSignIn, fields{"user", u.name, "pass", u.pass, "dev", dev}, fmt.Sprintf("dev of %d bytes", len(dev)), errMalformed)
	}
	c.try(reqSignIn, fields{"user", u.name, "pass", u.pass, "dev", letters(64)}, "dev of 64 bytes", ok)
	c = t.signIn(u)
	if devices := c.devices(); !slices.Contains(devices, "default") {
		t.wrong(c, "the device default after SIGN_IN without dev", fmt.Sprintf("%q", devices))
	}
}

// devices lists the names of the user's devices.
func (c *conn) devices() []string {
	var names []string
	for _, d := range c.wantOK(c.exchange(reqListDevices, nil)).body.get("devs").list() {
		names = append(names, d.get("dev").str())
	}
	return names
}

func checkCredentials(t *T) {
	u := t.newUser()
	member := t.signIn(u, "dev", "known")
	c := t.greeted()
	t.on("T-4.23")
	for _, tt := range []struct {
		what string
		body fields
	}{
		{"an unknown user", fields{"user", t.name(), "pass", u.pass}},
		{"an unknown user and a token", fields{"user", t.name(), "tok", randomBytes(32)}},
		{"a wrong password", fields{"user", u.name, "pass", "wrong password"}},
		{"a wrong token", fields{"user", u.name, "dev", "known", "tok", randomBytes(32)}},
		{"a wrong token of an unknown device", fields{"user", u.name, "dev", "unknown", "tok", randomBytes(32)}},
	} {
		c.try(reqSignIn, tt.body, tt.what, errCredentials)
	}
	t.on("T-4.24")
	for _, tt := range []struct {
		what string
		body fields
	}{
		{"an empty user", fields{"user", "", "pass", u.pass}},
		{"a user of 65 bytes", fields{"user", letters(65), "pass", u.pass}},
		{"a user of 255 bytes", fields{"user", letters(255), "pass", u.pass}},
		{"a user that is no name", fields{"user", "a b@c", "pass", u.pass}},
		{"an empty pass", fields{"user", t.name(), "pass", ""}},
		{"a pass of 7 bytes", fields{"user", t.name(), "pass", "7 bytes"}},
		{"an empty tok", fields{"user", u.name, "dev", "known", "tok", bin{}}},
		{"a tok of 31 bytes", fields{"user", u.name, "dev", "known", "tok", bin(member.tok[:31])}},
		{"a tok of 33 bytes", fields{"user", u.name, "dev", "known", "tok", append(bin(member.tok), 0)}},
		{"a tok of 255 bytes", fields{"user", t.name(), "tok", randomBytes(255)}},
	} {
		c.try(reqSignIn, tt.body, tt.what, errCredentials)
	}
}

const (
	// severalFailures is after how many the suite takes a node for one that makes nobody wait.
	severalFailures = 10
	// longestWait is how long it waits where a node makes one wait.
	longestWait = 5 * time.Second
)

func checkFailedSignIns(t *T) {
	u, other := t.newUser(), t.newUser()
	c := t.greeted()
	fail := func(c *conn, u *user) *packet {
		return c.response(c.ask(reqSignIn, fields{"user", u.name, "pass", "wrong password"}))
	}
	// busy fails until that is BUSY.
	busy := func() *packet {
		for range severalFailures {
			if p := fail(c, u); p.code == errBusy {
				return p
			}
		}
		return nil
	}
	p := busy()
	if p == nil {
		t.skip(fmt.Sprintf("%d failures for one name, and no BUSY: the node's operator has set no limit, or a higher one", severalFailures))
	}
	if p := fail(t.greeted(), other); p.code == errBusy {
		t.skip("SIGN_IN is BUSY for a name without failures too: the node has other reasons")
	}
	t.on("T-3.35")
	c.alive("BUSY")
	wait := time.Duration(p.wait()) * time.Millisecond
	switch {
	case t.s.drafts():
		t.apart["T-4.53"] = seedAlone
		return
	case wait > longestWait:
		t.skip(fmt.Sprintf("after so many failures SIGN_IN is BUSY with a wait of %v, and no longer one was waited for", wait))
	}
	t.on("T-4.53")
	if wait == 0 {
		t.fatal(c, "BUSY with `wait` after several failures", p.String())
	}
	t.pause(wait)
	p = busy()
	if p == nil {
		t.fatal(c, "BUSY again after further failures", fmt.Sprintf("%d failures, and no BUSY", severalFailures))
	}
	grown := time.Duration(p.wait()) * time.Millisecond
	t.check(c, grown > wait, fmt.Sprintf("BUSY with a `wait` over %v after a further failure", wait), grown.String())
}

// checkSignInTimes has names that are known and names that are not refused in turn. However loaded a machine is, of
// two that take the same time not always the same one is much faster.
func checkSignInTimes(t *T) {
	const (
		names   = 7 // known, each so often that no limit on failures is met
		each    = 3
		pairs   = names * each
		unequal = pairs - 1
		least   = time.Millisecond
	)
	c := t.greeted()
	refused := func(name string, proof fields) time.Duration {
		start := time.Now()
		p := c.response(c.ask(reqSignIn, append(fields{"user", name}, proof...)))
		if p.code == errBusy {
			t.skip("SIGN_IN is BUSY, and no time was compared")
		}
		return time.Since(start)
	}
	for what, proof := range map[string]fields{"password": {"pass", "wrong password"}, "token": {"tok", randomBytes(32)}} {
		t.clause = ""
		var known []*user
		for range names {
			known = append(known, t.newUser())
		}
		knownFaster, unknownFaster := 0, 0
		for i := range pairs {
			a, b := refused(known[i%names].name, proof), refused(t.name(), proof)
			if b > 2*a+least {
				knownFaster++
			}
			if a > 2*b+least {
				unknownFaster++
			}
		}
		t.on("T-4.25")
		for who, faster := range map[string]int{"known": knownFaster, "unknown": unknownFaster} {
			t.check(c, faster < unequal, fmt.Sprintf("a wrong %s refused as fast for users that are known as for those that are not", what),
				fmt.Sprintf("more than twice as fast for %s users in %d of %d pairs", who, faster, pairs))
		}
	}
}

func checkSetPassword(t *T) {
	u := t.newUser()
	mine := t.signIn(u, "dev", "mine")
	other := t.signIn(u, "dev", "other")
	sender := t.signIn(u, "dev", "sender", "recv", false)
	beside := t.signIn(u, "dev", "mine", "recv", false)
	mine.send(u, "before")
	other.wantTexts("before the change", "before")
	other.quiet("its places written down") // so that the answer has come
	t.on("T-4.41")
	for _, old := range []string{"wrong password", "", letters(255)} {
		mine.try(reqSetPassword, fields{"old", old, "new", "short"}, "a wrong old and a short new", errCredentials)
	}
	for _, n := range []int{0, 7} {
		mine.try(reqSetPassword, fields{"old", u.pass, "new", letters(n)}, fmt.Sprintf("new of %d bytes", n), errPasswordInvalid)
	}
	t.on("T-4.38")
	was := u.pass
	u.next = "another horse"
	if mine.try(reqSetPassword, fields{"old", was, "new", u.next}, "what is right", ok).code != ok {
		return
	}
	u.pass, u.next = u.next, ""
	t.on("T-4.39")
	other.wantClose("SET_PASSWORD on another device", 4002)
	sender.wantClose("SET_PASSWORD on another device", 4002)
	mine.alive("its own SET_PASSWORD")
	t.on("T-4.144")
	beside.alive("SET_PASSWORD on another connection of its device")
	t.on("T-4.39")
	c := t.greeted()
	c.try(reqSignIn, fields{"user", u.name, "dev", "other", "tok", bin(other.tok)}, "another device's token after SET_PASSWORD", errCredentials)
	t.on("T-4.38")
	c.try(reqSignIn, fields{"user", u.name, "dev", "other", "pass", was}, "the old password", errCredentials)
	c.try(reqSignIn, fields{"user", u.name, "dev", "other", "pass", u.pass}, "the new password", ok)
	t.on("T-4.40")
	mine.wantTexts("on the device that stayed", "before")
	mine.send(u, "after")
	c.wantTexts("from where the device had been", "after")
	t.on("T-4.39")
	mine.hang()
	t.greeted().try(reqSignIn, fields{"user", u.name, "dev", "mine", "tok", bin(mine.tok)}, "the token of the device that changed it", ok)
}

func checkDeleteAccount(t *T) {
	u := t.newUser()
	c := t.signIn(u)
	other := t.signIn(u, "dev", "other")
	writer := t.member()
	t.on("T-4.46")
	for _, pass := range []string{"wrong password", "", letters(255)} {
		c.try(reqDeleteAccount, fields{"pass", pass}, fmt.Sprintf("a wrong pass of %d bytes", len(pass)), errCredentials)
	}
	t.on("T-4.47")
	u.leaving = true
	if c.try(reqDeleteAccount, fields{"pass", u.pass}, "the right pass", ok).code != ok {
		return
	}
	u.gone = true
	c.wantClose("DELETE_ACCOUNT", 4002)
	t.check(c, c.answeredFirst(), "DELETE_ACCOUNT's response before the close", "the close before it")
	other.wantClose("DELETE_ACCOUNT on another connection", 4002)
	again := t.greeted()
	again.try(reqSignIn, fields{"user", u.name, "pass", u.pass}, "a deleted account", errCredentials)
	t.on("T-4.101")
	again.try(reqSignIn, fields{"user", u.name, "tok", bin(c.tok)}, "a deleted account's token", errCredentials)
	again.try(reqSignIn, fields{"user", u.name, "dev", "other", "tok", bin(other.tok)}, "the token of a deleted account's other device", errCredentials)
	t.on("T-4.48")
	again.try(reqRegister, t.registration(u.name, u.pass), "the name of a deleted account", errNameTaken)
	t.on("T-4.49")
	writer.wantAnswer("MESSAGE to a deleted account", t.seal(message(u.name, randomBytes(16), nil), recipe{}), errNoSuchUser)
}

func checkSetKey(t *T) {
	c := t.member()
	entity := t.newEntity()
	public := serialized(t, entity.Serialize)
	t.on("T-4.51")
	c.try(reqSetKey, fields{"key", bin(public)}, "a certificate", ok)
	c.try(reqSetKey, fields{"key", nil}, "nil", ok)
	c.try(reqSetKey, fields{"key", make(bin, 8193)}, "key of 8,193 bytes", errTooLarge)
	c.try(reqSetKey, fields{"key", make(bin, 65_535)}, "key of 65,535 bytes", errTooLarge)
	t.on("T-4.52")
	for _, tt := range []struct {
		what string
		key  []byte
	}{
		{"no bytes", nil},
		{"bytes that are no OpenPGP", []byte("no certificate")},
		{"8,192 bytes that are no OpenPGP", make([]byte, 8192)},
		{"a secret key", secretKey(t, entity)},
		{"two certificates", append(slices.Clone(public), t.certificate()...)},
		{"a certificate cut off", public[:len(public)-1]},
		{"a certificate with a literal packet behind it", append(slices.Clone(public), literal([]byte("x"))...)},
		{"an armored certificate", armored(t, public)},
	} {
		c.try(reqSetKey, fields{"key", bin(tt.key)}, tt.what, errMalformed)
	}
}
