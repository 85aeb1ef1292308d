package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tipt/tipt-go"
)

// textOf is DELIVER's body with a text from bob.
func textOf(id byte, text string) tipt.DeliverRequest {
	content := tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: text, Time: time.UnixMilli(1)}}
	return tipt.DeliverRequest{
		ID:      tipt.MessageID{id},
		From:    bob.String(),
		Time:    time.UnixMilli(2).UTC(),
		Message: content.Append(nil),
	}
}

// A recorder is a handler of Receive that notes what it is given.
type recorder struct {
	got    []Message
	result func(m Message) error // nil: nil
}

func (r *recorder) handle(_ context.Context, m Message) error {
	r.got = append(r.got, m)
	if r.result == nil {
		return nil
	}
	return r.result(m)
}

func (r *recorder) texts() []string {
	var texts []string
	for _, m := range r.got {
		text, _ := m.Text()
		texts = append(texts, text)
	}
	return texts
}

func TestReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		early := n.now().deliver(textOf(1, "before Receive"))
		wantNoAnswer(t, early)
		var r recorder
		ctx, cancel := context.WithCancel(t.Context())
		receive := begin(t, func() error { return c.Receive(ctx, r.handle) })
		wantAnswer(t, early, nil)
		other := textOf(2, "")
		other.Message = []byte{0xc1, 0xff}
		other.From = ""
		wantAnswer(t, n.now().deliver(other), nil)
		want := []Message{
			{ID: tipt.MessageID{1}, From: bob.String(), Time: time.UnixMilli(2), Body: textOf(1, "before Receive").Message},
			{ID: tipt.MessageID{2}, Time: time.UnixMilli(2), Body: []byte{0xc1, 0xff}},
		}
		if diff := cmp.Diff(want, r.got); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"before Receive", ""}, r.texts()); diff != "" {
			t.Errorf("texts (-want +got):\n%s", diff)
		}
		if err := c.Receive(t.Context(), r.handle); err == nil {
			t.Error("a second Receive at the same time is let through")
		}
		cancel()
		receive.want(context.Canceled)
		late := n.now().deliver(textOf(3, "after Receive"))
		wantNoAnswer(t, late)
		begin(t, func() error { return c.Receive(t.Context(), r.handle) })
		wantAnswer(t, late, nil)
	})
}

func TestReceiveReturns(t *testing.T) {
	node := string(nodeName)
	refused := tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrNoSuchUser}}
	ref := tipt.MessageID{9}
	tests := []struct {
		name string
		sent tipt.ReturnRequest
		ref  tipt.MessageID
		is   error
	}{
		{"refused", tipt.ReturnRequest{Ref: &ref, Response: refused.Append(nil)}, ref, tipt.ErrNoSuchUser},
		{"not reached", tipt.ReturnRequest{Code: tipt.ErrNodeUnreachable, HasCode: true}, tipt.MessageID{}, tipt.ErrNodeUnreachable},
		{"answer that is none", tipt.ReturnRequest{Ref: &ref, Response: []byte{0xc1}}, ref, tipt.ErrMalformed},
		{"answer without an error", tipt.ReturnRequest{Ref: &ref, Response: tipt.ForwardAnswer{}.Append(nil)}, ref, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := signedIn(t, n, nil)
				defer c.Close()
				var r recorder
				begin(t, func() error { return c.Receive(t.Context(), r.handle) })
				tt.sent.ID, tt.sent.Node, tt.sent.Time = tipt.MessageID{7}, node, time.UnixMilli(2)
				body := tt.sent.Append(nil)
				wantAnswer(t, n.now().request(tipt.RequestReturn, body), nil)
				wantAnswer(t, n.now().request(tipt.RequestReturn, body), nil) // recognised
				want := []Message{{
					ID:     tipt.MessageID{7},
					Time:   time.UnixMilli(2),
					Return: &Return{Ref: tt.ref, Node: node},
				}}
				if diff := cmp.Diff(want, r.got, cmpopts.IgnoreFields(Return{}, "Err")); diff != "" {
					t.Fatalf("messages (-want +got):\n%s", diff)
				}
				err := r.got[0].Return.Err
				if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("Err is %v, want %v", err, tt.is)
				}
				if _, ok := r.got[0].Text(); ok {
					t.Error("a return has a text")
				}
			})
		})
	}
}

func TestReceiveHandsOverAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		broken := true
		r := recorder{result: func(m Message) error {
			if text, _ := m.Text(); text == "one" && broken {
				return errors.New("no room")
			}
			return nil
		}}
		began := time.Now()
		begin(t, func() error { return c.Receive(t.Context(), r.handle) })
		one, two := n.now().deliver(textOf(1, "one")), n.now().deliver(textOf(2, "two"))
		time.Sleep(time.Hour)
		wantNoAnswer(t, one)
		wantNoAnswer(t, two)
		for _, text := range r.texts() {
			if text != "one" {
				t.Fatalf("%q was handed over before the message in front of it", text)
			}
		}
		// Pauses of 1/2, 1, 2, … s in the mean up to 150 s: some 30 in an hour.
		if len(r.got) < 10 || len(r.got) > 100 {
			t.Errorf("handed over %d times in an hour", len(r.got))
		}
		// A lost connection changes nothing.
		n.now().CloseNow()
		time.Sleep(10 * time.Minute)
		broken = false
		one, two = n.now().deliver(textOf(1, "one")), n.now().deliver(textOf(2, "two"))
		time.Sleep(tipt.ReconnectMax)
		wantAnswer(t, one, nil)
		wantAnswer(t, two, nil)
		if last := r.texts()[len(r.got)-2:]; last[0] != "one" || last[1] != "two" {
			t.Errorf("taken in the order %q after %v", last, time.Since(began))
		}
	})
}

func TestReceiveRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		r := recorder{result: func(Message) error { return fmt.Errorf("spam: %w", ErrReject) }}
		begin(t, func() error { return c.Receive(t.Context(), r.handle) })
		wantAnswer(t, n.now().deliver(textOf(1, "one")), tipt.ErrRejected)
		wantAnswer(t, n.now().deliver(textOf(1, "one")), nil)
		if len(r.got) != 1 {
			t.Errorf("handed over %d times, want once", len(r.got))
		}
	})
}

func TestReceiveRefusesMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		body := textOf(1, "one").Append(nil)
		wantAnswer(t, n.now().request(tipt.RequestDeliver, nil), tipt.ErrMalformed)
		wantAnswer(t, n.now().request(tipt.RequestReturn, body), tipt.ErrMalformed)
		wantAnswer(t, n.now().request(0x7f, body), tipt.ErrUnsupported)
	})
}

func TestReceiveRecognisesDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		var r recorder
		begin(t, func() error { return c.Receive(t.Context(), r.handle) })
		wantAnswer(t, n.now().deliver(textOf(1, "one")), nil)
		n.now().CloseNow()
		time.Sleep(time.Second)
		wantAnswer(t, n.now().deliver(textOf(1, "one")), nil)
		carol := textOf(1, "from another sender")
		carol.From = "carol@node.example"
		wantAnswer(t, n.now().deliver(carol), nil)
		wantAnswer(t, n.now().deliver(textOf(2, "two")), nil)
		want := []string{"one", "from another sender", "two"}
		if diff := cmp.Diff(want, r.texts()); diff != "" {
			t.Errorf("texts (-want +got):\n%s", diff)
		}
	})
}

func TestMessageTakenWhileConnectionIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		release := make(chan struct{})
		r := recorder{result: func(Message) error { <-release; return nil }}
		begin(t, func() error { return c.Receive(t.Context(), r.handle) })
		n.now().deliver(textOf(1, "one"))
		synctest.Wait()
		n.now().CloseNow()
		time.Sleep(time.Second)
		again := n.now().deliver(textOf(1, "one"))
		wantNoAnswer(t, again)
		close(release)
		wantAnswer(t, again, nil)
		if len(r.got) != 1 {
			t.Errorf("handed over %d times, want once", len(r.got))
		}
	})
}

func TestRecentIsBounded(t *testing.T) {
	var r recent
	key := func(i int) deliveryKey { return deliveryKey{from: fmt.Sprint(i)} }
	for i := range 3 * maxRecent {
		r.add(key(i))
		r.add(key(i)) // counts once
		if len(r.set) > maxRecent || len(r.ring) > maxRecent {
			t.Fatalf("after %d keys %d are kept, want at most %d", i+1, len(r.set), maxRecent)
		}
	}
	for _, tt := range []struct {
		i    int
		want bool
	}{{2*maxRecent - 1, false}, {2 * maxRecent, true}, {3*maxRecent - 1, true}, {3 * maxRecent, false}} {
		if got := r.has(key(tt.i)); got != tt.want {
			t.Errorf("has(key %d) = %v, want %v", tt.i, got, tt.want)
		}
	}
}
