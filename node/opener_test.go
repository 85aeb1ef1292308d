package node

import (
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// keptBy returns whose session keys an Opener keeps, which only its insides tell.
func keptBy(o *seal.Opener) []string {
	inside := reflect.ValueOf(o).Elem()
	mu := (*sync.Mutex)(inside.FieldByName("mu").Addr().UnsafePointer())
	mu.Lock()
	defer mu.Unlock()
	var senders []string
	for _, from := range inside.FieldByName("senders").MapKeys() {
		senders = append(senders, from.FieldByName("User").String()+"@"+from.FieldByName("Node").String())
	}
	slices.Sort(senders)
	return senders
}

func wantKeptBy(t *testing.T, o *seal.Opener, want ...string) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, keptBy(o)); diff != "" {
		t.Errorf("senders of kept session keys (-want +got):\n%s", diff)
	}
}

// sealer seals to the node's key as it is now, a request that the node opens and finds malformed.
func sealer(t *testing.T, n *Node) func() []byte {
	t.Helper()
	cert, err := seal.ParseCertificate(n.key.Load().Certificate())
	if err != nil {
		t.Fatal(err)
	}
	s := cert.NewSealer()
	return func() []byte {
		t.Helper()
		sealed, err := s.Seal([]byte{0x80}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
}

func receiveFrom(t *testing.T, n *Node, from tipt.Address, sealed []byte) {
	t.Helper()
	answer, _, err := n.receivePeer(t.Context(), from, sealed)
	if err != nil {
		t.Fatal(err)
	}
	var a tipt.ForwardAnswer
	if err := a.Parse(answer); err != nil || a.Err == nil || a.Err.Code != tipt.ErrForwardMalformed {
		t.Errorf("answered %+v, %v, want MALFORMED", a, err)
	}
}

// Section 5.2: a session key that has been unwrapped goes with its sender, as the node itself knows
// it or another node vouches for it.
func TestSessionKeysGoWithTheirSender(t *testing.T) {
	inBubble(t, func(t *testing.T, n *Node) {
		client, _ := dial(t, n)
		defer client.CloseNow()
		for _, ask := range []struct {
			request tipt.NodeRequest
			body    []byte
		}{
			{tipt.RequestHandshake, nil},
			{tipt.RequestRegister, tipt.RegisterRequest{User: "alice", Password: "correct horse"}.Append(nil)},
			{tipt.RequestSignIn, tipt.SignInRequest{User: "alice", Password: "correct horse", Device: "d"}.Append(nil)},
		} {
			if err := call(t, client, ask.request, ask.body); err != nil {
				t.Fatal(err)
			}
		}
		next := sealer(t, n)
		opener := n.opener.Load()
		receiveFrom(t, n, tipt.Address{}, next())
		wantKeptBy(t, opener)
		receiveFrom(t, n, tipt.Address{User: "alice", Node: "a.example"}, next())
		receiveFrom(t, n, tipt.Address{User: "bob", Node: "a.example"}, next())
		wantKeptBy(t, opener, "alice@a.example", "bob@a.example")
		for _, wait := range []bool{true, false} {
			n.opener.Swap(seal.NewOpener(n.key.Load()))
			forward := tipt.ForwardRequest{Node: "node.example", Wait: wait, Sealed: next()}
			if err := call(t, client, tipt.RequestForward, forward.Append(nil)); err != nil {
				t.Fatal(err)
			}
			wantKeptBy(t, n.opener.Load(), "alice@node.example")
		}
	})
}

// A client takes a new session key for each connection, so with a user's last one they go.
func TestSessionKeysEndWithTheLastConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, n *Node) {
		if err := n.accounts.Register(t.Context(), tipt.RegisterRequest{User: "alice", Password: "correct horse"}); err != nil {
			t.Fatal(err)
		}
		receiveFrom(t, n, tipt.Address{User: "alice", Node: "a.example"}, sealer(t, n)())
		const other = "alice@a.example"
		var clients []*link.Link
		var ends []<-chan error
		for _, device := range []string{"phone", "desk"} {
			client, ended := dial(t, n)
			clients, ends = append(clients, client), append(ends, ended)
			if err := call(t, client, tipt.RequestHandshake, nil); err != nil {
				t.Fatal(err)
			}
			signIn := tipt.SignInRequest{User: "alice", Password: "correct horse", Device: device}
			if err := call(t, client, tipt.RequestSignIn, signIn.Append(nil)); err != nil {
				t.Fatal(err)
			}
			forward := tipt.ForwardRequest{Node: "node.example", Wait: true, Sealed: sealer(t, n)()}
			if err := call(t, client, tipt.RequestForward, forward.Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
		opener := n.opener.Load()
		wantKeptBy(t, opener, other, "alice@node.example")
		clients[0].CloseNow()
		<-ends[0]
		wantKeptBy(t, opener, other, "alice@node.example")
		clients[1].CloseNow()
		<-ends[1]
		wantKeptBy(t, opener, other)
	})
}

func TestSessionKeysAreSwept(t *testing.T) {
	inBubble(t, func(t *testing.T, n *Node) {
		opener := n.opener.Load()
		receiveFrom(t, n, tipt.Address{User: "alice", Node: "a.example"}, sealer(t, n)())
		time.Sleep(time.Hour - openerSweep)
		wantKeptBy(t, opener, "alice@a.example")
		time.Sleep(2 * openerSweep)
		wantKeptBy(t, opener)
	})
}

func TestSessionKeysEndWithTheNodesKey(t *testing.T) {
	for _, change := range []KeyChange{KeyRotate, KeyAddMLKEM} {
		inBubble(t, func(t *testing.T, n *Node) {
			n.config.Data = t.TempDir()
			from := tipt.Address{User: "alice", Node: "a.example"}
			time.Sleep(time.Minute)
			before := sealer(t, n)
			old := n.opener.Load()
			receiveFrom(t, n, from, before())
			wantKeptBy(t, old, "alice@a.example")
			if _, err := n.changeKey(change); err != nil {
				t.Fatal(err)
			}
			wantKeptBy(t, old)
			wantKeptBy(t, n.opener.Load())
			// What is under way to the old subkey opens, and after a rotation nothing is kept of it.
			receiveFrom(t, n, from, before())
			if change == KeyRotate {
				wantKeptBy(t, n.opener.Load())
			}
			time.Sleep(time.Minute)
			receiveFrom(t, n, from, sealer(t, n)())
			wantKeptBy(t, n.opener.Load(), "alice@a.example")
		})
	}
}

func TestSessionKeysEndWithTheNode(t *testing.T) {
	var opener *seal.Opener
	inBubble(t, func(t *testing.T, n *Node) {
		opener = n.opener.Load()
		receiveFrom(t, n, tipt.Address{User: "alice", Node: "a.example"}, sealer(t, n)())
		wantKeptBy(t, opener, "alice@a.example")
	})
	if kept := keptBy(opener); len(kept) > 0 {
		t.Errorf("left in memory: %v", kept)
	}
}
