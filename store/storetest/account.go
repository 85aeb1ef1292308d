package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

func testCreateUser(f *fixture) {
	made := f.now.Add(123456 * time.Nanosecond)
	o := &store.CreateUser{Name: "alice", Password: "hash", Time: made}
	f.commit(o)
	if o.ID == 0 || o.NameTaken || o.InviteInvalid {
		f.Fatalf("result is %+v", o)
	}
	want := store.User{ID: o.ID, Name: "alice", Password: "hash", Created: f.now}
	got, err := f.store().User(f.Context(), "alice")
	if err != nil {
		f.Fatal(err)
	}
	f.want("user by name", got, want)
	got, err = f.store().UserByID(f.Context(), o.ID)
	if err != nil {
		f.Fatal(err)
	}
	f.want("user by id", got, want)

	again := &store.CreateUser{Name: "alice", Password: "other", Time: made}
	f.commit(again)
	if !again.NameTaken || again.ID != 0 {
		f.Errorf("second user of a name: %+v", again)
	}
	if _, err := f.store().User(f.Context(), "bob"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("unknown name: %v", err)
	}
	if _, err := f.store().UserByID(f.Context(), o.ID+1); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("unknown id: %v", err)
	}
	a, b := &store.CreateUser{Name: "carol"}, &store.CreateUser{Name: "carol"}
	f.commit(a, b)
	if a.ID == 0 || !b.NameTaken {
		f.Errorf("one name twice in a batch: %+v, %+v", a, b)
	}
}

func testInvites(f *fixture) {
	known, unknown := [32]byte{1}, [32]byte{2}
	f.commit(&store.AddInvite{Hash: known, Time: f.now})
	if err := f.store().Invite(f.Context(), known); err != nil {
		f.Errorf("unused invitation: %v", err)
	}
	if err := f.store().Invite(f.Context(), unknown); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("unknown invitation: %v", err)
	}
	f.user("alice")
	for _, tt := range []struct {
		why     string
		name    tipt.UserName
		invite  [32]byte
		made    bool
		taken   bool
		invalid bool
	}{
		{"unknown invitation", "bob", unknown, false, false, true},
		{"the invitation is looked at before the name", "alice", unknown, false, false, true},
		{"name taken", "alice", known, false, true, false},
		{"what failed did not use it", "bob", known, true, false, false},
		{"used", "carol", known, false, false, true},
	} {
		o := &store.CreateUser{Name: tt.name, Invite: &tt.invite, Time: f.now}
		f.commit(o)
		if (o.ID != 0) != tt.made || o.NameTaken != tt.taken || o.InviteInvalid != tt.invalid {
			f.Errorf("%s: %+v", tt.why, o)
		}
	}
	f.reopen()
	if err := f.store().Invite(f.Context(), known); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("used invitation: %v", err)
	}
	once := [32]byte{3}
	a := &store.CreateUser{Name: "dave", Invite: &once}
	b := &store.CreateUser{Name: "erin", Invite: &once}
	f.commit(&store.AddInvite{Hash: once}, &store.AddInvite{Hash: once}, a, b)
	if a.ID == 0 || !b.InviteInvalid {
		f.Errorf("one invitation twice in a batch: %+v, %+v", a, b)
	}
}

func testUsers(f *fixture) {
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("user%d", 6-i)
		f.user(name)
		want = append([]string{name}, want...)
	}
	var got []string
	var after tipt.UserName
	for {
		page, err := f.store().Users(f.Context(), after, 3)
		if err != nil {
			f.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		if len(page) > 3 {
			f.Fatalf("page of %d", len(page))
		}
		for _, u := range page {
			got = append(got, string(u.Name))
			after = u.Name
		}
	}
	f.want("all users in pages", got, want)
}

func testChangeUser(f *fixture) {
	user := f.user("alice")
	f.signIn(user, "phone")
	f.commit(
		&store.SetPassword{User: user, Password: "new"},
		&store.SetDisabled{User: user, Disabled: true},
		&store.SetKey{User: user, Key: []byte("certificate")},
	)
	f.reopen()
	get := func() store.User {
		u, err := f.store().UserByID(f.Context(), user)
		if err != nil {
			f.Fatal(err)
		}
		return u
	}
	f.want("changed", get(), store.User{ID: user, Name: "alice", Password: "new", Key: []byte("certificate"), Created: f.now, Disabled: true})
	m := f.append(user)
	f.wantSeqs("the mailbox of a disabled user fills", user, m.Seq)

	f.commit(&store.SetDisabled{User: user}, &store.SetKey{User: user})
	f.want("changed back", get(), store.User{ID: user, Name: "alice", Password: "new", Created: f.now})

	// Users that are gone, or never were, are no error.
	f.commit(&store.DeleteUser{User: user})
	want := get()
	for _, id := range []store.UserID{user, user + 100} {
		f.commit(
			&store.SetPassword{User: id, Password: "x"},
			&store.SetDisabled{User: id, Disabled: true},
			&store.SetKey{User: id, Key: []byte("x")},
			&store.DeleteUser{User: id},
			&store.RemoveDevice{User: id, Device: "phone"},
			&store.SeeDevice{User: id, Device: "phone", Time: f.now},
			&store.Take{User: id, Device: "phone", Seq: 1},
		)
	}
	f.want("a deleted user does not change", get(), want)
}

func testDeleteUser(f *fixture) {
	user, other := f.user("alice"), f.user("bob")
	f.signIn(user, "phone")
	f.signIn(other, "phone")
	f.commit(&store.SetKey{User: user, Key: []byte("certificate")})
	for range 3 {
		f.append(user)
	}
	kept := f.append(other)
	f.commit(&store.DeleteUser{User: user})

	for _, when := range []string{"deleted", "reopened"} {
		u, err := f.store().User(f.Context(), "alice")
		if err != nil {
			f.Fatal(err)
		}
		f.want(when, u, store.User{ID: user, Name: "alice", Created: f.now, Deleted: true})
		f.wantSeqs(when, user)
		f.wantDevices(when, user)
		f.wantSeqs(when+": another user", other, kept.Seq)
		f.wantDevices(when+": another user", other, "phone")

		o := f.message(user)
		in := &store.SignIn{User: user, Device: "phone", Receive: true, Time: f.now, MaxDevices: 32}
		name := &store.CreateUser{Name: "alice", Time: f.now}
		f.commit(o, in, name)
		if o.Outcome != store.NoUser || o.Seq != 0 {
			f.Errorf("%s: append: %+v", when, o)
		}
		if !in.NoUser {
			f.Errorf("%s: sign-in: %+v", when, in)
		}
		if !name.NameTaken {
			f.Errorf("%s: the name is free: %+v", when, name)
		}
		f.reopen()
	}
	if next := f.user("carol"); next <= other {
		f.Errorf("user %d came after %d", next, other)
	}

	// A deletion and what else its batch has to do with the user.
	next := f.user("dave")
	before, after := f.message(next), f.message(next)
	f.commit(before, &store.DeleteUser{User: next}, after)
	if before.Outcome != store.Stored || after.Outcome != store.NoUser {
		f.Errorf("outcomes around the deletion are %d and %d", before.Outcome, after.Outcome)
	}
	f.wantSeqs("deleted in the batch of its message", next)
	unknown := f.message(next + 100)
	f.commit(unknown)
	if unknown.Outcome != store.NoUser {
		f.Errorf("message to nobody got outcome %d", unknown.Outcome)
	}
}
