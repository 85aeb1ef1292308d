package node_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/seal"
)

// newPair starts a node on which alice and bob are registered.
func newPair(t *testing.T, configure ...func(*node.Config)) *tipttest.Node {
	t.Helper()
	n := tipttest.Start(t, configure...)
	n.Register(t, "alice", "alice's password")
	n.Register(t, "bob", "bob's password")
	return n
}

func signIn(t *testing.T, n *tipttest.Node, user string) *tipttest.Conn {
	t.Helper()
	c := n.Dial(t)
	c.SignIn(user, user+"'s password")
	return c
}

func TestForwardToUserWhoIsThere(t *testing.T) {
	n := newPair(t)
	bob, alice := signIn(t, n, "bob"), signIn(t, n, "alice")
	for i, wait := range []bool{true, false} {
		mid := tipt.NewMessageID()
		alice.Ask(uint8(i), tipt.RequestForward, n.Message(t, "Bob", mid, "hello", wait))
		response := alice.WantReply(uint8(i))
		if !wait && response.Body != nil {
			t.Errorf("wait false: body % x, want nil", response.Body)
		}
		if wait {
			var forwarded tipt.ForwardResponse
			if err := forwarded.Parse(response.Body, false); err != nil {
				t.Fatal(err)
			}
			var answer tipt.ForwardAnswer
			if err := answer.Parse(forwarded.Response); err != nil || answer.Err != nil || answer.Body != nil {
				t.Errorf("wait true: %+v, %v, want an answer with nothing in it", answer, err)
			}
		}
		id, d := bob.WantDeliver()
		if d.ID != mid || d.From != "alice@node.example" || string(d.Message) != "hello" || d.Time.IsZero() {
			t.Errorf("delivered %+v", d)
		}
		bob.Answer(id, nil)
	}
}

func TestForwardToUserWhoIsAway(t *testing.T) {
	n := newPair(t)
	signIn(t, n, "bob").Hang()
	alice := signIn(t, n, "alice")
	alice.Ask(1, tipt.RequestForward, n.Message(t, "bob", tipt.NewMessageID(), "later", false))
	alice.WantReply(1)
	n.Restart(t)
	bob := signIn(t, n, "bob")
	id, d := bob.WantDeliver()
	if string(d.Message) != "later" {
		t.Errorf("delivered %q", d.Message)
	}
	bob.Answer(id, nil)
	bob.WantQuiet(1)
	bob.Hang()
	again := signIn(t, n, "bob")
	again.WantQuiet(1)
}

func TestForwardAsEvent(t *testing.T) {
	n := newPair(t)
	bob, alice := signIn(t, n, "bob"), signIn(t, n, "alice")
	send := func(body []byte) {
		alice.Send(tipt.Packet{Type: tipt.PacketEvent, Code: uint8(tipt.RequestForward), Body: body})
	}
	send(tipt.ForwardRequest{Node: "not a name", Sealed: []byte("x")}.Append(nil)) // dropped, without a RETURN
	alice.Send(tipt.Packet{Type: tipt.PacketEvent, Code: uint8(tipt.RequestGetInfo)})
	send([]byte{0x80})
	send(n.Message(t, "bob", tipt.NewMessageID(), "an event", true)) // `wait` is not looked at
	id, d := bob.WantDeliver()
	if string(d.Message) != "an event" {
		t.Errorf("delivered %q", d.Message)
	}
	bob.Answer(id, nil)
	alice.WantQuiet(1)
}

func TestForwardRefusals(t *testing.T) {
	n := newPair(t)
	alice := signIn(t, n, "alice")
	other, err := seal.NewNodeKey("other.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := seal.ParseCertificate(other.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := cert.Seal([]byte{0x80}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	own := string(n.Name)
	for i, test := range []struct {
		name string
		body tipt.ForwardRequest
		want tipt.ErrorCode        // of the response, with either `wait`
		code tipt.ErrorCode        // of wait true's response and of wait false's RETURN
		resp tipt.ForwardErrorCode // in wait true's response and in wait false's RETURN
	}{
		{name: "no name", body: tipt.ForwardRequest{Node: "localhost", Sealed: []byte("x")}, want: tipt.ErrNodeInvalid},
		{name: "long name", body: tipt.ForwardRequest{Node: strings.Repeat("a.", 251), Sealed: []byte("x")}, want: tipt.ErrNodeInvalid},
		{name: "too large", body: tipt.ForwardRequest{Node: own, Sealed: make([]byte, tipt.MaxSealedSize+1)}, want: tipt.ErrTooLarge},
		{name: "no OpenPGP", body: tipt.ForwardRequest{Node: own, Sealed: []byte("no OpenPGP")}, code: tipt.ErrNodeRefused},
		{name: "another key", body: tipt.ForwardRequest{Node: own, Sealed: foreign}, resp: tipt.ErrCannotOpen},
		{name: "no such user", body: tipt.ForwardRequest{Node: own, Sealed: n.Seal(t, message("carol"))}, resp: tipt.ErrNoSuchUser},
		{name: "no user's name", body: tipt.ForwardRequest{Node: own, Sealed: n.Seal(t, message("bob@node"))}, resp: tipt.ErrForwardMalformed},
		{name: "unknown type", body: tipt.ForwardRequest{Node: own, Sealed: n.SealBytes(t, []byte("\x82\xa4type\x7f\xa4body\x80"))}, resp: tipt.ErrForwardUnsupported},
	} {
		for _, wait := range []bool{true, false} {
			body, id := test.body, uint8(i)
			body.Wait = wait
			ref := tipt.NewMessageID()
			body.Ref = &ref
			alice.Ask(id, tipt.RequestForward, body.Append(nil))
			switch {
			case test.want != 0:
				alice.WantError(id, test.want)
			case wait && test.code != 0:
				alice.WantError(id, test.code)
			case wait:
				var response tipt.ForwardResponse
				if err := response.Parse(alice.WantReply(id).Body, false); err != nil {
					t.Fatal(err)
				}
				wantRefusal(t, test.name, response.Response, test.resp)
			default:
				alice.WantReply(id)
				back, r := alice.WantReturn()
				alice.Answer(back, nil)
				if r.Ref == nil || *r.Ref != ref || r.Node != own || r.HasCode != (test.code != 0) || r.Code != test.code {
					t.Errorf("%s: RETURN %+v", test.name, r)
				}
				if test.resp != 0 {
					wantRefusal(t, test.name, r.Response, test.resp)
				}
			}
		}
	}
	alice.WantQuiet(99)
}

func message(to string) tipt.SealedRequest {
	return tipt.SealedRequest{
		Type:    tipt.ForwardMessage,
		Message: &tipt.MessageForward{To: to, ID: tipt.NewMessageID(), Message: []byte("x")},
	}
}

func wantRefusal(t *testing.T, name string, encoded []byte, want tipt.ForwardErrorCode) {
	t.Helper()
	var answer tipt.ForwardAnswer
	if err := answer.Parse(encoded); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if answer.Err == nil || answer.Err.Code != want {
		t.Errorf("%s: answer %+v, want %v", name, answer, want)
	}
}

func TestForwardTwiceIsDeliveredOnce(t *testing.T) {
	n := newPair(t)
	bob, alice := signIn(t, n, "bob"), signIn(t, n, "alice")
	mid := tipt.NewMessageID()
	send := func() {
		t.Helper()
		alice.Ask(1, tipt.RequestForward, n.Message(t, "bob", mid, "once", true))
		alice.WantReply(1)
	}
	send()
	id, _ := bob.WantDeliver()
	bob.Answer(id, nil)
	bob.WantQuiet(1)
	send()
	bob.Hang()
	n.Restart(t)
	bob, alice = signIn(t, n, "bob"), signIn(t, n, "alice")
	send()
	bob.WantQuiet(1)
	// Another recipient, or another sender, makes another message of it.
	bob.Ask(2, tipt.RequestForward, n.Message(t, "bob", mid, "from bob", true))
	bob.WantReply(2)
	if id, d := bob.WantDeliver(); string(d.Message) != "from bob" {
		t.Errorf("delivered %q", d.Message)
	} else {
		bob.Answer(id, nil)
	}
}

func TestFullMailbox(t *testing.T) {
	n := newPair(t, func(c *node.Config) { c.Mailbox = mailbox.Options{MaxCount: 2} })
	signIn(t, n, "bob").Hang()
	alice := signIn(t, n, "alice")
	send := func(id uint8, body string) tipt.ForwardAnswer {
		t.Helper()
		alice.Ask(id, tipt.RequestForward, n.Message(t, "bob", tipt.NewMessageID(), body, true))
		var response tipt.ForwardResponse
		var answer tipt.ForwardAnswer
		if err := response.Parse(alice.WantReply(id).Body, false); err != nil {
			t.Fatal(err)
		}
		if err := answer.Parse(response.Response); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for i, body := range []string{"one", "two"} {
		if a := send(uint8(i), body); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	if a := send(3, "three"); a.Err == nil || a.Err.Code != tipt.ErrMailboxFull {
		t.Errorf("got %+v, want MAILBOX_FULL", a)
	}
	bob := signIn(t, n, "bob")
	id, _ := bob.WantDeliver()
	bob.Answer(id, nil)
	bob.WantDeliver()
	bob.WantQuiet(4)
	if a := send(5, "three"); a.Err != nil {
		t.Errorf("after a message was taken: %v", a.Err)
	}
}

func TestGetUserKey(t *testing.T) {
	n := newPair(t)
	alice, bob := signIn(t, n, "alice"), signIn(t, n, "bob")
	ask := func(user string) tipt.ForwardAnswer {
		t.Helper()
		get := tipt.GetUserKeyForward{User: user, Seal: [32]byte{1, 2, 3}}
		sealed := n.Seal(t, tipt.SealedRequest{Type: tipt.ForwardGetUserKey, GetUserKey: &get})
		alice.Ask(1, tipt.RequestForward, tipt.ForwardRequest{Node: string(n.Name), Wait: true, Sealed: sealed}.Append(nil))
		var response tipt.ForwardResponse
		if err := response.Parse(alice.WantReply(1).Body, false); err != nil {
			t.Fatal(err)
		}
		opened, err := seal.OpenAnswer(&get.Seal, response.Response)
		if err != nil {
			t.Fatal(err)
		}
		var answer tipt.ForwardAnswer
		if err := answer.Parse(opened); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	keyOf := func(a tipt.ForwardAnswer) []byte {
		t.Helper()
		var answer tipt.UserKeyAnswer
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		if err := answer.Parse(a.Body); err != nil {
			t.Fatal(err)
		}
		return answer.Key
	}
	if key := keyOf(ask("bob")); key != nil {
		t.Errorf("bob has the key % x", key)
	}
	if a := ask("carol"); a.Err == nil || a.Err.Code != tipt.ErrNoSuchUser {
		t.Errorf("carol: %+v", a)
	}
	if a := ask("no name"); a.Err == nil || a.Err.Code != tipt.ErrForwardMalformed {
		t.Errorf("no name: %+v", a)
	}
	bob.Ask(1, tipt.RequestSetKey, tipt.SetKeyRequest{Key: []byte("no certificate")}.Append(nil))
	bob.WantError(1, tipt.ErrMalformed)
	bob.Ask(1, tipt.RequestSetKey, tipt.SetKeyRequest{Key: n.Certificate()}.Append(nil))
	bob.WantReply(1)
	if key := keyOf(ask("BOB")); string(key) != string(n.Certificate()) {
		t.Errorf("bob's key is % x", key)
	}
	bob.Ask(1, tipt.RequestSetKey, tipt.SetKeyRequest{}.Append(nil))
	bob.WantReply(1)
	if key := keyOf(ask("bob")); key != nil {
		t.Errorf("bob still has the key % x", key)
	}
}

func TestGetNodeKey(t *testing.T) {
	n := newPair(t)
	alice := signIn(t, n, "alice")
	for i, test := range []struct {
		name string
		want tipt.ErrorCode
	}{
		{string(n.Name), 0},
		{"NODE.example.", 0},
		{"no name", tipt.ErrNodeInvalid},
		{"127.0.0.1", tipt.ErrNodeInvalid},
		{"nowhere.invalid", tipt.ErrNodeUnreachable},
	} {
		alice.Ask(uint8(i), tipt.RequestGetNodeKey, tipt.GetNodeKeyRequest{Node: test.name, New: i%2 == 0}.Append(nil))
		if test.want != 0 {
			alice.WantError(uint8(i), test.want)
			continue
		}
		var response tipt.GetNodeKeyResponse
		if err := response.Parse(alice.WantReply(uint8(i)).Body, false); err != nil {
			t.Fatal(err)
		}
		if string(response.Key) != string(n.Certificate()) {
			t.Errorf("%s: another key", test.name)
		}
	}
}

// TestOrderOfForwards sends what one connection may have in flight, of all
// sizes, and finds it delivered in the order sent (section 3.3).
func TestOrderOfForwards(t *testing.T) {
	n := newPair(t)
	bob, alice := signIn(t, n, "bob"), signIn(t, n, "alice")
	for round := range 20 {
		random := rand.New(rand.NewPCG(1, uint64(round)))
		left := 7 << 20
		bodies := make([]string, 256)
		for i := range bodies {
			size := 10
			if random.IntN(16) == 0 {
				size = min(10+random.IntN(1_000_000), left/2)
			}
			left -= size
			bodies[i] = fmt.Sprintf("%03d %s", i, strings.Repeat("x", size))
		}
		for i, body := range bodies {
			alice.Ask(uint8(i), tipt.RequestForward, n.Message(t, "bob", tipt.NewMessageID(), body, false))
		}
		for i := range bodies {
			alice.WantReply(uint8(i))
		}
		for i, body := range bodies {
			id, d := bob.WantDeliver()
			if string(d.Message) != body {
				t.Fatalf("round %d: delivered %.10q as number %d", round, d.Message, i)
			}
			bob.Answer(id, nil)
		}
	}
}
