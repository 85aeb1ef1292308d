package conform

import "fmt"

func orderScenarios() []scenario {
	return []scenario{
		{name: "order-before-handshake", clauses: []string{"T-3.24", "T-3.25", "T-3.32"}, run: checkBeforeHandshake},
		{name: "order-before-sign-in", clauses: []string{"T-3.26", "T-3.27", "T-3.28", "T-3.29", "T-3.31", "T-3.32", "T-3.33", "T-3.200"}, run: checkBeforeSignIn},
		{name: "order-signed-in", clauses: []string{"T-3.26", "T-3.27", "T-3.30", "T-3.34", "T-3.32"}, run: checkSignedIn},
		{name: "every-request", clauses: []string{"T-2.28", "T-3.25", "T-3.26", "T-3.28", "T-3.29", "T-3.30", "T-3.32", "T-3.143"}, run: checkStates},
		{name: "form-first", clauses: []string{"T-3.142"}, run: checkForm},
		{name: "handshake", clauses: []string{"T-4.7", "T-4.8", "T-4.9"}, run: checkHandshake},
		{name: "info", clauses: []string{"T-4.3", "T-4.37"}, run: checkInfo},
	}
}

func checkBeforeHandshake(t *T) {
	c := t.dial()
	c.speak(false) // as long as no HANDSHAKE was taken
	t.on("T-3.25")
	for _, code := range append(requests[1:], 0x04, 0x1f, 0x22, 0x3f, 0x45, 0x7f) {
		c.want(c.exchange(code, nil), fmt.Sprintf("request 0x%02x before HANDSHAKE", code), errHandshakeRequired)
	}
	c.ver = "0.1.0"
	c.want(c.exchange(reqGetInfo, nil), "GET_INFO of another version before HANDSHAKE", errHandshakeRequired)
	c.ver = "1.0.0"
	t.on("T-3.24")
	c.tryRoot("ver 1.0 before HANDSHAKE", func(f fields) raw { return f.with("ver", "1.0").pack() }, errMalformed)
	c.tryRoot("an unknown key before HANDSHAKE", func(f fields) raw { return append(f, "more", 1).pack() }, errMalformed)
	c.tryRoot("an extension in body before HANDSHAKE", func(f fields) raw { return append(f, "body", fields{"a", extensions[0]}).pack() }, errMalformed)
	t.on("T-3.32")
	c.speak(t.s.drafts())
	c.want(c.exchange(reqHandshake, nil), "HANDSHAKE after errors", ok)
}

func checkBeforeSignIn(t *T) {
	c := t.greeted()
	t.on("T-3.26")
	c.try(reqHandshake, nil, "a second one", errHandshakeDone)
	c.try(reqHandshake, fields{"wrong", 1}, "a wrong body", errHandshakeDone)
	c.ver = "1.0.1"
	c.try(reqHandshake, nil, "another version", errHandshakeDone)
	if t.inSeed("T-3.27") {
		for _, ver := range []string{"1.0.1", "0.9.0", "1.0.0-rc", "1.0.0+build", "2.0.0"} {
			c.ver = ver
			for _, code := range []int{reqGetInfo, reqRegister, reqSignIn, reqForward, reqListDevices, 0x04, 0x3f, 0x7f} {
				c.want(c.exchange(code, nil), fmt.Sprintf("request 0x%02x with ver %s", code, ver), errVersion)
			}
		}
	}
	c.ver = "1.0.0"
	t.on("T-3.200")
	malformed := []func(fields) raw{
		func(f fields) raw { return append(f, "more", 1).pack() },
		func(f fields) raw { return append(f, "err", fields{"code", 1}).pack() },
		func(f fields) raw { return append(f.pack(), 0) },
	}
	for i, change := range malformed {
		c.tryBytes(reqHandshake, fmt.Sprintf("a second HANDSHAKE with fault %d of the root", i), func(id uint8) raw {
			return change(c.request(id, reqHandshake, nil))
		}, errMalformed)
		if !c.drafts {
			c.ver = "0.9.0" // no newer one, in which unknown keys are skipped
			c.tryRoot(fmt.Sprintf("another ver and fault %d of the root", i), change, errMalformed)
			c.ver = "1.0.0"
		}
	}
	t.on("T-3.28")
	c.want(c.exchange(0x22, fields{"a", 1}), "request 0x22 without sign-in", errUnsupported)
	t.on("T-3.29")
	for _, code := range requests[4:] {
		c.try(code, nil, "no body, without sign-in", errSignInRequired)
		c.try(code, fields{"wrong", true}, "a wrong body, without sign-in", errSignInRequired)
	}
	t.on("T-3.31")
	for _, body := range []any{
		fields{"a", extensions[0]},
		fields{"a", "\xff"},
		fields{"a", 1, "a", 1},
		fields{"a", fields{}.packAs(0xdf)},
		fields{"a", nested(3, true)},
		fields{packAs(0xda, "a"), 1},
		fields{"a", head(0xdd, 0)},
	} {
		c.try(reqForward, body, "a fault of structure in body", errMalformed)
		c.want(c.exchange(0x22, body), "request 0x22 with a fault of structure in body", errMalformed)
	}
	t.on("T-3.33")
	u := t.registerOn(c)
	c.try(reqListDevices, nil, "no sign-in, after REGISTER", errSignInRequired)
	t.on("T-3.32")
	c.want(c.exchange(reqSignIn, fields{"user", u.name, "pass", u.pass}), "SIGN_IN after many errors", ok)
}

func checkSignedIn(t *T) {
	u := t.newUser()
	c := t.greeted()
	t.on("T-3.34")
	c.try(reqSignIn, fields{"user", u.name, "pass", "not the password"}, "a wrong password", errCredentials)
	c.try(reqSignIn, fields{"user", u.name}, "no password", errMalformed)
	c.want(c.exchange(reqSignIn, fields{"user", u.name, "pass", u.pass}), "SIGN_IN after one that failed", ok)
	c.try(reqSignIn, fields{"user", u.name, "pass", u.pass}, "the same user again", errSignedIn)
	t.on("T-3.30")
	for _, code := range []int{reqRegister, reqSignIn} {
		c.try(code, nil, "no body, signed in", errSignedIn)
		c.try(code, fields{"wrong", 1}, "a wrong body, signed in", errSignedIn)
		c.try(code, fields{"user", "@", "pass", ""}, "a wrong name, signed in", errSignedIn)
	}
	t.on("T-3.26")
	c.try(reqHandshake, nil, "a second one, signed in", errHandshakeDone)
	if t.inSeed("T-3.27") {
		c.ver = "1.0.9"
		for _, code := range []int{reqSignIn, reqListDevices, reqForward, 0x04, 0x22} {
			c.want(c.exchange(code, nil), fmt.Sprintf("request 0x%02x with another ver", code), errVersion)
		}
	}
	c.ver = "1.0.0"
	t.on("T-3.32")
	c.try(reqListDevices, nil, "no body, after many errors", ok)
}

func checkHandshake(t *T) {
	if t.inSeed("T-4.7") {
		c := t.dial()
		for _, body := range []fields{
			{"ver", "1.0.1"}, {"ver", ""}, {"ver", 1}, {"ver", nil}, {"ver", packAs(0xda, "1.0.0")}, {"ver", "1.0.0", "more", 1}, {"more", 1},
		} {
			c.try(reqHandshake, body, fmt.Sprintf("body % x", []byte(body.pack())), errMalformed)
		}
		c.try(reqHandshake, fields{"ver", "1.0.0"}, "its version in body too", ok)
	}
	t.on("T-4.8")
	for _, ver := range []string{"0.0.1", "0.9.9-x", "1.0.0", "1.999.999", "1.0.0-rc.1+b", "1.0.0-" + letters(58)} {
		c := t.dial()
		c.ver = ver
		p := c.wantOK(c.exchange(reqHandshake, nil))
		t.check(c, p.body.get("comp").is(true), "comp true for ver "+ver, "another, or none")
		if got := p.body.get("ver").str(); got != c.nodeVer {
			t.wrong(c, "body.ver as the packet's, "+c.nodeVer, got)
		}
	}
	t.on("T-4.9")
	for _, ver := range []string{"2.0.0", "2.0.0-rc.1", "10.0.0", "18446744073709551615.0.0"} {
		c := t.dial()
		c.ver = ver
		p := c.exchange(reqHandshake, nil)
		t.check(c, p.body.get("comp").is(false), "comp false for ver "+ver, p.String())
		c.ask(reqGetInfo, nil)
		c.wantClose("comp false", 1002)
		c.mu.Lock()
		served := len(c.arrived) > 0 && c.arrived[0].code == ok
		c.mu.Unlock()
		t.check(c, !served, "nothing served after comp false", "a response without an error")
	}
}

// letters is a text of that many bytes.
func letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}

func checkInfo(t *T) {
	c := t.greeted()
	t.on("T-4.37")
	before := c.wantOK(c.exchange(reqGetInfo, nil)).body
	c.signIn(t.registerOn(c))
	t.on("T-4.37")
	after := c.wantOK(c.exchange(reqGetInfo, nil)).body
	if b, a := before.get("time").num(), after.get("time").num(); a < b || b < 1_577_836_800_000 {
		t.wrong(c, "time in ms since 1970, which goes on", fmt.Sprintf("%d, then %d", b, a))
	}
	for _, key := range []string{"node", "soft"} {
		if b, a := before.get(key).str(), after.get(key).str(); a != b {
			t.wrong(c, key+" the same after sign-in", fmt.Sprintf("%q, then %q", b, a))
		}
	}
	t.on("T-4.3")
	if name := before.get("node").str(); !isNodeName(name) {
		t.wrong(c, "a domain name in A-labels", fmt.Sprintf("%q", name))
	}
}

// isNodeName reports whether a name is in the form of section 4, Names.
func isNodeName(name string) bool {
	label, labels := 0, 1
	for i := range len(name) {
		switch b := name[i]; {
		case b == '.':
			if label == 0 || name[i-1] == '-' {
				return false
			}
			label, labels = 0, labels+1
			continue
		case b == '-' && label == 0, (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-':
			return false
		}
		label++
		if label > 63 {
			return false
		}
	}
	return label > 0 && labels > 1 && len(name) <= 253 && name[len(name)-1] != '-'
}
