package node

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
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

// duringSignIn has f called while alice's SIGN_IN, which does not receive, is being stored.
func duringSignIn(t *testing.T, f func(t *testing.T, n *Node, client *link.Link, ended <-chan error, goOn chan<- struct{})) {
	var slow slowSignIn
	over := func(s store.Store) store.Store {
		slow = slowSignIn{s, make(chan struct{}), make(chan struct{})}
		return slow
	}
	inBubbleOver(t, over, func(t *testing.T, n *Node) {
		client, ended := dial(t, n)
		register := tipt.RegisterRequest{User: "alice", Password: "correct horse"}
		if err := errors.Join(call(t, client, tipt.RequestHandshake, nil), call(t, client, tipt.RequestRegister, register.Append(nil))); err != nil {
			t.Fatal(err)
		}
		request := tipt.SignInRequest{User: "alice", Password: "correct horse", Device: "phone"}
		go func() { _, _ = client.Call(t.Context(), uint8(tipt.RequestSignIn), request.Append(nil)) }()
		<-slow.begun
		f(t, n, client, ended, slow.goOn)
	})
}

func TestConnectionEndsDuringSignIn(t *testing.T) {
	duringSignIn(t, func(t *testing.T, n *Node, client *link.Link, ended <-chan error, goOn chan<- struct{}) {
		client.CloseNow()
		<-ended
		synctest.Wait()
		goOn <- struct{}{}
		synctest.Wait()
		n.online.mu.Lock()
		defer n.online.mu.Unlock()
		if len(n.online.users) > 0 {
			t.Errorf("still online: %v", n.online.users)
		}
	})
}

func TestSignedOutDuringSignIn(t *testing.T) {
	duringSignIn(t, func(t *testing.T, n *Node, _ *link.Link, ended <-chan error, goOn chan<- struct{}) {
		disabled := make(chan error)
		go func() { disabled <- n.setDisabled(t.Context(), "alice", true) }()
		synctest.Wait()
		goOn <- struct{}{}
		if err := <-disabled; err != nil {
			t.Fatal(err)
		}
		wantClosed(t, ended, tipt.CloseSignedOut)
	})
}
