package conform

import (
	"fmt"
	"strings"
)

func nameScenarios() []scenario {
	return []scenario{
		{name: "node-names", clauses: []string{"T-4.1", "T-4.2", "T-5.43"}, run: checkNodeNames},
		{name: "user-names", clauses: []string{"T-4.5", "T-4.6", "T-4.13", "T-4.15"}, run: checkUserNames},
		{name: "mapped-names", clauses: []string{"T-4.4", "T-4.6", "T-4.14", "T-4.19"}, run: checkMappedNames},
	}
}

func checkNodeNames(t *T) {
	c := t.member()
	msg := t.seal(message(c.user.name, randomBytes(16), nil), recipe{})
	t.on("T-4.1")
	for _, name := range []string{strings.ToUpper(t.s.node), t.s.node + ".", strings.ToUpper(t.s.node[:1]) + t.s.node[1:] + ".", strings.ReplaceAll(t.s.node, ".", "。")} {
		c.try(reqForward, t.forward(true, msg).with("node", name), fmt.Sprintf("node %q, which is this one", name), ok)
		c.try(reqGetNodeKey, fields{"node", name}, fmt.Sprintf("node %q, which is this one", name), ok)
	}
	for _, name := range []string{"bücher.invalid", "BÜCHER.invalid.", "faß.invalid", "xn--bcher-kva.invalid"} {
		c.try(reqGetNodeKey, fields{"node", name}, fmt.Sprintf("node %q, which no one is", name), errNodeUnreachable)
	}
	long := strings.Repeat(letters(49)+".", 5)[:245] + ".invalid" // 253 bytes
	t.on("T-4.2")
	c.try(reqGetNodeKey, fields{"node", long}, "a node of 253 bytes, which no one is", errNodeUnreachable)
	full := strings.Map(func(r rune) rune { // 3 bytes each, which are mapped to ASCII
		if r == '.' {
			return r
		}
		return r + 0xfee0
	}, letters(60)+"."+letters(60)+".") + "invalid"
	c.try(reqGetNodeKey, fields{"node", full}, fmt.Sprintf("a node of %d bytes, which are mapped to fewer than 253, and no one is", len(full)), errNodeUnreachable)
	for _, tt := range []struct{ clause, name string }{
		{"T-4.2", ""},
		{"T-4.2", "."},
		{"T-4.2", ".."},
		{"T-4.2", "a..example"},
		{"T-4.2", ".example.org"},
		{"T-4.2", "example.org.."},
		{"T-4.2", "-a.example"},
		{"T-4.2", "a-.example"},
		{"T-4.2", "under_score.example"},
		{"T-4.2", "with space.example"},
		{"T-4.2", "a.example:443"},
		{"T-4.2", "https://a.example"},
		{"T-4.2", "user@a.example"},
		{"T-4.2", "a.example/path"},
		{"T-4.2", "a\x00.example"},
		{"T-4.2", letters(64) + ".example"},
		{"T-4.2", "xn--a.example"},
		{"T-4.2", strings.Repeat("a.", 130) + "example"},
		{"T-4.2", long + "x"},
		{"T-4.2", strings.Repeat("ü", 250) + ".example"},
		{"T-4.2", strings.Replace(full, ".", strings.Repeat("\u00ad", (501-len(full)+1)/2)+".", 1)}, // mapped to the same
		{"T-4.2", strings.Repeat("a.", 300) + "example"},
		{"T-5.43", "localhost"},
		{"T-5.43", "127.0.0.1"},
		{"T-5.43", "192.0.2.1."},
		{"T-5.43", "[::1]"},
		{"T-5.43", "::1"},
	} {
		t.on(tt.clause)
		shown := tt.name[:min(len(tt.name), 60)]
		for _, wait := range []bool{false, true} {
			c.try(reqForward, t.forward(wait, msg).with("node", tt.name), fmt.Sprintf("node %q (%d bytes)", shown, len(tt.name)), errNodeInvalid)
		}
		c.try(reqGetNodeKey, fields{"node", tt.name}, fmt.Sprintf("node %q (%d bytes)", shown, len(tt.name)), errNodeInvalid)
	}
}

// registration is a REGISTER's body, with an invitation where one is needed.
func (t *T) registration(name, pass string) fields {
	body := fields{"user", name, "pass", pass}
	if t.s.registration != 0 {
		body = append(body, "inv", t.invite())
	}
	return body
}

func checkUserNames(t *T) {
	c := t.greeted()
	inv := fields{}
	if t.s.registration != 0 {
		inv = fields{"inv", t.invite()} // not used up by what fails
	}
	t.on("T-4.5")
	for _, name := range []string{
		"a@b", "@", "a/b", "a:b", "a b", " a", "a ", "a\tb", "a\nb", "a\u00a0b", "a\u3000b", "a\u2028b", "a\x00b", "a\x7f", "a\u200db", "a\u202eb",
		"☺", "a\uff20b", "a\u0378", "\u0300a\u0300\u06dd", "ⅳ", "a\u05d0", "\ufb01",
	} {
		c.try(reqRegister, append(fields{"user", name, "pass", "long enough"}, inv...), fmt.Sprintf("user %q", name), errNameInvalid)
	}
	t.on("T-4.6")
	for _, name := range []string{"", letters(65), strings.Repeat("ü", 33), letters(255), strings.Repeat("\uff41", 65)} {
		c.try(reqRegister, append(fields{"user", name, "pass", "long enough"}, inv...), fmt.Sprintf("user of %d bytes", len(name)), errNameInvalid)
	}
	t.on("T-4.13")
	c.try(reqRegister, append(fields{"user", "a b", "pass", "short"}, inv...), "a wrong user and a wrong pass", errNameInvalid)
	t.clause = ""
	u := t.registerOn(c)
	t.on("T-4.13")
	c.try(reqRegister, append(fields{"user", u.name, "pass", "short"}, inv...), "a taken user and a wrong pass", errPasswordInvalid)
	t.on("T-4.15")
	for _, n := range []int{65, 255} {
		c.try(reqRegister, fields{"user", "a b", "pass", "short", "inv", letters(n)}, fmt.Sprintf("inv of %d bytes", n), errInviteInvalid)
	}
}

func checkMappedNames(t *T) {
	c := t.greeted()
	name := t.name() + "-ü"
	upper := strings.ToUpper(strings.ReplaceAll(name, "ü", "u\u0308"))
	wide := strings.Map(func(r rune) rune { // full-width letters are mapped to ASCII
		if r > 0x20 && r < 0x7f {
			return r + 0xfee0
		}
		return r
	}, upper)
	t.on("T-4.4")
	u := &user{name: name, pass: "correct horse"}
	p := c.exchange(reqRegister, t.registration(upper, u.pass))
	if !c.want(p, fmt.Sprintf("REGISTER of user %q", upper), ok) {
		return
	}
	t.users = append(t.users, u)
	t.on("T-4.14")
	for _, same := range []string{name, upper, wide} {
		c.try(reqRegister, t.registration(same, u.pass), fmt.Sprintf("user %q, who is %q", same, name), errNameTaken)
	}
	t.on("T-4.4")
	for i, same := range []string{upper, wide, name} {
		one := c
		if i > 0 {
			one = t.greeted()
		}
		p := one.exchange(reqSignIn, fields{"user", same, "pass", u.pass, "dev", fmt.Sprint(i)})
		if one.want(p, fmt.Sprintf("SIGN_IN of user %q, who is %q", same, name), ok) {
			t.on("T-4.19")
			if got, want := p.body.get("addr").str(), name+"@"+t.s.node; got != want {
				t.wrong(one, "addr "+want, got)
			}
			t.on("T-4.4")
		}
	}
	c.wantAnswer(fmt.Sprintf("MESSAGE to %q, who is %q", wide, name), t.seal(message(wide, randomBytes(16), []byte("hello")), recipe{}), ok)
	t.on("T-4.6")
	// 64 bytes mapped, 192 raw.
	name = t.name() + "-"
	name += letters(64 - len(name))
	wide = strings.Map(func(r rune) rune { return r + 0xfee0 }, name)
	c = t.greeted()
	u = &user{name: name, pass: "correct horse"}
	if c.try(reqRegister, t.registration(wide, u.pass), "user of 192 bytes that is mapped to 64", ok).code == ok {
		t.users = append(t.users, u)
	}
}
