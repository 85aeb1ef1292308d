package conform

import (
	"fmt"
	"slices"
	"time"
)

func deviceScenarios() []scenario {
	return []scenario{
		{name: "displaced", clauses: []string{"T-4.31", "T-4.32"}, run: checkDisplaced},
		{name: "send-only", clauses: []string{"T-4.27", "T-4.28", "T-4.29", "T-4.202"}, run: checkSendOnly},
		{name: "many-send-only", clauses: []string{"T-4.30"}, run: checkManySendOnly},
		{name: "list-devices", clauses: []string{"T-4.42", "T-4.203"}, run: checkListDevices},
		{name: "remove-device", clauses: []string{"T-4.43", "T-4.44", "T-4.45", "T-4.145"}, run: checkRemoveDevice},
		{name: "many-devices", clauses: []string{"T-4.92", "T-4.93"}, run: checkManyDevices},
	}
}

func checkDisplaced(t *T) {
	u := t.newUser()
	older := t.signIn(u, "dev", "one")
	other := t.signIn(u, "dev", "two")
	t.on("T-4.31")
	newer := t.greeted()
	p := newer.exchange(reqSignIn, fields{"user", u.name, "pass", u.pass, "dev", "one"})
	newer.want(p, "SIGN_IN of the same device", ok)
	t.on("T-4.32")
	// What was sent before the response may still be on its way; it is read at once.
	older.ask(reqRemoveDevice, fields{"dev", "two"})
	t.on("T-4.31")
	older.wantClose("a newer SIGN_IN of its device", 4001)
	t.on("T-4.32")
	other.alive("a REMOVE_DEVICE from a connection that was displaced")
	if devices := newer.devices(); !slices.Contains(devices, "two") {
		t.wrong(newer, "no effect of what a displaced connection sends", "the device it removed is gone")
	}
	t.on("T-4.31")
	third := t.greeted()
	third.want(third.exchange(reqSignIn, fields{"user", u.name, "tok", p.body.get("tok"), "dev", "one"}.plain()), "SIGN_IN by token", ok)
	newer.wantClose("a newer SIGN_IN of its device by token", 4001)
	third.alive("displacing another")
	other.alive("others being displaced")
}

// plain replaces decoded values by what they hold.
func (f fields) plain() fields {
	for i, v := range f {
		if v, decoded := v.(*value); decoded {
			f[i] = bin(v.bytes())
		}
	}
	return f
}

func checkSendOnly(t *T) {
	u := t.newUser()
	receiver := t.signIn(u, "dev", "one")
	t.on("T-4.29")
	sender := t.signIn(u, "dev", "one", "recv", false)
	t.check(sender, sender.tok == nil, "no tok with recv false for a device that has one", "one")
	fresh := t.fresh(u)
	t.check(fresh, fresh.tok != nil, "a tok with recv false for a device that has none", "none")
	third := t.signIn(u, "dev", "one", "recv", false, "tok", bin(receiver.tok))
	t.on("T-4.28")
	receiver.alive("a SIGN_IN of its device with recv false")
	t.on("T-4.27")
	receiver.send(u, "hello")
	t.on("T-4.202")
	receiver.wantTexts("on a connection whose SIGN_IN had no recv", "hello")
	t.on("T-4.27")
	sender.quiet("no DELIVER with recv false")
	fresh.quiet("no DELIVER with recv false")
	nobody := t.s.UserPrefix + "nobody-" + t.s.run
	sender.wantOK(sender.exchange(reqForward, t.forward(false, t.seal(message(nobody, randomBytes(16), nil), recipe{}))))
	receiver.deliverAnswered() // the RETURN
	sender.quiet("no RETURN with recv false")
	t.on("T-4.28")
	byToken := t.signIn(u, "dev", "one", "tok", bin(receiver.tok))
	receiver.wantClose("a newer SIGN_IN of its device", 4001)
	sender.alive("a SIGN_IN of its device by token")
	third.alive("a SIGN_IN of its device by token")
	t.signIn(u, "dev", "one", "recv", false)
	byToken.alive("a SIGN_IN of its device by pass with recv false")
	sender.alive("a SIGN_IN of its device by pass with recv false")
	third.alive("a SIGN_IN of its device by pass with recv false")
	byPassword := t.signIn(u, "dev", "one")
	byToken.wantClose("a newer SIGN_IN of its device", 4001)
	sender.wantClose("a SIGN_IN of its device with pass and recv true", 4001)
	third.wantClose("a SIGN_IN of its device with pass and recv true", 4001)
	fresh.alive("a SIGN_IN of another device")
	byPassword.alive("displacing others")
}

// fresh signs in a new device with recv false. One whose SIGN_IN was BUSY may have got its
// token without hearing of it, so each try has a device of its own.
func (t *T) fresh(u *user) *conn {
	for n := 0; ; n++ {
		c := t.greeted()
		p := c.response(c.ask(reqSignIn, fields{"user", u.name, "pass", u.pass, "dev", fmt.Sprint("fresh-", n), "recv", false}))
		if p.code != errBusy || n == patient {
			c.wantOK(p)
			c.tok = p.body.get("tok").bytes()
			return c
		}
		t.pause(time.Duration(max(p.wait(), 100)) * time.Millisecond)
	}
}

func checkManySendOnly(t *T) {
	u := t.newUser()
	first := t.signIn(u)
	t.on("T-4.30")
	for i := 1; i <= 18; i++ {
		c := t.greeted()
		body, what := fields{"user", u.name, "tok", bin(first.tok), "recv", false}, fmt.Sprintf("SIGN_IN number %d with recv false", i)
		if i <= 16 {
			c.want(c.exchange(reqSignIn, body), what, ok)
		} else {
			c.want(c.response(c.ask(reqSignIn, body)), what, ok, errBusy)
		}
	}
	first.alive("many others of its user")
}

func checkListDevices(t *T) {
	u := t.newUser()
	one, two := t.signIn(u, "dev", "one"), t.signIn(u, "dev", "two")
	t.signIn(u, "dev", "sender", "recv", false)
	two.hang()
	t.on("T-4.42")
	want := map[string]bool{"one": true, "two": false, "sender": false}
	one.eventually("the device two as not receiving", func() bool { return one.listed()["two"].get("on").is(false) })
	t.on("T-4.203")
	for name := range want {
		t.check(one, slices.Contains(one.devices(), name), "the device "+name+" listed once it has signed in", "it is not")
	}
	t.on("T-4.42")
	p := one.wantOK(one.exchange(reqListDevices, nil))
	devices := p.body.get("devs").list()
	t.check(one, len(devices) == len(want), "3 devices", fmt.Sprint(len(devices)))
	for _, d := range devices {
		for _, f := range deviceShape.faults("T-4.42", "devs[]", d) {
			t.wrong(one, "a device as declared", f.what)
		}
		name := d.get("dev").str()
		on, known := want[name]
		switch {
		case !known:
			t.wrong(one, "devices one, two and sender", name)
		case !d.get("on").is(on):
			t.wrong(one, fmt.Sprintf("on %t for %s", on, name), "the opposite, or none")
		case d.get("seen").num() < 1_577_836_800_000:
			t.wrong(one, "seen in ms since 1970", fmt.Sprint(d.get("seen").num()))
		}
	}
}

// listed returns the user's devices by name.
func (c *conn) listed() map[string]*value {
	devices := make(map[string]*value)
	for _, d := range c.wantOK(c.exchange(reqListDevices, nil)).body.get("devs").list() {
		devices[d.get("dev").str()] = d
	}
	return devices
}

func checkRemoveDevice(t *T) {
	u := t.newUser()
	one, two := t.signIn(u, "dev", "one"), t.signIn(u, "dev", "two")
	sender := t.signIn(u, "dev", "two", "recv", false)
	one.send(u, "first")
	two.wantTexts("before it is removed", "first")
	t.on("T-4.45")
	for _, dev := range []string{letters(65), letters(255)} {
		one.try(reqRemoveDevice, fields{"dev", dev}, fmt.Sprintf("dev of %d bytes", len(dev)), errMalformed)
	}
	one.try(reqRemoveDevice, fields{"dev", "unknown"}, "an unknown device", ok)
	t.on("T-4.43")
	one.try(reqRemoveDevice, fields{"dev", "two"}, "another device", ok)
	two.wantClose("REMOVE_DEVICE", 4002)
	sender.wantClose("REMOVE_DEVICE", 4002)
	c := t.greeted()
	c.try(reqSignIn, fields{"user", u.name, "dev", "two", "tok", bin(two.tok)}, "a removed device's token", errCredentials)
	if devices := one.devices(); slices.Contains(devices, "two") {
		t.wrong(one, "a removed device not to be listed", fmt.Sprintf("%q", devices))
	}
	t.on("T-4.44")
	c.signIn(u, "dev", "two")
	c.wantTexts("on a device that was removed, since the other has not taken it", "first")
	t.on("T-4.145")
	c.try(reqRemoveDevice, fields{"dev", "two"}, "its own device", ok)
	t.on("T-4.43")
	c.wantClose("REMOVE_DEVICE of its own", 4002)
	t.on("T-4.145")
	t.check(c, c.answeredFirst(), "REMOVE_DEVICE's response before the close", "the close before it")
}

// answeredFirst reports whether a connection's last request was answered before the node closed.
func (c *conn) answeredFirst() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked, answered := false, false
	for _, x := range c.crossed {
		switch {
		case x.What == "packet" && x.Sent:
			asked, answered = true, false
		case x.What == "packet":
			answered = true
		case x.What == "close" && !x.Sent:
			return asked && answered
		}
	}
	return false
}

func checkManyDevices(t *T) {
	u := t.newUser()
	first := t.signIn(u, "dev", "device-1")
	second := t.signIn(u, "dev", "device-2")
	second.hang()
	first.eventually("device-2 as not receiving", func() bool { return first.listed()["device-2"].get("on").is(false) })
	rest := []*conn{first}
	for i := 3; i <= 32; i++ {
		rest = append(rest, t.signIn(u, "dev", fmt.Sprintf("device-%d", i)))
	}
	t.on("T-4.92")
	t.check(first, len(first.devices()) == 32, "32 devices", fmt.Sprint(len(first.devices())))
	rest = append(rest, t.signIn(u, "dev", "device-33"))
	devices := first.devices()
	if len(devices) != 32 || slices.Contains(devices, "device-2") {
		t.wrong(first, "device-2, the one unseen longest, dropped for the 33rd", fmt.Sprintf("%q", devices))
	}
	for _, c := range rest {
		c.alive("a 33rd device, since it is connected")
	}
	t.on("T-4.93")
	last := t.signIn(u, "dev", "device-34")
	first.wantClose("a 33rd device when all are connected", 4002)
	if devices := last.devices(); len(devices) != 32 || slices.Contains(devices, "device-1") {
		t.wrong(last, "device-1, the one signed in longest ago, dropped", fmt.Sprintf("%q", devices))
	}
}
