package conform

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func packetScenarios() []scenario {
	return append(keyScenarios(),
		scenario{name: "root", clauses: []string{"T-2.3", "T-2.5", "T-2.9", "T-2.11", "T-2.12", "T-2.13", "T-2.15", "T-2.17", "T-2.18", "T-2.19", "T-2.23"}, run: checkRoot},
		scenario{name: "root-named", clauses: []string{"T-2.14"}, run: checkRootNamed},
		scenario{name: "truncated", clauses: []string{"T-2.20"}, run: checkTruncated},
		scenario{name: "nil-bodies", clauses: []string{"T-2.7"}, run: checkNilBodies},
		scenario{name: "depth", clauses: []string{"T-2.22"}, run: checkDepth},
		scenario{name: "unknown-keys", clauses: []string{"T-2.24"}, run: checkUnknownKeys},
		scenario{name: "newer-keys", clauses: []string{"T-2.25", "T-2.26", "T-2.200"}, run: checkNewerKeys},
		scenario{name: "unknown-requests", clauses: []string{"T-2.28", "T-3.28"}, run: checkUnknownRequests},
	)
}

// tryBytes makes a request in bytes and checks how it is answered.
func (c *conn) tryBytes(code int, what string, make func(id uint8) raw, want ...int) *packet {
	p := c.exchangeBytes(code, make)
	c.want(p, what, want...)
	return p
}

// tryRoot sends a GET_INFO whose root is changed.
func (c *conn) tryRoot(what string, change func(fields) raw, want ...int) *packet {
	return c.tryBytes(reqGetInfo, what, func(id uint8) raw { return change(c.request(id, reqGetInfo, nil)) }, want...)
}

func checkRoot(t *T) {
	c := t.greeted()
	with := func(key string, v any) func(fields) raw {
		return func(f fields) raw { return f.with(key, v).pack() }
	}
	if t.inSeed("T-2.3") {
		c.tryRoot("no ver", func(f fields) raw { return f.without("ver").pack() }, errMalformed)
		for _, ver := range []string{
			"", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.0 ", " 1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0-a..b", "1.0.x", "1.0.0-é", "１.0.0",
			"1.0.0\x00", "1.0.0-" + strings.Repeat("a", 59),
		} {
			c.tryRoot(fmt.Sprintf("ver %q", ver), with("ver", ver), errMalformed)
		}
	}
	t.on("T-2.5")
	c.tryRoot("no reqt", func(f fields) raw { return f.without("reqt").pack() }, errMalformed)
	for _, v := range []raw{pack(nil), packAs(0xcc, 3), packAs(0xcd, 3), packAs(0xce, 3), packAs(0xcf, 3), {0xff}, packAs(0xd0, 3), pack("3"), pack(false)} {
		c.tryRoot(fmt.Sprintf("reqt in bytes % x", []byte(v)), with("reqt", v), errMalformed)
	}
	t.on("T-2.9")
	c.tryRoot("err", with("err", fields{"code", 1}), errMalformed)
	c.tryRoot("a nil err", with("err", nil), errMalformed)
	t.on("T-2.11")
	c.tryRoot("id in marker cc", func(f fields) raw { return f.with("id", packAs(0xcc, f.get("id"))).pack() }, ok)
	if !c.drafts {
		c.tryRoot("ver in marker d9", with("ver", packAs(0xd9, c.ver)), ok)
	}
	c.tryRoot("the root in a map 16", func(f fields) raw { return f.packAs(0xde) }, ok)
	c.tryRoot("a key in marker d9", func(f fields) raw { return append(f.without("reqt"), packAs(0xd9, "reqt"), 3).pack() }, ok)
	c.tryRoot("the keys in another order", func(f fields) raw {
		return c.root(fields{"reqt", f.get("reqt"), "pakt", f.get("pakt"), "id", f.get("id"), "ver", f.get("ver")}).pack()
	}, ok)
	t.on("T-2.12")
	for _, marker := range []byte{0xda, 0xdb} {
		c.tryRoot(fmt.Sprintf("ver in marker %02x", marker), with("ver", packAs(marker, c.ver)), errMalformed)
	}
	t.on("T-2.13")
	for _, other := range others {
		if other.kind != kindStr {
			c.tryRoot(other.name+" for ver", with("ver", other.value), errMalformed)
		}
		if other.kind != kindNil && other.kind != kindMap {
			c.tryRoot(other.name+" for body", with("body", other.value), errMalformed)
		}
		if other.kind != kindUint {
			c.tryRoot(other.name+" for reqt", with("reqt", other.value), errMalformed)
		}
	}
	t.on("T-2.19")
	for _, extension := range extensions {
		for _, key := range []string{"ver", "reqt", "body"} {
			c.tryRoot(fmt.Sprintf("an extension % x for %s", extension[:2], key), with(key, extension), errMalformed)
		}
	}
	for _, key := range []string{"reqt", "body"} { // which come behind id and pakt
		c.tryRoot("the marker c1 for "+key, with(key, unused), errMalformed)
	}
	t.on("T-2.15")
	for _, text := range noUTF8 {
		c.tryRoot(fmt.Sprintf("ver of bytes % x", text), with("ver", text), errMalformed)
	}
	t.on("T-2.17")
	c.tryRoot("ver twice", func(f fields) raw { return append(f, "ver", c.ver).pack() }, errMalformed)
	c.tryRoot("reqt twice", func(f fields) raw { return append(f, "reqt", reqGetInfo).pack() }, errMalformed)
	c.tryRoot("body twice", func(f fields) raw { return append(f, "body", nil, "body", nil).pack() }, errMalformed)
	t.on("T-2.18")
	for _, b := range []raw{{0}, {0xc0}, {0xc1}, fields{}.pack(), make(raw, 1000)} {
		c.tryRoot(fmt.Sprintf("%d bytes behind the root", len(b)), func(f fields) raw { return append(f.pack(), b...) }, errMalformed)
	}
	t.on("T-2.23")
	c.tryRoot("a body in a map 32", with("body", fields{}.packAs(0xdf)), errMalformed)
	for _, key := range []raw{packAs(0xda, "body"), packAs(0xdb, "body"), pack(bin("body")), pack(5), pack(nil), pack([]any{}), {0xff}} {
		c.tryRoot(fmt.Sprintf("a key in bytes % x", []byte(key)), func(f fields) raw { return append(f, key, nil).pack() }, errMalformed)
		c.tryRoot(fmt.Sprintf("a key in bytes % x in body", []byte(key)), with("body", fields{key, nil}), errMalformed)
	}
}

// checkRootNamed looks whether MALFORMED names the one key of the root that is wrong.
func checkRootNamed(t *T) {
	c := t.greeted()
	if !t.inSeed("T-2.14") {
		return
	}
	for _, tt := range []struct {
		key, what string
		change    func(fields) fields
	}{
		{"ver", "no ver", func(f fields) fields { return f.without("ver") }},
		{"ver", "ver 1.0", func(f fields) fields { return f.with("ver", "1.0") }},
		{"ver", "a number for ver", func(f fields) fields { return f.with("ver", 1) }},
		{"ver", "ver twice", func(f fields) fields { return append(f, "ver", c.ver) }},
		{"reqt", "no reqt", func(f fields) fields { return f.without("reqt") }},
		{"reqt", "a string for reqt", func(f fields) fields { return f.with("reqt", "words") }},
		{"body", "a number for body", func(f fields) fields { return f.with("body", 1) }},
		{"err", "err in a REQUEST", func(f fields) fields { return f.with("err", fields{"code", 1}) }},
		{"more", "an unknown key", func(f fields) fields { return f.with("more", 1) }},
	} {
		p := c.tryRoot(tt.what, func(f fields) raw { return tt.change(f).pack() }, errMalformed)
		msg := p.root.get("err").get("msg").str()
		t.check(c, strings.Contains(msg, tt.key), "err.msg that says that "+tt.key+" is wrong, for "+tt.what, p.String())
	}
}

func checkTruncated(t *T) {
	c := t.member()
	t.on("T-2.20")
	whole := func(id uint8) raw { // id and pakt first, so that they can be read before every cut
		return c.root(fields{"id", id, "pakt", pktRequest, "ver", c.ver, "reqt", reqSetPassword, "body", fields{"old", "a wrong one", "new", "another"}}).pack()
	}
	readable := len(fields{"id", 0, "pakt", 0}.pack())
	for cut := readable; cut < len(whole(0)); cut++ {
		c.tryBytes(reqSetPassword, fmt.Sprintf("a packet cut off after %d bytes", cut), func(id uint8) raw {
			c.next = id % 100 // so that ids stay in one byte
			return whole(id)[:cut]
		}, errMalformed)
	}
	for _, marker := range []byte{0xd9, 0xda, 0xdb, 0xc4, 0xc5, 0xc6, 0xdc, 0xdd, 0xde, 0xdf} {
		most := uint64(1)<<(8*widths[marker]) - 1
		c.tryBytes(reqSetPassword, fmt.Sprintf("a length of %d past the end in marker %02x", most, marker), func(id uint8) raw {
			f := fields{"id", id, "pakt", pktRequest, "ver", c.ver, "reqt", reqSetPassword, "body", fields{"old", head(marker, most)}}
			return c.root(f).pack()
		}, errMalformed)
	}
}

func checkNilBodies(t *T) {
	t.on("T-2.7")
	c := t.dial()
	if c.drafts {
		c.wantOK(c.exchange(reqHandshake, nil))
	} else {
		c.want(c.exchange(reqHandshake, raw{0xc0}), "HANDSHAKE with a nil body", ok)
	}
	c.try(reqGetInfo, raw{0xc0}, "a nil body", ok)
	c.try(reqGetInfo, fields{}, "an empty map as body", errMalformed)
	c.try(reqGetInfo, fields{"a", 1}, "a map as body", errMalformed)
	c.signIn(t.registerOn(c))
	c.try(reqListDevices, nil, "no body", ok)
	c.try(reqListDevices, raw{0xc0}, "a nil body", ok)
	c.try(reqListDevices, fields{}, "an empty map as body", errMalformed)
}

// newer returns a version that is newer than the node's, by its patch.
func (c *conn) newer() string { return c.newerBy(1) }

func (c *conn) newerBy(patches int) string {
	core, _, _ := strings.Cut(c.nodeVer, "+")
	core, _, _ = strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	patch, err := strconv.Atoi(parts[len(parts)-1])
	if len(parts) != 3 || err != nil {
		c.t.fatal(c, "a semantic version of the node", c.nodeVer)
	}
	return fmt.Sprintf("%s.%s.%d", parts[0], parts[1], patch+patches)
}

// greetedNewer opens a connection whose version is newer than the node's.
func (t *T) greetedNewer() *conn {
	old := t.greeted()
	c := t.dial()
	c.ver = old.newer()
	old.hang()
	c.wantOK(c.exchange(reqHandshake, nil))
	return c
}

// nested is a value of that many maps or arrays in each other.
func nested(depth int, array bool) raw {
	b := fields{}.pack()
	if array {
		b = pack([]any{})
	}
	for range depth - 1 {
		if array {
			b = pack([]any{b})
		} else {
			b = fields{"k", b}.pack()
		}
	}
	return b
}

func checkDepth(t *T) {
	c := t.greetedNewer()
	t.on("T-2.22")
	for _, array := range []bool{false, true} {
		c.tryRoot("4 levels, the root among them", func(f fields) raw { return append(f, "new", nested(3, array)).pack() }, ok)
		c.tryRoot("5 levels", func(f fields) raw { return append(f, "new", nested(4, array)).pack() }, errMalformed)
		c.tryRoot("1000 levels", func(f fields) raw { return append(f, "new", nested(999, array)).pack() }, errMalformed)
	}
	old := t.greeted()
	old.tryRoot("5 levels in body", func(f fields) raw { return append(f, "body", nested(4, false)).pack() }, errMalformed)
}

func checkUnknownKeys(t *T) {
	versions := []string{"1.0.0", "1.0.0+newer.build.9", "1.0.0-rc.1", "0.9.9", "0.0.0"}
	first := t.greeted()
	if first.nodeVer != "1.0.0" {
		versions = []string{"0.9.9", "0.0.0", first.nodeVer}
	}
	t.on("T-2.24")
	for _, ver := range versions {
		c := t.dial()
		c.ver = ver
		c.wantOK(c.exchange(reqHandshake, nil))
		unknown := func(f fields) raw { return append(f, "more", 1).pack() }
		c.tryRoot("an unknown key in the root, with ver "+ver, unknown, errMalformed)
		c.try(reqRegister, fields{"user", "no@name", "pass", "long enough", "more", 1}, "an unknown key in body, with ver "+ver, errMalformed)
	}
}

func checkNewerKeys(t *T) {
	c := t.greetedNewer()
	t.on("T-2.25")
	fresh := t.dial()
	fresh.ver = c.ver
	fresh.tryBytes(reqHandshake, "HANDSHAKE with unknown keys", func(id uint8) raw {
		return append(append(fields{"more", fields{"k", []any{1, "x"}}}, fresh.request(id, reqHandshake, nil)...), "less", nil).pack()
	}, ok)
	c.tryRoot("an unknown key before ver", func(f fields) raw { return append(fields{"more", 1}, f...).pack() }, ok)
	c.tryRoot("20 unknown keys", func(f fields) raw {
		for i := range 20 {
			f = append(f, fmt.Sprintf("more%d", i), i)
		}
		return f.pack()
	}, ok)
	body := fields{"user", "no@name", "pass", "long enough", "more", fields{"deep", "er"}}
	c.try(reqRegister, body, "an unknown key in body", errNameInvalid, errInviteInvalid, errRegistrationClosed)
	for _, ver := range []string{c.newerBy(1) + "-rc.1", c.newerBy(1) + "-0+build", c.newerBy(10)} { // by precedence, not as text
		other := t.dial()
		other.ver = ver
		other.wantOK(other.exchange(reqHandshake, nil))
		other.tryRoot("an unknown key in the root, with ver "+ver, func(f fields) raw { return append(f, "more", 1).pack() }, ok)
	}
	t.on("T-2.26")
	for _, other := range others {
		c.tryRoot(other.name+" for an unknown key", func(f fields) raw { return append(f, "more", other.value).pack() }, ok)
	}
	for _, v := range []raw{
		packAs(0xd0, 1), packAs(0xd1, 1), packAs(0xd2, 1), packAs(0xcc, 1), packAs(0xcf, 1), packAs(0xdb, "x"), packAs(0xda, "x"), packAs(0xc6, bin("x")),
		fields{}.packAs(0xde), head(0xdc, 0),
	} {
		c.tryRoot(fmt.Sprintf("bytes % x for an unknown key", []byte(v)), func(f fields) raw { return append(f, "more", v).pack() }, ok)
	}
	for _, v := range slices.Concat(extensions, []raw{
		fields{}.packAs(0xdf), head(0xdd, 0), fields{"a", 1, "a", 2}.pack(), pack("\xff"), pack([]any{"\xff"}),
		fields{5, 1}.pack(), fields{packAs(0xda, "k"), 1}.pack(),
		{0xc1},
	}) {
		c.tryRoot(fmt.Sprintf("bytes % x for an unknown key", []byte(v)), func(f fields) raw { return append(f, "more", v).pack() }, errMalformed)
	}
	t.on("T-2.200")
	for marker, want := range map[byte]int{0xdc: ok, 0xdd: errMalformed} {
		array := append(head(marker, 2), 1, 2)
		c.tryRoot(fmt.Sprintf("an array in marker %02x", marker), func(f fields) raw { return append(f, "more", array).pack() }, want)
		c.tryRoot(fmt.Sprintf("an array in marker %02x inside another", marker), func(f fields) raw { return append(f, "more", []any{array}).pack() }, want)
	}
	t.on("T-2.26")
	c.tryRoot("an unknown key twice", func(f fields) raw { return append(f, "more", 1, "more", 1).pack() }, errMalformed)
}

func checkUnknownRequests(t *T) {
	for _, clause := range []string{"T-2.28", "T-3.28"} {
		t.clause = ""
		c := t.greeted()
		if clause == "T-3.28" {
			c.signIn(t.registerOn(c))
		}
		t.on(clause)
		for code := range 0x80 {
			if !slices.Contains(requests, code) {
				c.want(c.exchange(code, nil), fmt.Sprintf("request 0x%02x", code), errUnsupported)
				c.want(c.exchange(code, fields{"any", "thing"}), fmt.Sprintf("request 0x%02x with a body", code), errUnsupported)
			}
		}
	}
}
