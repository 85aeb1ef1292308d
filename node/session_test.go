package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

func TestUpgradeOnEveryPath(t *testing.T) {
	n := tipttest.Start(t)
	for _, path := range []string{"/", "/ws", "/api/status", "/no/such/path?x=y"} {
		n.DialPath(t, path).Greet().Hang()
	}
}

func TestNodeTellsItsStatus(t *testing.T) {
	n := tipttest.Start(t)
	response, err := n.HTTP().Get("https://" + string(n.Name) + "/api/status")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || got["status"] != "ok" || got["retry"] != 0.0 {
		t.Errorf("status %d %v, want 200 ok 0", response.StatusCode, got)
	}
	for header, want := range map[string]string{
		"Access-Control-Allow-Origin": "*",
		"Cache-Control":               "no-store",
		"Content-Type":                "application/json",
	} {
		if got := response.Header.Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
}

func TestOverloadIs503(t *testing.T) {
	n := tipttest.Start(t, func(c *node.Config) { c.MaxConnections = 1 })
	first := n.Dial(t).Greet()
	_, response, err := n.Upgrade("/ws")
	if err == nil {
		t.Fatal("a connection over the limit was served")
	}
	if response == nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("got %v, want 503 with Retry-After", response)
	}
	first.Ask(1, tipt.RequestGetInfo, nil)
	first.WantReply(1)
}

// TestOrderOfChecks goes through section 3.4: of all that is wrong with a
// request, the first in this order is answered, and the connection goes on.
func TestOrderOfChecks(t *testing.T) {
	n := tipttest.Start(t)
	n.Register(t, "alice", "correct horse")
	const (
		reserved = tipt.NodeRequest(0x1f)
		unknown  = tipt.NodeRequest(0x45)
	)
	badBody := []byte{0x81, 0xa1, 'x', 0xc0}
	all := []tipt.NodeRequest{
		tipt.RequestHandshake, tipt.RequestRegister, tipt.RequestSignIn, tipt.RequestGetInfo,
		tipt.RequestForward, tipt.RequestGetNodeKey, tipt.RequestSetPassword, tipt.RequestListDevices,
		tipt.RequestRemoveDevice, tipt.RequestDeleteAccount, tipt.RequestSetKey, reserved, unknown,
	}
	noSignIn := map[tipt.NodeRequest]bool{tipt.RequestRegister: true, tipt.RequestSignIn: true}
	supported := func(r tipt.NodeRequest) bool { return r != reserved && r != unknown }

	c := n.Dial(t)
	for i, r := range all {
		if r == tipt.RequestHandshake {
			continue
		}
		c.Ask(uint8(i), r, badBody)
		c.WantError(uint8(i), tipt.ErrHandshakeRequired)
	}
	c.Ask(0, tipt.RequestHandshake, badBody)
	c.WantError(0, tipt.ErrMalformed)
	c.Greet()
	for i, r := range all {
		want := tipt.ErrMalformed
		switch {
		case r == tipt.RequestHandshake:
			want = tipt.ErrHandshakeDone
		case !supported(r):
			want = tipt.ErrUnsupported
		case r != tipt.RequestGetInfo && !noSignIn[r]:
			want = tipt.ErrSignInRequired
		}
		c.Ask(uint8(i), r, badBody)
		c.WantError(uint8(i), want)

		c.Version = "1.0.1"
		c.Ask(uint8(i), r, badBody)
		if r == tipt.RequestHandshake {
			c.WantError(uint8(i), tipt.ErrHandshakeDone)
		} else {
			c.WantError(uint8(i), tipt.ErrVersion)
		}
		c.Version = tipt.Version
	}
	c.SignInAs(tipt.SignInRequest{User: "alice", Password: "correct horse", Device: "a", Receive: true})
	for i, r := range all {
		want := tipt.ErrMalformed
		switch {
		case r == tipt.RequestHandshake:
			want = tipt.ErrHandshakeDone
		case !supported(r):
			want = tipt.ErrUnsupported
		case noSignIn[r]:
			want = tipt.ErrSignedIn
		}
		c.Ask(uint8(i), r, badBody)
		c.WantError(uint8(i), want)
	}
	c.WantQuiet(200)
}

func TestMalformedRequestIsAnsweredWhereItsIdCanBeRead(t *testing.T) {
	n := tipttest.Start(t)
	c := n.Dial(t).Greet()
	valid := tipt.AppendPacket(nil, tipt.RevisionSeed, &tipt.Packet{
		Version: tipt.Version, ID: 7, Code: uint8(tipt.RequestGetInfo),
	})
	c.SendBytes(append(valid, 0xc0)) // a byte behind the map
	if e := c.WantError(7, tipt.ErrMalformed); e.Message == "" {
		t.Error("the error does not say what was wrong")
	}
	c.SendBytes([]byte{0x81, 0xa3, 'v', 'e', 'r', 0xa5, '1', '.', '0', '.', '0'})
	c.WantClose(1002)
}

func TestWrongMessagesClose(t *testing.T) {
	n := tipttest.Start(t)
	text := n.Dial(t).Greet()
	text.SendText("hello")
	text.WantClose(1003)

	large := n.Dial(t).Greet()
	large.SendBytes(make([]byte, tipt.MaxUnsignedPacketSize+1))
	large.WantClose(1009)

	twice := n.Dial(t).Greet()
	twice.Send(tipt.Packet{ID: 3, Type: tipt.PacketResponse})
	twice.WantClose(1002)
}

func TestHandshake(t *testing.T) {
	n := tipttest.Start(t)
	for _, test := range []struct {
		version    string
		compatible bool
	}{
		{"1.0.0", true}, {"0.9.0", true}, {"1.99.3-rc.1+build", true}, {"2.0.0", false},
	} {
		c := n.Dial(t)
		c.Version = test.version
		c.Ask(9, tipt.RequestHandshake, nil)
		var response tipt.HandshakeResponse
		if err := response.Parse(c.WantReply(9).Body, false); err != nil {
			t.Fatal(err)
		}
		if want := (tipt.HandshakeResponse{Version: tipt.Version, Compatible: test.compatible}); response != want {
			t.Errorf("version %s: %+v, want %+v", test.version, response, want)
		}
		if !test.compatible {
			c.WantClose(1002)
		}
	}
	c := n.Dial(t)
	c.Ask(1, tipt.RequestHandshake, tipt.HandshakeRequest{Version: "1.0.1"}.Append(nil))
	c.WantError(1, tipt.ErrMalformed)
	c.Ask(1, tipt.RequestHandshake, tipt.HandshakeRequest{Version: "1.0.0"}.Append(nil))
	c.WantReply(1)
}

// TestRequestsWaitBehindTheGate sends all at once what a client may send
// without waiting (section 3.4).
func TestRequestsWaitBehindTheGate(t *testing.T) {
	n := tipttest.Start(t)
	c := n.Dial(t)
	c.Ask(0, tipt.RequestHandshake, nil)
	c.Ask(1, tipt.RequestRegister, tipt.RegisterRequest{User: "Alice", Password: "correct horse"}.Append(nil))
	c.Ask(2, tipt.RequestSignIn, tipt.SignInRequest{User: "alice", Password: "correct horse", Device: "d", Receive: true}.Append(nil))
	c.Ask(3, tipt.RequestListDevices, nil)
	c.Ask(4, tipt.RequestSignIn, tipt.SignInRequest{User: "alice", Password: "correct horse", Device: "d", Receive: true}.Append(nil))
	c.Ask(5, tipt.RequestForward, n.Message(t, "alice", tipt.NewMessageID(), "to myself", false))
	for id := range uint8(4) {
		c.WantReply(id)
	}
	c.WantError(4, tipt.ErrSignedIn)
	c.WantReply(5)
	id, d := c.WantDeliver()
	if string(d.Message) != "to myself" || d.From != "alice@node.example" {
		t.Errorf("got %+v", d)
	}
	c.Answer(id, nil)
}

func TestGetInfo(t *testing.T) {
	n := tipttest.Start(t, func(c *node.Config) { c.Registration = tipt.RegistrationInvite })
	c := n.Dial(t).Greet()
	c.Ask(255, tipt.RequestGetInfo, nil)
	var info tipt.GetInfoResponse
	if err := info.Parse(c.WantReply(255).Body, false); err != nil {
		t.Fatal(err)
	}
	if info.Node != string(n.Name) || info.Registration != tipt.RegistrationInvite || !strings.HasPrefix(info.Software, "tiptd/") || info.Time.IsZero() {
		t.Errorf("got %+v", info)
	}
}

func TestAllIdsAreUsable(t *testing.T) {
	n := tipttest.Start(t)
	c := n.Dial(t).Greet()
	for id := range 256 {
		c.Ask(uint8(id), tipt.RequestGetInfo, nil)
	}
	for id := range 256 {
		c.WantReply(uint8(id))
	}
}

func TestPingWhileNothingElseHappens(t *testing.T) {
	n := tipttest.Start(t)
	n.Dial(t).Ping()
}

func TestUnknownRequestNamesItself(t *testing.T) {
	n := tipttest.Start(t)
	c := n.Dial(t).Greet()
	c.Ask(1, 0x7f, nil)
	if e := c.WantError(1, tipt.ErrUnsupported); !strings.Contains(e.Message, fmt.Sprintf("0x%02x", 0x7f)) {
		t.Errorf("message %q does not name the type", e.Message)
	}
}
