package main_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
)

// A node that has just said that it serves can be ended.
func TestStopAtOnce(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd)
	for range 20 {
		d.Start(t).Stop()
	}
}

// A stoppingSender writes as fast as it may until the node announces its end.
type stoppingSender struct {
	*conn

	mu       sync.Mutex // guards the following fields
	accepted map[tipt.MessageID]bool
	refused  map[tipt.MessageID]bool // BUSY: nothing was done
	wrong    []error
}

// SIGTERM under load: clients are told, what the node has begun is answered and done, what it refuses
// is not done, connections close with 1001 and the process ends well.
func TestStopUnderLoad(t *testing.T) {
	const senders, enough = 6, 300
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	register(t, d, p.Addr, "ada", "bob")
	signIn(t, d, p.Addr, "bob", nil).hang() // has a device from now on
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	var all []*stoppingSender
	var load sync.WaitGroup
	defer load.Wait()
	answered := make(chan struct{}, enough) // a token for each of the first answers
	for i := range senders {
		c, err := dial(ctx, d, p.Addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.hang()
		if _, err := c.signIn(ctx, tipt.SignInRequest{User: "ada", Device: fmt.Sprint(i), Password: password}); err != nil {
			t.Fatal(err)
		}
		key, err := c.certificate(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s := &stoppingSender{conn: c, accepted: make(map[tipt.MessageID]bool), refused: make(map[tipt.MessageID]bool)}
		all = append(all, s)
		load.Go(func() {
			for number := 0; len(s.events) == 0; number++ {
				id, wait := tipt.NewMessageID(), number%3 == 0
				body, err := message(key, d.Name, "bob", id, fmt.Appendf(nil, "%d/%d", i, number), wait)
				if err != nil {
					t.Error(err)
					return
				}
				err = s.Go(ctx, uint8(tipt.RequestForward), body, func(answer tipt.Packet, err error) {
					s.note(id, accepted(answer, err, wait))
					select {
					case answered <- struct{}{}:
					default:
					}
				})
				if err != nil {
					return // closed
				}
			}
		})
	}
	for range enough {
		select {
		case <-answered:
		case <-ctx.Done():
			t.Fatalf("the node does not answer:\n%s", p.Log())
		}
	}
	p.Terminate()
	for _, s := range all {
		s.wantGoingAway(t, tipt.CloseGoingAway)
	}
	load.Wait()
	if status := p.Wait(); status != 0 {
		t.Errorf("exit status %d after SIGTERM:\n%s", status, p.Log())
	}

	accepted, refused := make(map[tipt.MessageID]bool), 0
	for _, s := range all {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, err := range s.wrong {
			t.Error(err)
		}
		for id := range s.accepted {
			accepted[id] = true
		}
		refused += len(s.refused)
	}
	t.Logf("%d accepted, %d refused", len(accepted), refused)
	p = d.Start(t)
	// No delivery may block the connection. What had no answer may come too.
	came := make(chan tipt.MessageID, len(accepted)+refused+senders*tipt.MaxInFlight)
	signIn(t, d, p.Addr, "bob", func(r *link.Request) {
		var delivered tipt.DeliverRequest
		if err := delivered.Parse(r.Body, r.Newer); err != nil {
			t.Error(err)
		}
		r.Reply(nil)
		came <- delivered.ID
	})
	for len(accepted) > 0 {
		select {
		case id := <-came:
			delete(accepted, id)
			for _, s := range all {
				if s.refused[id] {
					t.Errorf("%s was answered BUSY and is delivered", id)
				}
			}
		case <-ctx.Done():
			t.Fatalf("%d messages that were answered are lost", len(accepted))
		}
	}
}

// note takes the answer to a FORWARD.
func (s *stoppingSender) note(id tipt.MessageID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.accepted[id] = true
	case errors.Is(err, tipt.ErrBusy):
		s.refused[id] = true
	case !errors.Is(err, link.ErrClosed):
		s.wrong = append(s.wrong, err)
	}
}

// What a node has read before SIGTERM is answered, not cut off.
func TestStopFinishes(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	register(t, d, p.Addr, "ada", "bob")
	ada := signIn(t, d, p.Addr, "ada", nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const requests = 200
	answers := make(chan error, requests)
	for i := range requests {
		wait := i%2 == 0
		body, err := message(ada.key, d.Name, "bob", tipt.NewMessageID(), make([]byte, 20_000), wait)
		if err != nil {
			t.Fatal(err)
		}
		err = ada.Go(ctx, uint8(tipt.RequestForward), body, func(answer tipt.Packet, err error) {
			answers <- accepted(answer, err, wait)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ada.wantRead(ctx, t)
	p.Terminate()
	for range requests {
		select {
		case err := <-answers:
			if err != nil {
				t.Fatalf("a request was cut off: %v", err)
			}
		case <-ctx.Done():
			t.Fatal("requests are not answered")
		}
	}
	ada.wantGoingAway(t, tipt.CloseGoingAway)
	if status := p.Wait(); status != 0 {
		t.Errorf("exit status %d after SIGTERM:\n%s", status, p.Log())
	}
}
