package node_test

import (
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// drafted opens a connection that speaks as the later drafts do.
func drafted(t *testing.T, n *tipttest.Node) *tipttest.Conn {
	t.Helper()
	c := n.Dial(t)
	c.Revision = tipt.RevisionDraft
	return c
}

// version is a HANDSHAKE's body of the later drafts.
func version(s string) []byte { return tipt.HandshakeRequest{Version: s}.Append(nil) }

// TestDraftForm has a client of the later drafts do what clients do, beside one of the seed.
func TestDraftForm(t *testing.T) {
	n := tipttest.Start(t)
	n.Register(t, "alice", "correct horse")
	n.Register(t, "bob", "correct horse")
	bob := n.Dial(t)
	bob.SignIn("bob", "correct horse")

	// HANDSHAKE, SIGN_IN and what follows need not wait for each other (section 3.4).
	alice := drafted(t, n)
	alice.Ask(0, tipt.RequestHandshake, version("1.0.0"))
	alice.Ask(1, tipt.RequestSignIn, tipt.SignInRequest{User: "alice", Password: "correct horse", Device: "d", Receive: true}.Append(nil))
	alice.Ask(2, tipt.RequestForward, n.Message(t, "bob", tipt.NewMessageID(), "from alice", true))
	alice.Ask(3, tipt.RequestGetNodeKey, tipt.GetNodeKeyRequest{Node: string(n.Name)}.Append(nil))
	alice.Ask(4, tipt.RequestGetNodeKey, nil)
	alice.Ask(5, 0x7f, nil)
	var greeting tipt.HandshakeResponse
	if err := greeting.Parse(alice.WantReply(0).Body, false); err != nil || greeting != (tipt.HandshakeResponse{Version: tipt.Version, Compatible: true}) {
		t.Errorf("HANDSHAKE's response: %+v, %v", greeting, err)
	}
	for id := uint8(1); id < 4; id++ {
		alice.WantReply(id)
	}
	if e := alice.WantError(4, tipt.ErrMalformed); e.Message != "" {
		t.Errorf("the bare code has the message %q", e.Message)
	}
	alice.WantError(5, tipt.ErrUnsupported)
	id, d := bob.WantDeliver()
	if string(d.Message) != "from alice" || d.From != "alice@node.example" {
		t.Errorf("bob got %+v", d)
	}
	bob.Answer(id, nil)

	// The node's own requests, and the client's answers to them, with a bare code too.
	for _, text := range []string{"refused", "taken"} {
		bob.Ask(1, tipt.RequestForward, n.Message(t, "alice", tipt.NewMessageID(), text, true))
		bob.WantReply(1)
		id, d = alice.WantDeliver()
		if string(d.Message) != text {
			t.Errorf("alice got %q, want %q", d.Message, text)
		}
		if text == "refused" {
			alice.Answer(id, &tipt.Error{Code: tipt.ErrRejected})
		} else {
			alice.Answer(id, nil)
		}
	}

	// FORWARD as an EVENT has its number of the drafts; the seed's is nothing there.
	for text, code := range map[string]uint8{"an event": 0x21, "nothing": 0x20} {
		alice.Send(tipt.Packet{Type: tipt.PacketEvent, Code: code, Body: n.Message(t, "bob", tipt.NewMessageID(), text, false)})
	}
	if id, d = bob.WantDeliver(); string(d.Message) != "an event" {
		t.Errorf("bob got %q, want what came as an event", d.Message)
	}
	bob.Answer(id, nil)
	alice.WantQuiet(9)
	bob.WantQuiet(9)

	// The form is fixed: `ver` is an unknown key now, and GOING_AWAY comes without one.
	alice.SendBytes(tipt.AppendPacket(nil, tipt.RevisionSeed, &tipt.Packet{Version: "1.0.0", ID: 7, Code: uint8(tipt.RequestGetInfo)}))
	alice.WantError(7, tipt.ErrMalformed)
	alice.Ask(8, tipt.RequestHandshake, version("1.0.0"))
	alice.WantError(8, tipt.ErrHandshakeDone)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		n.Stop()
	}()
	if p := alice.WantEvent(); p.Code != uint8(tipt.EventGoingAway) {
		t.Errorf("event %#x, want GOING_AWAY", p.Code)
	}
	alice.WantClose(1001)
	bob.Hang()
	<-stopped
}

// TestDraftHandshake: which HANDSHAKE chooses the drafts' form, and how it is answered.
func TestDraftHandshake(t *testing.T) {
	n := tipttest.Start(t)
	for _, tt := range []struct {
		name string
		body []byte
	}{
		{"no body", nil},
		{"an empty body", []byte{0x80}},
	} {
		c := drafted(t, n)
		c.Ask(1, tipt.RequestHandshake, tt.body)
		c.Revision = tipt.RevisionSeed // for it was not chosen
		if e := c.WantError(1, tipt.ErrMalformed); e.Message == "" {
			t.Errorf("%s: the error does not say what is wrong", tt.name)
		}
	}
	for _, body := range [][]byte{version("1.0"), {0x81, 0xa3, 'v', 'e', 'r', 7}, {0x81, 0xa3, 'v', 'e', 'r', 0xc0}} {
		c := drafted(t, n)
		c.Ask(1, tipt.RequestHandshake, body)
		c.WantError(1, tipt.ErrMalformed) // in the bare form

		// Nothing is chosen for good by a HANDSHAKE that was refused.
		c.Revision = tipt.RevisionSeed
		c.Ask(2, tipt.RequestGetInfo, nil)
		c.WantError(2, tipt.ErrHandshakeRequired)
		c.Greet()
		c.Ask(3, tipt.RequestGetInfo, nil)
		c.WantReply(3)
	}

	early := drafted(t, n)
	early.Ask(1, tipt.RequestGetInfo, nil)
	early.Revision = tipt.RevisionSeed
	early.WantError(1, tipt.ErrMalformed) // for want of a `ver`
	early.Revision = tipt.RevisionDraft
	early.Greet()

	major := drafted(t, n)
	major.Version = "2.0.0"
	major.Ask(1, tipt.RequestHandshake, version("2.0.0"))
	var greeting tipt.HandshakeResponse
	if err := greeting.Parse(major.WantReply(1).Body, false); err != nil || greeting.Compatible {
		t.Errorf("HANDSHAKE's response to 2.0.0: %+v, %v", greeting, err)
	}
	major.WantClose(1002)

	// After a HANDSHAKE of the seed one of the drafts comes too late to choose anything.
	late := n.Dial(t).Greet()
	late.SendBytes(tipt.AppendPacket(nil, tipt.RevisionDraft, &tipt.Packet{ID: 1, Body: version("1.0.0")}))
	late.WantError(1, tipt.ErrMalformed)
	late.WantQuiet(2)

	// What its version says about unknown keys holds for the whole connection (section 2).
	more := func(p tipt.Packet) []byte {
		b := tipt.AppendPacket(nil, tipt.RevisionDraft, &p)
		return append(append([]byte{b[0] + 1}, b[1:]...), 0xa4, 'm', 'o', 'r', 'e', 1)
	}
	for said, want := range map[string]bool{"1.0.0": false, "1.0.0-rc.1": false, "1.0.1": true} {
		c := drafted(t, n)
		c.SendBytes(more(tipt.Packet{ID: 1, Body: version(said)}))
		if want {
			c.WantReply(1)
		} else {
			c.WantError(1, tipt.ErrMalformed)
			c.Version = said
			c.Greet()
		}
		c.SendBytes(more(tipt.Packet{ID: 2, Code: uint8(tipt.RequestGetInfo)}))
		if want {
			c.WantReply(2)
		} else {
			c.WantError(2, tipt.ErrMalformed)
		}
	}
}

// TestDraftReturn brings a RETURN of what a client of the drafts sent.
func TestDraftReturn(t *testing.T) {
	n := tipttest.Start(t)
	n.Register(t, "alice", "correct horse")
	c := drafted(t, n)
	c.SignIn("alice", "correct horse")
	ref := tipt.NewMessageID()
	c.Ask(1, tipt.RequestForward, n.Message(t, "nobody", ref, "to nobody", false))
	c.WantReply(1)
	id, r := c.WantReturn()
	if r.Ref == nil || *r.Ref != ref {
		t.Errorf("got %+v, want the ref %v", r, ref)
	}
	c.Answer(id, nil)
	c.WantQuiet(2)
}
