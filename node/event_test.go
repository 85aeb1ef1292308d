package node

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

// A fullStore commits no message before it is told.
type fullStore struct {
	store.Store
	goOn chan struct{}
}

func (s fullStore) Commit(ctx context.Context, batch []store.Op) error {
	if slices.ContainsFunc(batch, func(op store.Op) bool { _, ok := op.(*store.Append); return ok }) {
		<-s.goOn
	}
	return s.Store.Commit(ctx, batch)
}

// TestEventsCountAsBuffered has FORWARDs as EVENTs held within what the node may buffer, like
// requests, until they are stored.
func TestEventsCountAsBuffered(t *testing.T) {
	var full fullStore
	over := func(s store.Store) store.Store {
		full = fullStore{s, make(chan struct{})}
		return full
	}
	inBubbleOver(t, over, func(t *testing.T, n *Node) {
		n.budget = link.NewBudget(2 << 20)
		client, _ := dial(t, n)
		defer client.CloseNow()
		register := tipt.RegisterRequest{User: "alice", Password: "correct horse"}
		signIn := tipt.SignInRequest{User: "alice", Password: "correct horse", Device: "phone"}
		for _, r := range []struct {
			code tipt.NodeRequest
			body []byte
		}{
			{tipt.RequestHandshake, nil},
			{tipt.RequestRegister, register.Append(nil)},
			{tipt.RequestSignIn, signIn.Append(nil)},
		} {
			if err := call(t, client, r.code, r.body); err != nil {
				t.Fatal(err)
			}
		}
		cert, err := seal.ParseCertificate(n.key.Load().Certificate())
		if err != nil {
			t.Fatal(err)
		}
		const size, sent = 300_000, 8
		for range sent {
			m := tipt.MessageForward{To: "alice", ID: tipt.NewMessageID(), Message: make([]byte, size)}
			sealed, err := cert.Seal(tipt.SealedRequest{Type: tipt.ForwardMessage, Message: &m}.Append(nil), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Emit(uint8(tipt.RequestForward), tipt.ForwardRequest{Node: "node.example", Sealed: sealed}.Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if held := n.budget.Used() / size; held == 0 || held == sent {
			t.Errorf("%d of %d are held", held, sent)
		}
		close(full.goOn)
		synctest.Wait()
		if used := n.budget.Used(); used != 0 {
			t.Errorf("%d bytes are held for nothing", used)
		}
	})
}
