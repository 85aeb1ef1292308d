package account_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
)

func TestSetPasswordOrder(t *testing.T) {
	const pass = "correct horse"
	n := newNode(t, account.Options{NoLimits: true})
	id := n.register(t, "alice", pass)
	for _, test := range []struct {
		name     string
		old, new string
		want     tipt.ErrorCode
		hashes   int64
	}{
		{"wrong old one before bad new one", "correct house", "", tipt.ErrCredentials, 1},
		{"empty old one", "", "battery staple", tipt.ErrCredentials, 1},
		{"short old one", "short", "battery staple", tipt.ErrCredentials, 1},
		{"long old one", strings.Repeat("x", 255), "battery staple", tipt.ErrCredentials, 1},
		{"empty new one", pass, "", tipt.ErrPasswordInvalid, 1},
		{"short new one", pass, "7 bytes", tipt.ErrPasswordInvalid, 1},
		{"long new one", pass, strings.Repeat("x", 256), tipt.ErrPasswordInvalid, 1},
		{"right", pass, "8 bytes.", none, 2},
		{"old one again", pass, "battery staple", tipt.ErrCredentials, 1},
		{"right again", "8 bytes.", strings.Repeat("x", 255), none, 2},
	} {
		before := n.Hashes()
		err := n.SetPassword(t.Context(), id, "", tipt.SetPasswordRequest{Old: test.old, New: test.new}, home)
		want(t, test.name, err, test.want)
		if got := n.Hashes() - before; got != test.hashes {
			t.Errorf("%s: %d hashes, want %d", test.name, got, test.hashes)
		}
	}
	n.signIn(t, byPassword("alice", "phone", strings.Repeat("x", 255)))
}

func TestSetPasswordRevokesTokens(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	phone := n.signIn(t, byPassword("alice", "phone", "correct horse")).Token
	laptop := n.signIn(t, byPassword("alice", "laptop", "correct horse")).Token
	err := n.SetPassword(t.Context(), id, "phone", tipt.SetPasswordRequest{Old: "correct horse", New: "battery staple"}, home)
	if err != nil {
		t.Fatal(err)
	}
	n.signIn(t, byToken("alice", "phone", phone))
	_, err = n.SignIn(t.Context(), byToken("alice", "laptop", laptop), home, nobodyOnline)
	want(t, "the other device", err, tipt.ErrCredentials)
	device, err := n.store.Device(t.Context(), id, "laptop")
	if err != nil || !device.HasPlace {
		t.Errorf("the other device's place: %v, %v", device, err)
	}
}

// TestOvertakenPassword has the password changed after SET_PASSWORD or DELETE_ACCOUNT has
// found it right.
func TestOvertakenPassword(t *testing.T) {
	for name, late := range map[string]change{"SET_PASSWORD": setPassword, "DELETE_ACCOUNT": deleteAccount} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, account.Options{})
			id := n.register(t, "alice", "correct horse")
			n.store.read = func(string) {
				n.store.read = nil
				err := n.SetPassword(t.Context(), id, "", tipt.SetPasswordRequest{Old: "correct horse", New: "new password"}, home)
				if err != nil {
					t.Error(err)
				}
			}
			want(t, name, late(t.Context(), n, id), tipt.ErrCredentials)
			n.signIn(t, byPassword("alice", "phone", "new password"))
		})
	}
}

func TestDeleteAccount(t *testing.T) {
	n := newNode(t, account.Options{NoLimits: true})
	id := n.register(t, "alice", "correct horse")
	n.signIn(t, byPassword("alice", "phone", "correct horse"))
	for _, pass := range []string{"", "correct house", strings.Repeat("x", 255)} {
		before := n.Hashes()
		err := n.DeleteAccount(t.Context(), id, tipt.DeleteAccountRequest{Password: pass}, home)
		want(t, "wrong password", err, tipt.ErrCredentials)
		if got := n.Hashes() - before; got != 1 {
			t.Errorf("%d hashes, want 1", got)
		}
	}
	if err := n.DeleteAccount(t.Context(), id, tipt.DeleteAccountRequest{Password: "correct horse"}, home); err != nil {
		t.Fatal(err)
	}
	if devices, err := n.Devices(t.Context(), id); err != nil || len(devices) != 0 {
		t.Errorf("devices left: %v, %v", devices, err)
	}
	err := n.DeleteAccount(t.Context(), id, tipt.DeleteAccountRequest{Password: "correct horse"}, home)
	want(t, "once more", err, tipt.ErrCredentials)
	err = n.Register(t.Context(), tipt.RegisterRequest{User: "alice", Password: "correct horse"})
	want(t, "REGISTER", err, tipt.ErrNameTaken)
}

func TestDefaultCost(t *testing.T) {
	n := newNode(t, account.Options{Hash: account.HashCost{Threads: 1}})
	n.register(t, "alice", "correct horse")
	u, err := n.Lookup(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`).MatchString(u.Password) {
		t.Errorf("stored as %q", u.Password)
	}
	n.signIn(t, byPassword("alice", "phone", "correct horse"))
}

func BenchmarkSignInByPassword(b *testing.B) {
	n := newNode(b, account.Options{Hash: account.HashCost{Threads: 1}})
	n.register(b, "alice", "correct horse")
	b.ReportAllocs()
	for b.Loop() {
		n.signIn(b, byPassword("alice", "phone", "correct horse"))
	}
}

func BenchmarkSignInByToken(b *testing.B) {
	n := newNode(b, account.Options{})
	n.register(b, "alice", "correct horse")
	req := byToken("alice", "phone", n.signIn(b, byPassword("alice", "phone", "correct horse")).Token)
	b.ReportAllocs()
	for b.Loop() {
		n.signIn(b, req)
	}
}
