package node_test

import (
	"fmt"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// fillBob has alice send bob count messages.
func fillBob(t *testing.T, n *tipttest.Node, alice *tipttest.Conn, count int) {
	t.Helper()
	for i := range count {
		alice.Ask(uint8(i), tipt.RequestForward, n.Message(t, "bob", tipt.NewMessageID(), fmt.Sprint(i), false))
	}
	for i := range count {
		alice.WantReply(uint8(i))
	}
}

func TestWindowOfUnansweredDeliveries(t *testing.T) {
	n := newPair(t)
	signIn(t, n, "bob").Hang()
	fillBob(t, n, signIn(t, n, "alice"), 2*tipt.MaxDelivering)
	bob := signIn(t, n, "bob")
	ids := make([]uint8, tipt.MaxDelivering)
	for i := range ids {
		var d tipt.DeliverRequest
		if ids[i], d = bob.WantDeliver(); string(d.Message) != fmt.Sprint(i) {
			t.Fatalf("delivered %q as number %d", d.Message, i)
		}
	}
	bob.WantQuiet(0)
	bob.Answer(ids[5], nil) // room for one more
	if _, d := bob.WantDeliver(); string(d.Message) != fmt.Sprint(tipt.MaxDelivering) {
		t.Errorf("delivered %q behind the window", d.Message)
	}
	bob.WantQuiet(0)
	bob.Hang()
	// Number 5 is taken, those before it are not: all come again.
	bob = signIn(t, n, "bob")
	for i := range 2 * tipt.MaxDelivering {
		id, d := bob.WantDeliver()
		if string(d.Message) != fmt.Sprint(i) {
			t.Fatalf("second time, delivered %q as number %d", d.Message, i)
		}
		bob.Answer(id, nil)
	}
	bob.WantQuiet(0)
}

// What a node has no memory to send is read again, and comes in order.
func TestDeliverBeyondBudget(t *testing.T) {
	n := newPair(t, func(c *node.Config) { c.MaxBuffered = 1 << 20 }) // 384 KiB for deliveries
	signIn(t, n, "bob").Hang()
	alice := signIn(t, n, "alice")
	const count, size = 40, 100_000
	text := func(i int) string { return fmt.Sprintf("%0*d", size, i) }
	for i := range count {
		alice.Ask(0, tipt.RequestForward, n.Message(t, "bob", tipt.NewMessageID(), text(i), false))
		alice.WantReply(0)
	}
	bob := signIn(t, n, "bob")
	var ids []uint8
	for i := range count {
		id, d := bob.WantDeliver()
		if string(d.Message) != text(i) {
			t.Fatalf("message %.10s… of %d bytes came as number %d", d.Message, len(d.Message), i)
		}
		if ids = append(ids, id); len(ids) == 20 { // a client may be slow to answer
			for _, id := range ids {
				bob.Answer(id, nil)
			}
			ids = nil
		}
	}
}

// The response to DELIVER has no body: one with a map there is malformed, and takes nothing.
func TestAnswerWithBodyToDeliver(t *testing.T) {
	n := newPair(t)
	signIn(t, n, "bob").Hang()
	fillBob(t, n, signIn(t, n, "alice"), 1)
	bob := signIn(t, n, "bob")
	id, first := bob.WantDeliver()
	bob.Send(tipt.Packet{ID: id, Type: tipt.PacketResponse, Body: []byte{0x80}})
	bob.WantClose(1002)
	if _, again := signIn(t, n, "bob").WantDeliver(); again.ID != first.ID {
		t.Errorf("delivered %x after %x was answered with a body", again.ID, first.ID)
	}
}

// TestAnswersToDeliver gives each answer that section 4 knows and looks what
// comes on the same connection and on the next one.
func TestAnswersToDeliver(t *testing.T) {
	for _, test := range []struct {
		answer *tipt.Error
		again  bool // on the same connection
		next   int  // first message that comes on the next connection
	}{
		{answer: nil, next: 3},
		{answer: &tipt.Error{Code: tipt.ErrRejected}, next: 3},
		{answer: &tipt.Error{Code: tipt.ErrMalformed}, next: 3},
		{answer: &tipt.Error{Code: tipt.ErrUnsupported}, next: 3},
		{answer: &tipt.Error{Code: tipt.ErrBusy, Wait: 1}, again: true, next: 3},
		{answer: &tipt.Error{Code: tipt.ErrInternal}, next: 1},
		{answer: &tipt.Error{Code: 0x7f}, next: 1},
	} {
		t.Run(fmt.Sprint(test.answer), func(t *testing.T) {
			t.Parallel()
			n := newPair(t)
			signIn(t, n, "bob").Hang()
			fillBob(t, n, signIn(t, n, "alice"), 3)
			bob := signIn(t, n, "bob")
			for i := range 3 {
				id, d := bob.WantDeliver()
				if string(d.Message) != fmt.Sprint(i) {
					t.Fatalf("delivered %q as number %d", d.Message, i)
				}
				if i == 1 {
					bob.Answer(id, test.answer)
				} else {
					bob.Answer(id, nil)
				}
			}
			if test.again {
				id, d := bob.WantDeliver()
				if string(d.Message) != "1" {
					t.Fatalf("delivered %q after BUSY", d.Message)
				}
				bob.Answer(id, nil)
			}
			bob.WantQuiet(0)
			bob.Hang()
			bob = signIn(t, n, "bob")
			for i := test.next; i < 3; i++ {
				if _, d := bob.WantDeliver(); string(d.Message) != fmt.Sprint(i) {
					t.Errorf("next connection: delivered %q, want %d", d.Message, i)
				}
			}
			bob.WantQuiet(0)
		})
	}
}

func TestEveryDeviceGetsEverything(t *testing.T) {
	n := newPair(t)
	alice := signIn(t, n, "alice")
	fillBob(t, n, alice, 1) // waits for the first device
	phone, desk := n.Dial(t).Greet(), n.Dial(t).Greet()
	phone.SignInAs(tipt.SignInRequest{User: "bob", Password: "bob's password", Device: "phone", Receive: true})
	desk.SignInAs(tipt.SignInRequest{User: "bob", Password: "bob's password", Device: "desk", Receive: true})
	for _, device := range []*tipttest.Conn{phone, desk} {
		id, d := device.WantDeliver()
		if string(d.Message) != "0" {
			t.Errorf("delivered %q", d.Message)
		}
		device.Answer(id, nil)
		device.WantQuiet(0)
	}
}

// TestUnansweredBytes sends more than a client would keep, and finds that the node
// waits for answers before the client has to refuse anything.
func TestUnansweredBytes(t *testing.T) {
	n := newPair(t)
	signIn(t, n, "bob").Hang()
	alice := signIn(t, n, "alice")
	const count, size = 12, 1_000_000
	for i := range count {
		alice.Ask(0, tipt.RequestForward, n.Message(t, "bob", tipt.NewMessageID(), fmt.Sprintf("%02d%s", i, make([]byte, size)), false))
		alice.WantReply(0)
	}
	bob := signIn(t, n, "bob")
	var unanswered []uint8
	for i := range count {
		id, d := bob.WantDeliver()
		if got := string(d.Message[:2]); got != fmt.Sprintf("%02d", i) {
			t.Fatalf("delivered %q as number %d", got, i)
		}
		unanswered = append(unanswered, id)
		if i == 3 {
			bob.WantQuiet(99) // four are enough
		}
		if i >= 3 {
			bob.Answer(unanswered[0], nil)
			unanswered = unanswered[1:]
		}
	}
	for _, id := range unanswered {
		bob.Answer(id, nil)
	}
	bob.WantQuiet(99)
}
