package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/peer"
)

const nodeC tipt.NodeName = "c.example" // is not there

// limited starts two nodes, of which the one of that name has limits. On a are alice and carol, on b
// bob and dora.
func limited(t *testing.T, name tipt.NodeName, limits node.Limits) (a, b *tipttest.Node) {
	t.Helper()
	a, b = newTwo(t, func(c *node.Config) {
		if c.Name == name {
			c.Limits = limits
		}
	})
	a.Register(t, "carol", "carol's password")
	b.Register(t, "dora", "dora's password")
	return a, b
}

// A question is a request of a test and what is wanted of the answer.
type question struct {
	what string
	user *tipttest.Conn
	code tipt.NodeRequest
	body []byte
	want tipt.ErrorCode // 0 for none
	text string         // in the error
}

func ask(t *testing.T, questions []question) {
	t.Helper()
	for i, q := range questions {
		q.user.Ask(uint8(i), q.code, q.body)
		p := q.user.WantResponse(uint8(i))
		switch {
		case q.want == 0 && p.Err != nil:
			t.Errorf("%d, %s: %v", i, q.what, p.Err)
		case q.want != 0 && (p.Err == nil || p.Err.Code != q.want || !strings.Contains(p.Err.Message, q.text)):
			t.Errorf("%d, %s: %v, want %v and %q", i, q.what, p.Err, q.want, q.text)
		case q.want == tipt.ErrBusy && (p.Err.Wait <= 0 || p.Err.Wait > 24*time.Hour):
			t.Errorf("%d, %s: wait %v", i, q.what, p.Err.Wait)
		}
	}
}

// sealedTo is a FORWARD's body with something that no node opens.
func sealedTo(node tipt.NodeName, size int, wait bool) []byte {
	return tipt.ForwardRequest{Node: string(node), Wait: wait, Sealed: make([]byte, size)}.Append(nil)
}

func keyOf(node tipt.NodeName) []byte { return tipt.GetNodeKeyRequest{Node: string(node)}.Append(nil) }

// TestUserLimits has a user who wants more than is allowed, and one who does not.
func TestUserLimits(t *testing.T) {
	const forward, getKey = tipt.RequestForward, tipt.RequestGetNodeKey
	event := func(c *tipttest.Conn, body []byte) {
		c.Send(tipt.Packet{Type: tipt.PacketEvent, Code: uint8(forward), Body: body})
	}
	t.Run("messages", func(t *testing.T) {
		a, b := limited(t, nodeA, node.Limits{UserMessages: 3})
		alice, carol, bob := signIn(t, a, "alice"), signIn(t, a, "carol"), signIn(t, b, "bob")
		message := func(text string, wait bool) []byte { return b.Message(t, "bob", tipt.NewMessageID(), text, wait) }
		event(alice, message("an event", false))
		ask(t, []question{
			{"one that waits", alice, forward, message("waits", true), 0, ""},
			{"one that does not", alice, forward, message("does not", false), 0, ""},
			{"one more", alice, forward, message("not this", false), tipt.ErrBusy, "a minute"},
			{"one more that waits", alice, forward, message("not this", true), tipt.ErrBusy, "a minute"},
			{"something else", alice, getKey, keyOf(nodeB), 0, ""},
		})
		event(alice, message("nor this", false))
		ask(t, []question{{"another user", carol, forward, message("carol's", true), 0, ""}})
		got := make(map[string]bool)
		for range 4 {
			id, d := bob.WantDeliver()
			bob.Answer(id, nil)
			got[string(d.Message)] = true
		}
		if !got["an event"] || !got["waits"] || !got["does not"] || !got["carol's"] {
			t.Errorf("delivered %v", got)
		}
		bob.WantQuiet(9)
	})
	t.Run("bytes", func(t *testing.T) {
		a, _ := limited(t, nodeA, node.Limits{UserBytes: 10_000})
		alice, carol := signIn(t, a, "alice"), signIn(t, a, "carol")
		ask(t, []question{
			{"much", alice, forward, sealedTo(nodeB, 9_000, false), 0, ""},
			{"too much", alice, forward, sealedTo(nodeB, 9_000, false), tipt.ErrBusy, "a day"},
			{"a little", alice, forward, sealedTo(nodeB, 10, false), 0, ""},
			{"another user", carol, forward, sealedTo(nodeB, 9_000, false), 0, ""},
		})
	})
	t.Run("keys", func(t *testing.T) {
		a, b := limited(t, nodeA, node.Limits{UserKeys: 2})
		alice, carol := signIn(t, a, "alice"), signIn(t, a, "carol")
		ask(t, []question{
			{"one", alice, getKey, keyOf(nodeB), 0, ""},
			{"the node's own", alice, getKey, keyOf(nodeA), 0, ""},
			{"one more", alice, getKey, keyOf(nodeB), tipt.ErrBusy, "a minute"},
			{"another user", carol, getKey, keyOf(nodeB), 0, ""},
			{"something else", alice, forward, b.Message(t, "bob", tipt.NewMessageID(), "x", true), 0, ""},
		})
	})
	t.Run("destinations", func(t *testing.T) {
		a, b := limited(t, nodeA, node.Limits{UserDestinations: 1})
		alice, carol := signIn(t, a, "alice"), signIn(t, a, "carol")
		ask(t, []question{
			{"the node itself", alice, forward, a.Message(t, "carol", tipt.NewMessageID(), "x", true), 0, ""},
			{"one", alice, forward, b.Message(t, "bob", tipt.NewMessageID(), "x", true), 0, ""},
			{"a second", alice, forward, sealedTo(nodeC, 10, true), tipt.ErrBusy, "nodes a day"},
			{"a second that does not wait", alice, forward, sealedTo(nodeC, 10, false), tipt.ErrBusy, "nodes a day"},
			{"the key of a second", alice, getKey, keyOf(nodeC), tipt.ErrBusy, "nodes a day"},
			{"the first again", alice, forward, b.Message(t, "bob", tipt.NewMessageID(), "x", true), 0, ""},
			{"another user", carol, forward, sealedTo(nodeC, 10, false), 0, ""},
		})
	})
}

// TestOutboxIsFull has messages wait for nodes that are not there.
func TestOutboxIsFull(t *testing.T) {
	for _, test := range []struct {
		name      string
		limits    peer.OutboxLimits
		another   tipt.ErrorCode // for another user
		elsewhere tipt.ErrorCode // to another node
	}{
		{"entries of a user", peer.OutboxLimits{UserEntries: 2}, 0, tipt.ErrOutboxFull},
		{"bytes of a user", peer.OutboxLimits{UserBytes: 150}, 0, tipt.ErrOutboxFull},
		{"entries to a node", peer.OutboxLimits{NodeEntries: 2}, tipt.ErrOutboxFull, 0},
		{"bytes to a node", peer.OutboxLimits{NodeBytes: 150}, tipt.ErrOutboxFull, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := limited(t, nodeA, node.Limits{Outbox: test.limits})
			b.Stop()
			alice, carol := signIn(t, a, "alice"), signIn(t, a, "carol")
			const forward = tipt.RequestForward
			ask(t, []question{
				{"one", alice, forward, sealedTo(nodeB, 60, false), 0, ""},
				{"two", alice, forward, sealedTo(nodeB, 60, false), 0, ""},
				{"three", alice, forward, sealedTo(nodeB, 60, false), tipt.ErrOutboxFull, "waits to be forwarded"},
				{"one that waits", alice, forward, sealedTo(nodeB, 60, true), tipt.ErrNodeUnreachable, ""},
				{"another user's", carol, forward, sealedTo(nodeB, 60, false), test.another, ""},
				{"to another node", alice, forward, sealedTo(nodeC, 60, false), test.elsewhere, ""},
			})
			alice.Hang()
			carol.Hang()
			a.Restart(t, func(c *node.Config) { c.Limits.Outbox = test.limits })
			ask(t, []question{{"after a restart", signIn(t, a, "alice"), forward, sealedTo(nodeB, 60, false), tipt.ErrOutboxFull, ""}})
		})
	}
}

// TestPeerLimits has a node that sends more than is allowed: 429, which its users hear of.
func TestPeerLimits(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits node.Limits
		reason string
	}{
		{"messages", node.Limits{PeerMessages: 2}, "429"},
		{"bytes", node.Limits{PeerBytes: 2500}, "429"},
		{"recipients", node.Limits{PeerRecipients: 1}, "new recipients a day"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := limited(t, nodeB, test.limits)
			alice, bob, dora := signIn(t, a, "alice"), signIn(t, b, "bob"), signIn(t, b, "dora")
			message := func(to string) []byte {
				return b.Message(t, to, tipt.NewMessageID(), strings.Repeat("x", 700), true)
			}
			const forward = tipt.RequestForward
			ask(t, []question{
				{"one", alice, forward, message("bob"), 0, ""},
				{"to nobody", alice, forward, message("nobody"), 0, ""},
				{"to another", alice, forward, message("dora"), tipt.ErrNodeUnreachable, test.reason},
			})
			if test.limits.PeerRecipients > 0 {
				ask(t, []question{{"to the first again", alice, forward, message("bob"), 0, ""}})
			}
			alice.Ask(9, forward, message("dora"))
			if e := alice.WantError(9, tipt.ErrNodeUnreachable); e.Wait < time.Second || e.Wait > 24*time.Hour {
				t.Errorf("wait %v", e.Wait)
			}
			// Its own users are none of another node's.
			ask(t, []question{
				{"its own user", bob, forward, message("dora"), 0, ""},
				{"its own user again", dora, forward, message("bob"), 0, ""},
			})
		})
	}
}

// TestResendIsAnsweredFirst is section 5.3: what was stored before is answered likewise, before the count
// of recipients, which began anew with the node, could refuse it.
func TestResendIsAnsweredFirst(t *testing.T) {
	a, b := limited(t, nodeB, node.Limits{})
	alice := signIn(t, a, "alice")
	message := func(to string) []byte { return b.Message(t, to, tipt.NewMessageID(), "hello", true) }
	first := message("bob")
	ask(t, []question{{"the first", alice, tipt.RequestForward, first, 0, ""}})
	b.Restart(t, func(c *node.Config) { c.Limits = node.Limits{PeerRecipients: 1} })
	ask(t, []question{
		{"to another", alice, tipt.RequestForward, message("dora"), 0, ""},
		{"a new one", alice, tipt.RequestForward, message("bob"), tipt.ErrNodeUnreachable, "new recipients a day"},
		{"the first again", alice, tipt.RequestForward, first, 0, ""},
	})
}
