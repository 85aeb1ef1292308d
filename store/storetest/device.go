package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go/store"
)

func testSignIn(f *fixture) {
	user := f.user("alice")
	if _, err := f.store().Device(f.Context(), user, "phone"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("unknown device: %v", err)
	}
	first := f.now
	o := &store.SignIn{User: user, Device: "phone", TokenHash: []byte("hash"), Receive: true, Time: first, MaxDevices: 32}
	f.commit(o)
	if o.NoUser || !o.TokenSet || o.Place != 0 || o.Dropped != nil {
		f.Errorf("result is %+v", o)
	}
	f.want("new", f.device(user, "phone"), store.Device{Name: "phone", TokenHash: []byte("hash"), HasPlace: true, Created: first, Seen: first})

	f.append(user)
	f.append(user)
	f.take(user, "phone", 1)
	f.now = f.now.Add(time.Hour)
	if o := f.signIn(user, "phone"); o.Place != 1 || o.TokenSet {
		f.Errorf("second sign-in: %+v", o)
	}
	f.reopen()
	f.want("again", f.device(user, "phone"), store.Device{Name: "phone", TokenHash: []byte("hash"), Place: 1, HasPlace: true, Created: first, Seen: f.now})

	seen := f.now.Add(time.Minute)
	f.commit(&store.SeeDevice{User: user, Device: "phone", Time: seen}, &store.SeeDevice{User: user, Device: "unknown", Time: seen})
	if got := f.device(user, "phone").Seen; !got.Equal(seen) {
		f.Errorf("seen %v, want %v", got, seen)
	}
	f.wantDevices("seeing makes none", user, "phone")

	// A place and a sign-in in one batch.
	in := &store.SignIn{User: user, Device: "phone", Receive: true, Time: f.now, MaxDevices: 32}
	f.commit(&store.Take{User: user, Device: "phone", Seq: 2}, in)
	if in.Place != 2 {
		f.Errorf("place is %d after taking in the same batch", in.Place)
	}
}

func testFirstPlace(f *fixture) {
	user := f.user("alice")
	for range 4 {
		f.append(user)
	}
	sender := &store.SignIn{User: user, Device: "sender", Time: f.now, MaxDevices: 32}
	f.commit(sender)
	f.want("a device that only sends", f.device(user, "sender"), store.Device{Name: "sender", Created: f.now, Seen: f.now})

	if o := f.signIn(user, "phone"); o.Place != 0 {
		f.Errorf("the first device starts at %d", o.Place)
	}
	f.take(user, "phone", 3)
	f.wantSeqs("one without a place holds nothing back", user, 4)

	if o := f.signIn(user, "laptop"); o.Place != 3 {
		f.Errorf("a later device starts at %d, message 4 is the oldest", o.Place)
	}
	if o := f.signIn(user, "sender"); o.Place != 3 {
		f.Errorf("first receiving sign-in starts at %d, message 4 is the oldest", o.Place)
	}
	f.take(user, "phone", 4)
	f.take(user, "laptop", 4)
	f.take(user, "sender", 4)
	f.reopen()
	if o := f.signIn(user, "tablet"); o.Place != 4 {
		f.Errorf("with an empty mailbox a device starts at %d", o.Place)
	}

	// Taking by all and a new device in one batch: nothing is held then.
	user = f.user("bob")
	f.signIn(user, "phone")
	f.append(user)
	in := &store.SignIn{User: user, Device: "laptop", Receive: true, Time: f.now, MaxDevices: 32}
	f.commit(&store.Take{User: user, Device: "phone", Seq: 1}, in)
	if in.Place != 1 {
		f.Errorf("place is %d, everything was taken before", in.Place)
	}
	f.wantSeqs("taken by all", user)
}

func testTokens(f *fixture) {
	user := f.user("alice")
	signIn := func(device, token string, ifNone bool) bool {
		o := &store.SignIn{User: user, Device: device, IfNone: ifNone, Time: f.now, MaxDevices: 32}
		if token != "" {
			o.TokenHash = []byte(token)
		}
		f.commit(o)
		return o.TokenSet
	}
	for _, tt := range []struct {
		why    string
		token  string
		ifNone bool
		set    bool
		want   string
	}{
		{"none", "", false, false, ""},
		{"the first, where there is none", "a", true, true, "a"},
		{"where there is one", "b", true, false, "a"},
		{"replaced", "c", false, true, "c"},
		{"kept", "", false, false, "c"},
	} {
		if set := signIn("phone", tt.token, tt.ifNone); set != tt.set {
			f.Errorf("%s: set is %v", tt.why, set)
		}
		if got := string(f.device(user, "phone").TokenHash); got != tt.want {
			f.Errorf("%s: token is %q, want %q", tt.why, got, tt.want)
		}
	}

	signIn("laptop", "d", false)
	f.signIn(user, "laptop")
	f.append(user)
	f.take(user, "laptop", 1)
	f.commit(&store.SetPassword{User: user, Password: "x", Keep: "phone"})
	if got := f.device(user, "phone").TokenHash; string(got) != "c" {
		f.Errorf("the kept token is %q", got)
	}
	f.want("another device", f.device(user, "laptop"), store.Device{Name: "laptop", Place: 1, HasPlace: true, Created: f.now, Seen: f.now})
	if !signIn("laptop", "e", true) {
		f.Error("a revoked token still counts as one")
	}
	f.commit(&store.SetPassword{User: user, Password: "x"})
	for _, name := range []string{"phone", "laptop"} {
		if got := f.device(user, name).TokenHash; got != nil {
			f.Errorf("%s still has token %q", name, got)
		}
	}
}

func testDropDevices(f *fixture) {
	for _, tt := range []struct {
		why     string
		devices []string // in the order seen
		online  []string
		in      string
		max     int
		dropped []string
	}{
		{"room for one more", []string{"a", "b"}, nil, "c", 3, nil},
		{"the one unseen longest", []string{"b", "a", "c"}, nil, "d", 3, []string{"b"}},
		{"one that is known", []string{"b", "a", "c"}, nil, "b", 3, nil},
		{"connected ones are seen", []string{"a", "b", "c"}, []string{"a"}, "d", 3, []string{"b"}},
		{"all are connected", []string{"a", "b", "c"}, []string{"b", "c", "a"}, "d", 3, []string{"b"}},
		{"connected ones that are no devices", []string{"a", "b", "c"}, []string{"x", "c", "b", "a"}, "d", 3, []string{"c"}},
		{"itself is never dropped", []string{"a"}, []string{"b", "a"}, "b", 1, []string{"a"}},
		{"a limit that was lowered", []string{"c", "a", "b", "d"}, []string{"c"}, "b", 2, []string{"a", "d"}},
	} {
		user := f.user(fmt.Sprintf("user of %s", tt.why))
		for i, name := range tt.devices {
			f.commit(&store.SignIn{User: user, Device: name, Receive: true, Time: f.now.Add(time.Duration(i) * time.Second), MaxDevices: 32})
		}
		o := &store.SignIn{User: user, Device: tt.in, Receive: true, Online: tt.online, Time: f.now.Add(time.Hour), MaxDevices: tt.max}
		f.commit(o)
		f.want(tt.why, o.Dropped, tt.dropped)
		for _, name := range tt.dropped {
			if _, err := f.store().Device(f.Context(), user, name); !errors.Is(err, store.ErrNotFound) {
				f.Errorf("%s: device %s: %v", tt.why, name, err)
			}
		}
		f.device(user, tt.in)
	}

	// A dropped device holds nothing back any more.
	user := f.user("alice")
	f.signIn(user, "slow")
	f.now = f.now.Add(time.Second)
	f.signIn(user, "phone")
	f.append(user)
	f.append(user)
	f.take(user, "phone", 1)
	f.wantSeqs("the slow one has taken nothing", user, 1, 2)
	o := &store.SignIn{User: user, Device: "laptop", Receive: true, Time: f.now, MaxDevices: 2}
	f.commit(o)
	f.want("dropped", o.Dropped, []string{"slow"})
	f.wantSeqs("the slow one is gone", user, 1, 2) // laptop came before that
	f.commit(&store.RemoveDevice{User: user, Device: "laptop"})
	f.wantSeqs("only the phone is left", user, 2)
}

func testRemoveDevice(f *fixture) {
	user, other := f.user("alice"), f.user("bob")
	f.signIn(user, "phone")
	f.signIn(user, "laptop")
	f.signIn(other, "phone")
	for range 3 {
		f.append(user)
	}
	f.take(user, "phone", 2)
	f.commit(&store.RemoveDevice{User: user, Device: "unknown"})
	f.wantDevices("an unknown one", user, "laptop", "phone")
	f.wantSeqs("held back by the laptop", user, 1, 2, 3)

	f.commit(&store.RemoveDevice{User: user, Device: "laptop"})
	f.wantDevices("removed", user, "phone")
	f.wantDevices("of another user", other, "phone")
	f.wantSeqs("what the phone has not taken", user, 3)

	f.commit(&store.RemoveDevice{User: user, Device: "phone"})
	f.reopen()
	f.wantSeqs("without a device messages wait for the first", user, 3)
	if o := f.signIn(user, "phone"); o.Place != 2 {
		f.Errorf("a device that comes again starts at %d", o.Place)
	}

	// A place that moved in the batch that removes the device, or another.
	user = f.user("carol")
	f.signIn(user, "a")
	f.signIn(user, "b")
	f.append(user)
	f.append(user)
	f.commit(
		&store.Take{User: user, Device: "a", Seq: 1},
		&store.Take{User: user, Device: "b", Seq: 2},
		&store.RemoveDevice{User: user, Device: "b"},
	)
	f.wantSeqs("a has taken one", user, 2)
	f.want("a", f.device(user, "a"), store.Device{Name: "a", Place: 1, HasPlace: true, Created: f.now, Seen: f.now})
}
