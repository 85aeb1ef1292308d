package account_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/store"
)

func TestSignInRefusals(t *testing.T) {
	const pass = "correct horse"
	n := newNode(t, account.Options{NoLimits: true})
	n.register(t, "alice", pass)
	token := n.signIn(t, byPassword("alice", "phone", pass)).Token
	n.register(t, "locked", pass)
	lockedToken := n.signIn(t, byPassword("locked", "phone", pass)).Token
	if _, err := n.SetDisabled(t.Context(), "Locked", true); err != nil {
		t.Fatal(err)
	}
	gone := n.register(t, "gone", pass)
	goneToken := n.signIn(t, byPassword("gone", "phone", pass)).Token
	if err := n.DeleteAccount(t.Context(), gone, tipt.DeleteAccountRequest{Password: pass}, home); err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(token)
	other[31] ^= 1
	long := strings.Repeat("x", 255)

	for _, test := range []struct {
		name   string
		req    tipt.SignInRequest
		want   tipt.ErrorCode
		hashes int64
	}{
		{"right password", byPassword("ALICE", "laptop", pass), none, 1},
		{"wrong password", byPassword("alice", "phone", "correct house"), tipt.ErrCredentials, 1},
		{"empty password", byPassword("alice", "phone", ""), tipt.ErrCredentials, 1},
		{"short password", byPassword("alice", "phone", pass[:7]), tipt.ErrCredentials, 1},
		{"long password", byPassword("alice", "phone", long), tipt.ErrCredentials, 1},
		{"unknown user", byPassword("bob", "phone", pass), tipt.ErrCredentials, 1},
		{"no name", byPassword("no/name", "phone", pass), tipt.ErrCredentials, 1},
		{"empty name", byPassword("", "phone", pass), tipt.ErrCredentials, 1},
		{"long name", byPassword(long, "phone", pass), tipt.ErrCredentials, 1},
		{"deleted account", byPassword("gone", "phone", pass), tipt.ErrCredentials, 1},
		{"deleted account, empty password", byPassword("gone", "phone", ""), tipt.ErrCredentials, 1},
		{"disabled account", byPassword("locked", "phone", pass), tipt.ErrDisabled, 1},
		{"disabled account, wrong password", byPassword("locked", "phone", "correct house"), tipt.ErrCredentials, 1},

		{"right token", byToken("ALICE", "phone", token), none, 0},
		{"wrong token", byToken("alice", "phone", other), tipt.ErrCredentials, 0},
		{"empty token", byToken("alice", "phone", nil), tipt.ErrCredentials, 0},
		{"short token", byToken("alice", "phone", token[:31]), tipt.ErrCredentials, 0},
		{"long token", byToken("alice", "phone", append(bytes.Clone(token), 0)), tipt.ErrCredentials, 0},
		{"token's hash", byToken("alice", "phone", hashOf(token)), tipt.ErrCredentials, 0},
		{"token of another device", byToken("alice", "laptop", token), tipt.ErrCredentials, 0},
		{"token of another user", byToken("alice", "phone", lockedToken), tipt.ErrCredentials, 0},
		{"unknown device", byToken("alice", "tablet", token), tipt.ErrCredentials, 0},
		{"unknown user's token", byToken("bob", "phone", token), tipt.ErrCredentials, 0},
		{"no name's token", byToken("no/name", "phone", token), tipt.ErrCredentials, 0},
		{"deleted account's token", byToken("gone", "phone", goneToken), tipt.ErrCredentials, 0},
		{"disabled account's token", byToken("locked", "phone", lockedToken), tipt.ErrDisabled, 0},
		{"disabled account, wrong token", byToken("locked", "phone", token), tipt.ErrCredentials, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := n.Hashes()
			_, err := n.SignIn(t.Context(), test.req, home, nobodyOnline)
			want(t, "SIGN_IN", err, test.want)
			if got := n.Hashes() - before; got != test.hashes {
				t.Errorf("%d evaluations of argon2id, want %d", got, test.hashes)
			}
		})
	}

	if _, err := n.SetDisabled(t.Context(), "locked", false); err != nil {
		t.Fatal(err)
	}
	n.signIn(t, byToken("locked", "phone", lockedToken))
}

func hashOf(token []byte) []byte {
	sum := sha256.Sum256(token)
	return sum[:]
}

func TestRefusalsReadTheSame(t *testing.T) {
	n := newNode(t, account.Options{NoLimits: true})
	n.register(t, "alice", "correct horse")
	n.signIn(t, byPassword("alice", "phone", "correct horse"))
	token := make([]byte, tipt.TokenSize)

	reads := func(req tipt.SignInRequest) []string {
		t.Helper()
		var all []string
		n.store.read = func(what string) { all = append(all, what) }
		defer func() { n.store.read = nil }()
		_, err := n.SignIn(t.Context(), req, home, nobodyOnline)
		want(t, "SIGN_IN", err, tipt.ErrCredentials)
		return all
	}
	for _, user := range []string{"bob", "no/name"} {
		if diff := cmp.Diff(reads(byToken("alice", "phone", token)), reads(byToken(user, "phone", token))); diff != "" {
			t.Errorf("by token, %s: %s", user, diff)
		}
		if diff := cmp.Diff(reads(byPassword("alice", "phone", "wrong")), reads(byPassword(user, "phone", "wrong"))); diff != "" {
			t.Errorf("by password, %s: %s", user, diff)
		}
	}
}

func TestSignedIn(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	in := n.signIn(t, byPassword("Alice", "phone", "correct horse"))
	if len(in.Token) != tipt.TokenSize {
		t.Errorf("a token of %d bytes", len(in.Token))
	}
	device, err := n.store.Device(t.Context(), id, "phone")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(device.TokenHash, hashOf(in.Token)) {
		t.Error("the token is not stored as its SHA-256")
	}
	in.Token = nil
	if diff := cmp.Diff(account.SignedIn{
		User: id, Name: "alice", Address: "alice@node.example", Device: "phone", ByPassword: true,
	}, in); diff != "" {
		t.Error(diff)
	}
}

func TestPlaceOfDevice(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	token := n.signIn(t, byPassword("alice", "phone", "correct horse")).Token
	for i := range 3 {
		commit(t, n, &store.Append{User: id, ID: tipt.MessageID{byte(i)}})
	}
	commit(t, n, &store.Take{User: id, Device: "phone", Seq: 2})
	if in := n.signIn(t, byToken("alice", "phone", token)); in.Place != 2 {
		t.Errorf("place %d, want 2", in.Place)
	}
}

func TestTokenIsReplaced(t *testing.T) {
	n := newNode(t, account.Options{})
	n.register(t, "alice", "correct horse")
	first := n.signIn(t, byPassword("alice", "phone", "correct horse")).Token
	if in := n.signIn(t, byToken("alice", "phone", first)); in.Token != nil || in.ByPassword {
		t.Errorf("by token: token %x, by password %v", in.Token, in.ByPassword)
	}
	second := n.signIn(t, byPassword("alice", "phone", "correct horse")).Token
	n.signIn(t, byToken("alice", "phone", second))
	_, err := n.SignIn(t.Context(), byToken("alice", "phone", first), home, nobodyOnline)
	want(t, "the first token", err, tipt.ErrCredentials)
}

func TestTokenOfSendOnly(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	send := byPassword("alice", "phone", "correct horse")
	send.Receive = false

	first := n.signIn(t, send).Token
	if first == nil {
		t.Fatal("no token for a device that has none")
	}
	if device, err := n.store.Device(t.Context(), id, "phone"); err != nil || device.HasPlace {
		t.Errorf("the device has a place: %v, %v", device, err)
	}
	if second := n.signIn(t, send).Token; second != nil {
		t.Error("a token for a device that has one")
	}
	sendByToken := byToken("alice", "phone", first)
	sendByToken.Receive = false
	n.signIn(t, sendByToken)
	if device, err := n.store.Device(t.Context(), id, "phone"); err != nil || device.HasPlace {
		t.Errorf("the device has a place: %v, %v", device, err)
	}
	n.signIn(t, byToken("alice", "phone", first))
	if device, err := n.store.Device(t.Context(), id, "phone"); err != nil || !device.HasPlace {
		t.Errorf("the device has no place: %v, %v", device, err)
	}
}

func TestRemoveDevice(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	phone := n.signIn(t, byPassword("alice", "phone", "correct horse")).Token
	laptop := n.signIn(t, byPassword("alice", "laptop", "correct horse")).Token
	for _, device := range []string{"phone", "unknown"} {
		if err := n.RemoveDevice(t.Context(), id, device); err != nil {
			t.Fatal(err)
		}
	}
	devices, err := n.Devices(t.Context(), id)
	if err != nil || len(devices) != 1 || devices[0].Name != "laptop" {
		t.Errorf("left: %v, %v", devices, err)
	}
	_, err = n.SignIn(t.Context(), byToken("alice", "phone", phone), home, nobodyOnline)
	want(t, "the removed device", err, tipt.ErrCredentials)
	n.signIn(t, byToken("alice", "laptop", laptop))
}

func TestDroppedDevices(t *testing.T) {
	n := newNode(t, account.Options{MaxDevices: 2})
	id := n.register(t, "alice", "correct horse")
	signIn := func(device string, online ...string) []string {
		t.Helper()
		in, err := n.SignIn(t.Context(), byPassword("alice", device, "correct horse"), home, func(in account.SignedIn) ([]string, error) {
			if want := (account.SignedIn{User: id, Name: "alice", Address: "alice@node.example", Device: device, ByPassword: true}); !cmp.Equal(in, want) {
				t.Errorf("entered as %+v, want %+v", in, want)
			}
			return online, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return in.Dropped
	}
	signIn("a")
	signIn("b")
	if diff := cmp.Diff([]string{"b"}, signIn("c", "a")); diff != "" {
		t.Error("with a connected: ", diff)
	}
	if diff := cmp.Diff([]string{"c"}, signIn("d", "c", "a")); diff != "" {
		t.Error("with all connected, c for longest: ", diff)
	}
}

func TestSee(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	n.signIn(t, byPassword("alice", "phone", "correct horse"))
	commit(t, n, &store.SeeDevice{User: id, Device: "phone"}) // in the year 1
	done := make(chan error, 1)
	if err := n.See(t.Context(), id, "phone", func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	device, err := n.store.Device(t.Context(), id, "phone")
	if err != nil || device.Seen.Before(device.Created) {
		t.Errorf("seen %v, created %v, %v", device.Seen, device.Created, err)
	}
}

// TestOvertakenSignIn has credentials voided after a sign-in has found them right.
func TestOvertakenSignIn(t *testing.T) {
	const pass = "correct horse"
	for _, test := range []struct {
		name   string
		change change
		token  bool
		want   tipt.ErrorCode
	}{
		{"password changed, by password", setPassword, false, tipt.ErrCredentials},
		{"password changed, by token", setPassword, true, tipt.ErrCredentials},
		{"device removed, by password", removeDevice, false, none},
		{"device removed, by token", removeDevice, true, tipt.ErrCredentials},
		{"account disabled, by password", disable, false, tipt.ErrDisabled},
		{"account disabled, by token", disable, true, tipt.ErrDisabled},
		{"account deleted, by password", deleteAccount, false, tipt.ErrCredentials},
		{"account deleted, by token", deleteAccount, true, tipt.ErrCredentials},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, account.Options{})
			id := n.register(t, "alice", pass)
			req := byPassword("alice", "phone", pass)
			last := "User" // what is read before the password is verified
			if token := n.signIn(t, req).Token; test.token {
				req = byToken("alice", "phone", token)
				last = "Device"
			}
			n.store.read = func(what string) {
				if what == last {
					n.store.read = nil
					if err := test.change(t.Context(), n, id); err != nil {
						t.Error(err)
					}
				}
			}
			_, err := n.SignIn(t.Context(), req, home, nobodyOnline)
			want(t, "SIGN_IN", err, test.want)
		})
	}
}

// TestSignInReads has a sign-in by token look at the account and the device once, and again
// where something changed meanwhile.
func TestSignInReads(t *testing.T) {
	n := newNode(t, account.Options{})
	n.register(t, "alice", "correct horse")
	n.register(t, "bob", "battery staple")
	n.signIn(t, byPassword("bob", "desk", "battery staple"))
	token := n.signIn(t, byPassword("alice", "phone", "correct horse")).Token
	for _, test := range []struct {
		name string
		by   func() error
		want int
	}{
		{"nothing", func() error { return nil }, 2},
		{"a sign-in by token", func() error { n.signIn(t, byToken("alice", "phone", token)); return nil }, 4},
		{"a new token", func() error { n.signIn(t, byPassword("bob", "desk", "battery staple")); return nil }, 5},
	} {
		reads := 0
		n.store.read = func(what string) {
			if reads++; what != "Device" {
				return
			}
			n.store.read = func(string) { reads++ }
			if err := test.by(); err != nil {
				t.Error(err)
			}
		}
		n.signIn(t, byToken("alice", "phone", token))
		if n.store.read = nil; reads != test.want {
			t.Errorf("%s meanwhile: %d reads, want %d", test.name, reads, test.want)
		}
	}
}

// TestRevocationWaitsForSignIn has credentials voided while a sign-in, which has found
// them right for good, is not committed yet.
func TestRevocationWaitsForSignIn(t *testing.T) {
	for _, test := range []struct {
		name   string
		change change
		want   tipt.ErrorCode // of a sign-in with the token afterwards
	}{
		{"password changed", setPassword, tipt.ErrCredentials},
		{"device removed", removeDevice, tipt.ErrCredentials},
		{"account disabled", disable, tipt.ErrDisabled},
		{"account deleted", deleteAccount, tipt.ErrCredentials},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, account.Options{})
				id := n.register(t, "alice", "correct horse")
				changed := make(chan error, 1)
				in, err := n.SignIn(t.Context(), byPassword("alice", "phone", "correct horse"), home, func(account.SignedIn) ([]string, error) {
					go func() { changed <- test.change(t.Context(), n, id) }()
					synctest.Wait()
					if len(changed) > 0 {
						t.Error("done under a sign-in")
					}
					return nil, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := <-changed; err != nil {
					t.Fatal(err)
				}
				_, err = n.SignIn(t.Context(), byToken("alice", "phone", in.Token), home, nobodyOnline)
				want(t, "the token bought before", err, test.want)
			})
		})
	}
}

// TestRefusedEntry has a connection refused, which must leave nothing behind: above
// all no token that nobody got to see.
func TestRefusedEntry(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	req := byPassword("alice", "phone", "correct horse")
	req.Receive = false // gets a token only where the device has none
	busy := &tipt.Error{Code: tipt.ErrBusy}
	if _, err := n.SignIn(t.Context(), req, home, func(account.SignedIn) ([]string, error) { return nil, busy }); !errors.Is(err, tipt.ErrBusy) {
		t.Errorf("got error %v", err)
	}
	if devices, err := n.Devices(t.Context(), id); err != nil || len(devices) > 0 {
		t.Errorf("left: %+v, %v", devices, err)
	}
	if in := n.signIn(t, req); in.Token == nil {
		t.Error("no token the second time")
	}
}

// TestAccountGoesUnderSignIn has an account deleted by another way, at the last moment.
func TestAccountGoesUnderSignIn(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	_, err := n.SignIn(t.Context(), byPassword("alice", "phone", "correct horse"), home, func(account.SignedIn) ([]string, error) {
		commit(t, n, &store.DeleteUser{User: id})
		return nil, nil
	})
	want(t, "SIGN_IN", err, tipt.ErrCredentials)
}

// A change voids credentials of alice, whose password is "correct horse".
type change func(ctx context.Context, n *node, id store.UserID) error

func setPassword(ctx context.Context, n *node, id store.UserID) error {
	return n.SetPassword(ctx, id, "laptop", tipt.SetPasswordRequest{Old: "correct horse", New: "battery staple"}, home)
}

func removeDevice(ctx context.Context, n *node, id store.UserID) error {
	return n.RemoveDevice(ctx, id, "phone")
}

func disable(ctx context.Context, n *node, _ store.UserID) error {
	_, err := n.SetDisabled(ctx, "alice", true)
	return err
}

func deleteAccount(ctx context.Context, n *node, id store.UserID) error {
	return n.DeleteAccount(ctx, id, tipt.DeleteAccountRequest{Password: "correct horse"}, home)
}
