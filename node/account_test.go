package node_test

import (
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// as makes a SIGN_IN of bob's by password.
func as(device string, receive bool) tipt.SignInRequest {
	return tipt.SignInRequest{User: "bob", Password: "bob's password", Device: device, Receive: receive}
}

// withToken makes a SIGN_IN of bob's by token.
func withToken(device string, token []byte, receive bool) tipt.SignInRequest {
	return tipt.SignInRequest{User: "bob", Token: token, HasToken: true, Device: device, Receive: receive}
}

func wantSignInError(t *testing.T, n *tipttest.Node, r tipt.SignInRequest, want tipt.ErrorCode) {
	t.Helper()
	c := n.Dial(t).Greet()
	c.Ask(1, tipt.RequestSignIn, r.Append(nil))
	c.WantError(1, want)
	c.Hang()
}

func TestRegister(t *testing.T) {
	n := tipttest.Start(t)
	n.Register(t, "Alice", "password")
	c := n.Dial(t).Greet()
	for i, test := range []struct {
		body tipt.RegisterRequest
		want tipt.ErrorCode
	}{
		{tipt.RegisterRequest{User: "ALICE", Password: "password"}, tipt.ErrNameTaken},
		{tipt.RegisterRequest{User: "", Password: "password"}, tipt.ErrNameInvalid},
		{tipt.RegisterRequest{User: "a@b", Password: "short"}, tipt.ErrNameInvalid},
		{tipt.RegisterRequest{User: "bob", Password: "short"}, tipt.ErrPasswordInvalid},
		{tipt.RegisterRequest{User: "alice", Password: "short"}, tipt.ErrPasswordInvalid},
		{tipt.RegisterRequest{User: "bob", Password: "password", HasInvite: true}, tipt.ErrInviteInvalid},
	} {
		c.Ask(uint8(i), tipt.RequestRegister, test.body.Append(nil))
		c.WantError(uint8(i), test.want)
	}
	c.Ask(9, tipt.RequestListDevices, nil)
	c.WantError(9, tipt.ErrSignInRequired) // REGISTER does not sign in
}

func TestRegisterWhereItIsClosed(t *testing.T) {
	closed := tipttest.Start(t, func(c *node.Config) { c.Registration = tipt.RegistrationClosed })
	c := closed.Dial(t).Greet()
	c.Ask(1, tipt.RequestRegister, tipt.RegisterRequest{User: "a@b", Password: "x"}.Append(nil))
	c.WantError(1, tipt.ErrRegistrationClosed)

	invite := tipttest.Start(t, func(c *node.Config) { c.Registration = tipt.RegistrationInvite })
	c = invite.Dial(t).Greet()
	c.Ask(1, tipt.RequestRegister, tipt.RegisterRequest{User: "a@b", Password: "x"}.Append(nil))
	c.WantError(1, tipt.ErrInviteInvalid)
}

func TestSignInRefusals(t *testing.T) {
	n := newPair(t)
	long := strings.Repeat("x", tipt.MaxPasswordSize)
	for _, r := range []tipt.SignInRequest{
		{User: "bob", Password: "wrong password", Device: "d", Receive: true},
		{User: "bob", Password: long, Device: "d", Receive: true},
		{User: "carol", Password: "bob's password", Device: "d", Receive: true},
		{User: "no name", Password: "bob's password", Device: "d", Receive: true},
		withToken("d", make([]byte, tipt.TokenSize), true),
		withToken("d", []byte("short"), true),
	} {
		wantSignInError(t, n, r, tipt.ErrCredentials)
	}
}

func TestTokens(t *testing.T) {
	n := newPair(t)
	first := n.Dial(t).Greet().SignInAs(as("phone", true))
	if first.Address != "bob@node.example" || len(first.Token) != tipt.TokenSize {
		t.Fatalf("got %+v", first)
	}
	byToken := n.Dial(t).Greet().SignInAs(withToken("phone", first.Token, true))
	if byToken.Token != nil {
		t.Error("SIGN_IN by token gave a token")
	}
	wantSignInError(t, n, withToken("desk", first.Token, true), tipt.ErrCredentials)
	if sending := n.Dial(t).Greet().SignInAs(as("phone", false)); sending.Token != nil {
		t.Error("a send-only SIGN_IN gave a token to a device that has one")
	}
	if sending := n.Dial(t).Greet().SignInAs(as("desk", false)); sending.Token == nil {
		t.Error("a send-only SIGN_IN gave no token to a device that has none")
	}
	second := n.Dial(t).Greet().SignInAs(as("phone", true))
	wantSignInError(t, n, withToken("phone", first.Token, true), tipt.ErrCredentials)
	n.Dial(t).Greet().SignInAs(withToken("phone", second.Token, true))
}

func TestNewerConnectionReplacesOlder(t *testing.T) {
	n := newPair(t)
	older := n.Dial(t).Greet()
	token := older.SignInAs(as("phone", true)).Token
	sending := n.Dial(t).Greet()
	sending.SignInAs(withToken("phone", token, false))
	other := n.Dial(t).Greet()
	other.SignInAs(as("desk", true))

	byToken := n.Dial(t).Greet()
	byToken.SignInAs(withToken("phone", token, true))
	older.WantClose(4001)
	sending.WantQuiet(1)
	byPassword := n.Dial(t).Greet()
	byPassword.SignInAs(as("phone", true))
	byToken.WantClose(4001)
	sending.WantClose(4001)
	other.WantQuiet(1)
	byPassword.WantQuiet(1)
}

func TestSendOnlyConnections(t *testing.T) {
	n := newPair(t)
	signIn(t, n, "bob").Hang()
	fillBob(t, n, signIn(t, n, "alice"), 1)
	token := n.Dial(t).Greet().SignInAs(as("sender", false)).Token
	for range tipt.MaxSendOnly - 1 {
		c := n.Dial(t).Greet()
		c.SignInAs(withToken("sender", token, false))
		c.WantQuiet(1) // gets no DELIVER
	}
	wantSignInError(t, n, withToken("sender", token, false), tipt.ErrBusy)
	wantSignInError(t, n, as("newcomer", false), tipt.ErrBusy)
	receiving := n.Dial(t).Greet()
	receiving.SignInAs(as("phone", true))
	receiving.WantDeliver()
	// One that was refused has got no token, nor has the node made any.
	for _, d := range listDevices(t, receiving) {
		if d.Name == "newcomer" {
			t.Errorf("the node knows %+v", d)
		}
	}
}

func TestSetPassword(t *testing.T) {
	n := newPair(t)
	own, other := n.Dial(t).Greet(), n.Dial(t).Greet()
	ownToken := own.SignInAs(as("phone", true)).Token
	otherToken := other.SignInAs(as("desk", true)).Token
	for i, test := range []struct {
		old, new string
		want     tipt.ErrorCode
	}{
		{"wrong", "short", tipt.ErrCredentials},
		{"", "new password", tipt.ErrCredentials},
		{"bob's password", "short", tipt.ErrPasswordInvalid},
	} {
		own.Ask(uint8(i), tipt.RequestSetPassword, tipt.SetPasswordRequest{Old: test.old, New: test.new}.Append(nil))
		own.WantError(uint8(i), test.want)
	}
	own.Ask(9, tipt.RequestSetPassword, tipt.SetPasswordRequest{Old: "bob's password", New: "new password"}.Append(nil))
	own.WantReply(9)
	other.WantClose(4002)
	own.WantQuiet(10)
	wantSignInError(t, n, withToken("desk", otherToken, true), tipt.ErrCredentials)
	wantSignInError(t, n, as("desk", true), tipt.ErrCredentials)
	n.Dial(t).Greet().SignInAs(withToken("phone", ownToken, false))
	n.Dial(t).Greet().SignInAs(tipt.SignInRequest{User: "bob", Password: "new password", Device: "desk", Receive: true})
}

func listDevices(t *testing.T, c *tipttest.Conn) []tipt.Device {
	t.Helper()
	c.Ask(1, tipt.RequestListDevices, nil)
	var list tipt.ListDevicesResponse
	if err := list.Parse(c.WantReply(1).Body, false); err != nil {
		t.Fatal(err)
	}
	return list.Devices
}

func TestDevices(t *testing.T) {
	n := newPair(t)
	phone, desk := n.Dial(t).Greet(), n.Dial(t).Greet()
	phone.SignInAs(as("phone", true))
	token := desk.SignInAs(as("desk", true)).Token
	n.Dial(t).Greet().SignInAs(as("script", false))

	online := map[string]bool{}
	for _, d := range listDevices(t, phone) {
		online[d.Name] = d.Online
		if d.Seen.IsZero() {
			t.Errorf("%s was never seen", d.Name)
		}
	}
	if len(online) != 3 || !online["phone"] || !online["desk"] || online["script"] {
		t.Errorf("devices online: %v", online)
	}

	phone.Ask(2, tipt.RequestRemoveDevice, tipt.RemoveDeviceRequest{Device: "no such device"}.Append(nil))
	phone.WantReply(2)
	phone.Ask(3, tipt.RequestRemoveDevice, tipt.RemoveDeviceRequest{Device: "desk"}.Append(nil))
	phone.WantReply(3)
	desk.WantClose(4002)
	wantSignInError(t, n, withToken("desk", token, true), tipt.ErrCredentials)
	phone.Ask(4, tipt.RequestRemoveDevice, tipt.RemoveDeviceRequest{Device: "phone"}.Append(nil))
	phone.WantReply(4) // before the close
	phone.WantClose(4002)
}

func TestDropsTheDeviceUnseenLongest(t *testing.T) {
	n := newPair(t)
	all := make([]*tipttest.Conn, tipt.MaxDevices+1)
	for i := range all {
		all[i] = n.Dial(t).Greet()
		all[i].SignInAs(as(strings.Repeat("d", i+1), true))
	}
	all[0].WantClose(4002) // all are connected: the one longest signed in
	all[1].WantQuiet(1)
}

func TestDeleteAccount(t *testing.T) {
	n := newPair(t)
	bob, alice := signIn(t, n, "bob"), signIn(t, n, "alice")
	bob.Ask(1, tipt.RequestDeleteAccount, tipt.DeleteAccountRequest{Password: "wrong"}.Append(nil))
	bob.WantError(1, tipt.ErrCredentials)
	bob.Ask(1, tipt.RequestDeleteAccount, tipt.DeleteAccountRequest{Password: "bob's password"}.Append(nil))
	bob.WantReply(1)
	bob.WantClose(4002)
	wantSignInError(t, n, as("d", true), tipt.ErrCredentials)
	c := n.Dial(t).Greet()
	c.Ask(1, tipt.RequestRegister, tipt.RegisterRequest{User: "bob", Password: "bob's password"}.Append(nil))
	c.WantError(1, tipt.ErrNameTaken)
	alice.Ask(1, tipt.RequestForward, n.Message(t, "bob", tipt.NewMessageID(), "too late", true))
	var response tipt.ForwardResponse
	if err := response.Parse(alice.WantReply(1).Body, false); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "deleted", response.Response, tipt.ErrNoSuchUser)
}
