package node

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
)

// A slowSignIn holds each commit of a SIGN_IN up, for as long as it is told.
type slowSignIn struct {
	store.Store
	begun, goOn chan struct{}
}

func (s slowSignIn) Commit(ctx context.Context, batch []store.Op) error {
	if slices.ContainsFunc(batch, func(op store.Op) bool { _, ok := op.(*store.SignIn); return ok }) {
		s.begun <- struct{}{}
		<-s.goOn
	}
	return s.Store.Commit(ctx, batch)
}

// slowlySigningIn runs a test with a node that stores each SIGN_IN when it is told. Alice, who has an
// account there, makes them by the function that the test gets.
func slowlySigningIn(t *testing.T, f func(t *testing.T, n *Node, slow *slowSignIn, signIn func(receive bool, o link.Options) (*link.Link, <-chan error))) {
	var slow slowSignIn
	over := func(s store.Store) store.Store {
		slow = slowSignIn{s, make(chan struct{}), make(chan struct{})}
		return slow
	}
	inBubbleOver(t, over, func(t *testing.T, n *Node) {
		if err := n.accounts.Register(t.Context(), tipt.RegisterRequest{User: "alice", Password: "correct horse"}); err != nil {
			t.Fatal(err)
		}
		f(t, n, &slow, func(receive bool, o link.Options) (*link.Link, <-chan error) {
			client, ended := dialWith(t, n, o)
			if err := call(t, client, tipt.RequestHandshake, nil); err != nil {
				t.Fatal(err)
			}
			request := tipt.SignInRequest{User: "alice", Password: "correct horse", Device: "phone", Receive: receive}
			go func() { _, _ = client.Call(t.Context(), uint8(tipt.RequestSignIn), request.Append(nil)) }()
			<-slow.begun
			return client, ended
		})
	})
}

func TestConnectionEndsDuringSignIn(t *testing.T) {
	slowlySigningIn(t, func(t *testing.T, n *Node, slow *slowSignIn, signIn func(bool, link.Options) (*link.Link, <-chan error)) {
		client, ended := signIn(false, link.Options{})
		client.CloseNow()
		<-ended
		synctest.Wait()
		slow.goOn <- struct{}{}
		synctest.Wait()
		n.online.mu.Lock()
		defer n.online.mu.Unlock()
		if len(n.online.users) > 0 {
			t.Errorf("still online: %v", n.online.users)
		}
	})
}

func TestSignedOutDuringSignIn(t *testing.T) {
	slowlySigningIn(t, func(t *testing.T, n *Node, slow *slowSignIn, signIn func(bool, link.Options) (*link.Link, <-chan error)) {
		_, ended := signIn(false, link.Options{})
		disabled := make(chan error)
		go func() { disabled <- n.setDisabled(t.Context(), "alice", true) }()
		synctest.Wait()
		slow.goOn <- struct{}{}
		if err := <-disabled; err != nil {
			t.Fatal(err)
		}
		wantClosed(t, ended, tipt.CloseSignedOut)
	})
}

// A keeper keeps what the node delivers, unanswered.
type keeper chan *link.Request

func (k keeper) ServeTipt(r *link.Request) { k <- r }
func (keeper) ServeEvent(tipt.Packet)      {}

// TestTakenDuringSignIn has a connection take a message and end while its device signs in again. What
// the store says the device's place is, is out of date then.
func TestTakenDuringSignIn(t *testing.T) {
	slowlySigningIn(t, func(t *testing.T, n *Node, slow *slowSignIn, signIn func(bool, link.Options) (*link.Link, <-chan error)) {
		first, second := make(keeper, 10), make(keeper, 10)
		old, ended := signIn(true, link.Options{Handler: first})
		slow.goOn <- struct{}{}
		synctest.Wait()

		stored := make(chan error, 1)
		alice, err := n.accounts.Lookup(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		m := mailbox.Message{User: alice.ID, Kind: store.KindDeliver, ID: tipt.NewMessageID(), Body: []byte("hello")}
		if err := n.mailboxes.Append(t.Context(), m, func(_ store.Outcome, err error) { stored <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
		delivered := <-first
		signIn(true, link.Options{Handler: second}) // begins to be stored
		delivered.Reply(nil)
		synctest.Wait()
		old.CloseNow()
		<-ended
		synctest.Wait()
		slow.goOn <- struct{}{}
		synctest.Wait()
		if len(second) > 0 {
			t.Error("delivered again")
		}
	})
}
