package client

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// TestSendWithUnknownOutcome shows what Send makes of an attempt of which nobody knows whether
// it delivered the message.
func TestSendWithUnknownOutcome(t *testing.T) {
	fail := func(code tipt.ErrorCode) func(*fakeNode, *link.Request) {
		return func(_ *fakeNode, r *link.Request) { r.Fail(&tipt.Error{Code: code}) }
	}
	answer := func(e *tipt.ForwardError) func(*fakeNode, *link.Request) {
		return func(_ *fakeNode, r *link.Request) { r.Reply(answered(e)) }
	}
	lose := func(n *fakeNode, _ *link.Request) { n.now().CloseNow() }
	timeout, unreachable := fail(tipt.ErrNodeTimeout), fail(tipt.ErrNodeUnreachable)
	tests := []struct {
		name     string
		queue    bool
		attempts []func(*fakeNode, *link.Request)
		want     error
		not      error
	}{
		{name: "delivered after a time-out", attempts: []func(*fakeNode, *link.Request){timeout, answer(nil)}},
		{name: "delivered after two", attempts: []func(*fakeNode, *link.Request){timeout, timeout, answer(nil)}},
		{
			name: "three", attempts: []func(*fakeNode, *link.Request){timeout, timeout, timeout},
			want: tipt.ErrNodeTimeout,
		},
		{
			name: "the destination refuses", attempts: []func(*fakeNode, *link.Request){timeout, answer(&tipt.ForwardError{Code: tipt.ErrNoSuchUser})},
			want: tipt.ErrNoSuchUser, not: tipt.ErrNodeTimeout,
		},
		{
			name: "not reached after a time-out", attempts: []func(*fakeNode, *link.Request){timeout, unreachable},
			want: tipt.ErrNodeTimeout, not: tipt.ErrNodeUnreachable,
		},
		{
			name: "not reached after a lost connection", attempts: []func(*fakeNode, *link.Request){lose, unreachable},
			want: tipt.ErrNodeTimeout, not: tipt.ErrNodeUnreachable,
		},
		{
			name: "outbox full after a lost connection", queue: true, attempts: []func(*fakeNode, *link.Request){lose, fail(tipt.ErrOutboxFull)},
			want: tipt.ErrNodeTimeout, not: tipt.ErrOutboxFull,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := signedIn(t, n, nil)
				defer c.Close()
				var err error
				send := begin(t, func() error {
					err = c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: tt.queue})
					return err
				})
				n.giveKey()
				var id tipt.MessageID
				for i, attempt := range tt.attempts {
					r, _, sealed := n.wantForward()
					if i > 0 && sealed.Message.ID != id {
						t.Errorf("attempt %d has mid %v, want %v as before", i+1, sealed.Message.ID, id)
					}
					id = sealed.Message.ID
					attempt(n, r)
					time.Sleep(time.Minute)
				}
				send.want(tt.want)
				if tt.not != nil && errors.Is(err, tt.not) {
					t.Errorf("error %v is %v", err, tt.not)
				}
				n.wantNothing()
			})
		})
	}
}

// TestLostKeyRequestDeliversNothing shows that a lost GET_NODE_KEY leaves no doubt.
func TestLostKeyRequestDeliversNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		send := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello"}) })
		n.want(tipt.RequestGetNodeKey)
		n.now().CloseNow()
		time.Sleep(time.Minute)
		n.want(tipt.RequestGetNodeKey).Fail(&tipt.Error{Code: tipt.ErrNodeUnreachable})
		send.want(tipt.ErrNodeUnreachable)
	})
}

// TestQueueToKeptKey queues messages for a node that cannot be asked for its key now.
func TestQueueToKeptKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		pins := new(memoryPins)
		c := signedIn(t, n, &Options{Pins: pins})
		defer c.Close()
		queue := func() *pending {
			return begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: true}) })
		}
		refuse := func(code tipt.ErrorCode) { n.want(tipt.RequestGetNodeKey).Fail(&tipt.Error{Code: code}) }

		never := queue()
		refuse(tipt.ErrNodeUnreachable)
		never.want(tipt.ErrNodeUnreachable)

		if err := pins.SetPin(nodeName, n.key.Certificate()); err != nil {
			t.Fatal(err)
		}
		for _, code := range []tipt.ErrorCode{tipt.ErrNodeUnreachable, tipt.ErrNodeTimeout} {
			queued := queue()
			refuse(code)
			r, _, _ := n.wantForward()
			r.Reply(nil)
			queued.want(nil)
		}
		barred := queue()
		refuse(tipt.ErrNodeRefused)
		barred.want(tipt.ErrNodeRefused)

		now := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello"}) })
		refuse(tipt.ErrNodeUnreachable)
		now.want(tipt.ErrNodeUnreachable)

		cannotOpen := tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrCannotOpen}}
		n.now().request(tipt.RequestReturn, tipt.ReturnRequest{Node: string(nodeName), Response: cannotOpen.Append(nil)}.Append(nil))
		synctest.Wait()
		outdated := queue()
		refuse(tipt.ErrNodeUnreachable)
		outdated.want(tipt.ErrNodeUnreachable)
	})
}

// TestNodeKey gives the key to a program that seals by itself.
func TestNodeKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		refused := errors.New("not that key")
		c := signedIn(t, n, &Options{KeyChanged: func(tipt.NodeName, string, string) error { return refused }})
		defer c.Close()
		var got []byte
		get := func(fresh bool) *pending {
			return begin(t, func() (err error) {
				got, err = c.NodeKey(t.Context(), nodeName, fresh)
				return err
			})
		}
		wantKey := func() {
			t.Helper()
			if string(got) != string(n.key.Certificate()) {
				t.Error("another key")
			}
		}
		first := get(false)
		if n.giveKey().New {
			t.Error("fetched past the node's cache unasked")
		}
		first.want(nil)
		wantKey()
		get(false).want(nil)

		rotated, err := n.key.Rotate(time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		n.key = rotated
		second := get(true)
		if !n.giveKey().New {
			t.Error("fetched from the node's cache")
		}
		second.want(nil)
		wantKey()
		if kept, err := c.options.Pins.Pin(nodeName); err != nil || string(kept) != string(rotated.Certificate()) {
			t.Errorf("the new subkeys are not kept (%v)", err)
		}

		n.key = newNodeKey(t)
		third := get(true)
		n.giveKey()
		third.want(refused)
	})
}
