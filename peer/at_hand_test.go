package peer

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAtHand has messages read from the store only where they are not at hand.
func TestAtHand(t *testing.T) {
	testOutbox(t, func(t *office) {
		reads := func(what string, want int) {
			t.Helper()
			t.store.set(func(s *testStore) {
				if s.heads != want {
					t.Errorf("%s: %d reads, want %d", what, s.heads, want)
				}
				s.heads = 0
			})
			if t.Outbox.mu.Lock(); t.atHand != 0 {
				t.Errorf("%s: %d bytes at hand", what, t.atHand)
			}
			t.Outbox.mu.Unlock()
		}
		slow := func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, time.Second)
			return Answer{Delivered: true}, nil
		}
		t.answers(slow)
		t.add("alice", other, "1", "2", "3")
		time.Sleep(1500 * time.Millisecond)
		t.add("alice", other, "4")
		time.Sleep(time.Minute)
		t.wantTexts("soon", "1", "2", "3", "4")
		reads("soon", 0)

		t.fails(status(500))
		t.add("alice", other, "5", "6")
		time.Sleep(time.Second)
		t.add("alice", other, "7")
		t.answers(slow)
		time.Sleep(time.Minute)
		t.wantTexts("after a failure", "5", "5", "6", "7")
		reads("after a failure", 3)

		// Of what is too much to keep at hand, the last ones are.
		large := strings.Repeat("x", 2_000_000)
		var texts []string
		for i := range 10 {
			texts = append(texts, fmt.Sprint(i, large))
		}
		t.add("alice", other, texts...)
		time.Sleep(time.Minute)
		t.wantTexts("large ones", texts...)
		reads("large ones", 7)
	})
}
