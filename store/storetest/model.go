package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// A model does to plain slices what a store does to its tables, for the
// operations whose effects depend on each other: those on mailboxes and devices.
type model struct {
	users map[store.UserID]*modelUser
	ids   map[modelID]time.Time
}

type modelUser struct {
	seq      int64
	messages []store.Message
	devices  []store.Device
}

type modelID struct {
	id   tipt.MessageID
	user store.UserID
	from string
}

func (m *model) append(o *store.Append) (outcome store.Outcome, seq int64) {
	deliver := o.Kind == store.KindDeliver
	key := modelID{o.ID, o.User, o.From}
	if noted, ok := m.ids[key]; deliver && ok && !noted.Before(o.Time.Add(-tipt.DuplicateRetention)) {
		return store.Duplicate, 0
	}
	u := m.users[o.User]
	if u == nil {
		return store.NoUser, 0
	}
	if deliver {
		left := slices.Clone(u.messages)
		for !fits(left, o) {
			i := slices.IndexFunc(left, func(l store.Message) bool { return l.Kind == store.KindDeliver && l.Seq <= u.furthest() })
			if i < 0 {
				return store.Full, 0
			}
			left = slices.Delete(left, i, i+1)
		}
		u.messages = left
		m.ids[key] = o.Time
	}
	u.seq++
	u.messages = append(u.messages, store.Message{Seq: u.seq, Kind: o.Kind, From: o.From, ID: o.ID, Time: o.Time, Body: o.Body})
	return store.Stored, u.seq
}

func fits(messages []store.Message, o *store.Append) bool {
	count, bytes := 1, int64(len(o.Body))
	for _, m := range messages {
		if m.Kind == store.KindDeliver {
			count++
			bytes += int64(len(m.Body))
		}
	}
	return (o.MaxCount == 0 || count <= o.MaxCount) && (o.MaxBytes == 0 || bytes <= o.MaxBytes)
}

func (u *modelUser) furthest() (seq int64) {
	for _, d := range u.devices {
		seq = max(seq, d.Place)
	}
	return seq
}

// trim removes what all devices with a place have taken.
func (u *modelUser) trim() {
	upto, placed := u.seq, false
	for _, d := range u.devices {
		if d.HasPlace {
			upto, placed = min(upto, d.Place), true
		}
	}
	if placed {
		u.messages = slices.DeleteFunc(u.messages, func(m store.Message) bool { return m.Seq <= upto })
	}
}

func (u *modelUser) device(name string) int {
	return slices.IndexFunc(u.devices, func(d store.Device) bool { return d.Name == name })
}

func (m *model) take(o *store.Take) {
	u := m.users[o.User]
	if u == nil {
		return
	}
	if i := u.device(o.Device); i >= 0 && u.devices[i].HasPlace {
		u.devices[i].Place = max(u.devices[i].Place, min(o.Seq, u.seq))
		u.trim()
	}
}

func (m *model) signIn(o *store.SignIn) (place int64, dropped []string) {
	u := m.users[o.User]
	if u == nil {
		return 0, nil
	}
	i := u.device(o.Device)
	if i < 0 {
		i = len(u.devices)
		u.devices = append(u.devices, store.Device{Name: o.Device, Created: o.Time})
	}
	d := &u.devices[i]
	d.Seen = o.Time
	if o.Receive && !d.HasPlace {
		d.HasPlace, d.Place = true, u.seq
		if len(u.messages) > 0 {
			d.Place = u.messages[0].Seq - 1
		}
	}
	if o.Receive {
		place = d.Place
	}
	for len(u.devices) > o.MaxDevices {
		victim := -1
		for i, d := range u.devices {
			if d.Name != o.Device && (victim < 0 || d.Seen.Before(u.devices[victim].Seen)) {
				victim = i
			}
		}
		dropped = append(dropped, u.devices[victim].Name)
		u.devices = slices.Delete(u.devices, victim, victim+1)
		u.trim()
	}
	return place, dropped
}

func (m *model) removeDevice(user store.UserID, name string) {
	if u := m.users[user]; u != nil {
		u.devices = slices.DeleteFunc(u.devices, func(d store.Device) bool { return d.Name == name })
		u.trim()
	}
}

func (m *model) expire(o *store.Expire) {
	for user, u := range m.users {
		devices := slices.Clone(u.devices)
		slices.SortFunc(devices, func(a, b store.Device) int { return a.Seen.Compare(b.Seen) })
		for _, d := range devices {
			if d.Seen.Before(o.Devices) {
				m.removeDevice(user, d.Name)
			}
		}
		for len(u.messages) > 0 && u.messages[0].Time.Before(o.Messages) {
			u.messages = u.messages[1:]
		}
	}
	for key, noted := range m.ids {
		if noted.Before(o.Duplicates) {
			delete(m.ids, key)
		}
	}
}

// testModel does the same to a store and to a model, in batches, some of which
// fail, and compares all that can be seen after each.
func testModel(f *fixture) {
	(&modelTest{fixture: f, rand: rand.New(rand.NewPCG(f.seed(), 0))}).run()
}

type modelTest struct {
	*fixture
	rand  *rand.Rand
	model model
	names []store.UserID
}

func (t *modelTest) run() {
	t.model = model{users: make(map[store.UserID]*modelUser), ids: make(map[modelID]time.Time)}
	for i := range 400 {
		t.now = t.now.Add(time.Duration(t.rand.IntN(12)) * time.Hour)
		if len(t.names) < 3 || t.rand.IntN(50) == 0 {
			id := t.user(fmt.Sprintf("user%d", i))
			t.names = append(t.names, id)
			t.model.users[id] = &modelUser{}
		}
		var batch []store.Op
		var checks []func()
		for range 1 + t.rand.IntN(8) {
			op, apply := t.op()
			batch = append(batch, op)
			checks = append(checks, apply)
		}
		if t.rand.IntN(10) == 0 {
			if err := t.store().Commit(t.Context(), append(slices.Clip(batch), impossible{})); err == nil {
				t.Fatal("an impossible batch is committed")
			}
			t.compare(i)
		}
		t.commit(batch...)
		for _, check := range checks {
			check()
		}
		if t.rand.IntN(10) == 0 {
			o := store.Expire{
				Messages:   t.now.Add(-time.Duration(t.rand.IntN(100)) * time.Hour),
				Duplicates: t.now.Add(-tipt.DuplicateRetention),
				Devices:    t.now.Add(-time.Duration(50+t.rand.IntN(100)) * time.Hour),
				Limit:      1 + t.rand.IntN(10),
			}
			t.expire(o)
			t.model.expire(&o)
		}
		if t.rand.IntN(30) == 0 {
			t.reopen()
		}
		t.compare(i)
		if t.Failed() {
			return
		}
	}
}

// op makes an operation up. apply does it to the model and compares the results.
func (t *modelTest) op() (op store.Op, apply func()) {
	user := t.names[t.rand.IntN(len(t.names))]
	device := string(rune('a' + t.rand.IntN(5)))
	switch n := t.rand.IntN(100); {
	case n < 50:
		o := &store.Append{User: user, ID: id(t.rand.IntN(300)), Time: t.now, Body: body(n, t.rand.IntN(2000)), MaxCount: 1 + t.rand.IntN(12), MaxBytes: 10_000}
		if t.rand.IntN(8) == 0 {
			o.Kind = store.KindReturn
		}
		return o, func() {
			outcome, seq := t.model.append(o)
			if o.Outcome != outcome || o.Seq != seq {
				t.Errorf("append: outcome %d, seq %d, want %d and %d", o.Outcome, o.Seq, outcome, seq)
			}
		}
	case n < 75:
		var last int64
		if u := t.model.users[user]; u != nil {
			last = u.seq
		}
		o := &store.Take{User: user, Device: device, Seq: max(last-int64(t.rand.IntN(8))+3, 0)}
		return o, func() { t.model.take(o) }
	case n < 90:
		t.now = t.now.Add(time.Second) // no two devices are seen at one time
		o := &store.SignIn{User: user, Device: device, Receive: t.rand.IntN(4) > 0, Time: t.now, MaxDevices: 3}
		return o, func() {
			place, dropped := t.model.signIn(o)
			if o.Place != place || o.NoUser != (t.model.users[user] == nil) {
				t.Errorf("sign-in: %+v, want place %d", o, place)
			}
			t.want("dropped", o.Dropped, dropped)
		}
	case n < 98:
		return &store.RemoveDevice{User: user, Device: device}, func() { t.model.removeDevice(user, device) }
	default:
		return &store.DeleteUser{User: user}, func() { delete(t.model.users, user) }
	}
}

func (t *modelTest) compare(step int) {
	t.Helper()
	for _, user := range t.names {
		u := t.model.users[user]
		if u == nil {
			u = &modelUser{}
		}
		why := fmt.Sprintf("step %d, user %d", step, user)
		t.want(why, t.messages(user, 0), u.messages)
		devices, err := t.store().Devices(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(u.devices)
		slices.SortFunc(want, func(a, b store.Device) int { return int(a.Name[0]) - int(b.Name[0]) })
		t.want(why, devices, want)
	}
}
