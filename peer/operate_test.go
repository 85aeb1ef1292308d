package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

func TestNothingWaits(t *testing.T) {
	testOutbox(t, func(t *office) {
		nothing := func() {
			t.Helper()
			if err := t.Retry(t.Context(), other); !errors.Is(err, ErrNothingWaits) {
				t.Errorf("retry: %v", err)
			}
			if err := t.Hold(t.Context(), other); !errors.Is(err, ErrNothingWaits) {
				t.Errorf("hold: %v", err)
			}
			if n, err := t.Drop(t.Context(), other); n != 0 || !errors.Is(err, ErrNothingWaits) {
				t.Errorf("drop: %d, %v", n, err)
			}
			if list := t.List(); len(list) != 0 {
				t.Errorf("listed %+v", list)
			}
		}
		nothing()
		t.add("alice", other, "x")
		time.Sleep(time.Second)
		nothing()
		// A pause is forgotten when the last message has come back.
		t.fails(down())
		t.add("alice", other, "x")
		time.Sleep(time.Hour)
		if n, err := t.Drop(t.Context(), other); n != 1 || err != nil {
			t.Errorf("drop: %d, %v", n, err)
		}
		nothing()
		time.Sleep(lookPause)
		t.wantEmpty("dropped")
	})
}

// TestListWhileTried has a node whose pause is over, and the message that finds out whether it
// is back is on its way.
func TestListWhileTried(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		t.add("alice", other, "x")
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, 10*time.Second)
			return Answer{}, down()
		})
		for t.took(); len(t.took()) == 0; {
			time.Sleep(100 * time.Millisecond)
		}
		want := []Waiting{{Node: other, Users: 1, Entries: 1, Bytes: 1, Reason: "no route"}}
		if d := cmp.Diff(want, t.List()); d != "" {
			t.Errorf("list (-want +got):\n%s", d)
		}
	})
}

// TestListAfterRetryAfter has a node ask for time, and fail a message by itself when that is over.
func TestListAfterRetryAfter(t *testing.T) {
	testOutbox(t, func(t *office) {
		want := func(what, reason string, paused bool) {
			t.Helper()
			if list := t.List(); len(list) != 1 || list[0].Reason != reason || list[0].Next.IsZero() == paused {
				t.Errorf("%s: listed %+v, want the reason %q", what, list, reason)
			}
		}
		t.fails(status(503, time.Minute))
		t.add("alice", other, "x")
		t.took()
		want("within the time", "answered 503", true)
		t.Heard(other)
		want("heard within the time", "answered 503", true)
		t.fails(status(500, time.Hour))
		time.Sleep(30 * time.Minute)
		want("after the time", "answered 500", true)
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, time.Hour)
			return Answer{Delivered: true}, nil
		})
		time.Sleep(time.Hour)
		want("on its way again", "answered 500", false)
		t.add("bob", third, "x")
		if list := t.List(); len(list) != 2 || list[1].Reason != "" {
			t.Errorf("another one: listed %+v", list)
		}
	})
}

func TestRetry(t *testing.T) {
	for name, f := range map[string]*Failure{"node": down(), "queue": status(500), "later": status(503, 10*time.Hour)} {
		t.Run(name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.fails(f)
				t.add("alice", other, "x")
				t.add("alice", third, "y")
				time.Sleep(2 * time.Hour)
				t.took()
				if err := t.Retry(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				t.wantTexts("retry", "x")
				t.answers(nil)
				if err := t.Retry(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				t.wantTexts("retry again", "x")
				time.Sleep(time.Second)
				if list := t.List(); len(list) != 1 || list[0].Node != third {
					t.Errorf("listed %+v", list)
				}
			})
		})
	}
}

func TestHold(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, time.Second)
			return Answer{Delivered: true}, nil
		})
		t.add("alice", other, "1", "2")
		t.took()
		if err := t.Hold(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		t.add("alice", other, "3")
		t.add("bob", other, "bob's")
		t.add("bob", third, "elsewhere")
		time.Sleep(24 * time.Hour)
		t.Heard(other)
		t.wantTexts("held", "elsewhere") // the first was on its way
		want := []Waiting{{Node: other, Users: 2, Entries: 3, Bytes: 7, Held: true, Reason: "held by the operator"}}
		if d := cmp.Diff(want, t.List()); d != "" {
			t.Errorf("list (-want +got):\n%s", d)
		}
		t.restart()
		time.Sleep(24 * time.Hour)
		t.wantTexts("held after a restart")
		if d := cmp.Diff(want, t.List()); d != "" {
			t.Errorf("list after a restart (-want +got):\n%s", d)
		}
		if err := t.Retry(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		if n := len(t.took()); n != 2 {
			t.Errorf("%d are sent", n)
		}
		time.Sleep(10 * time.Second)
		t.wantTexts("after it", "3")
		t.wantEmpty("not held any more")
	})
}

// TestHoldSurvivesFailures holds a node while messages are on their way that fail, or do not.
func TestHoldSurvivesFailures(t *testing.T) {
	for name, end := range map[string]error{"down": down(), "error": status(500), "delivered": nil} {
		t.Run(name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.fails(down())
				t.add("alice", other, "1", "2")
				t.answers(func(ctx context.Context, _ call) (Answer, error) {
					_ = sleep(ctx, 10*time.Second)
					return Answer{Delivered: true}, end
				})
				t.took()
				for len(t.took()) == 0 {
					time.Sleep(time.Second)
				}
				if err := t.Hold(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				t.wantTexts("held")
				t.restart()
				time.Sleep(time.Hour)
				t.wantTexts("held after a restart")
				if list := t.List(); len(list) != 1 || !list[0].Held {
					t.Errorf("listed %+v", list)
				}
			})
		})
	}
}

// TestDrop drops what waits while a message is on its way: what becomes of that is known
// first.
func TestDrop(t *testing.T) {
	for name, test := range map[string]struct {
		end     error
		dropped int
		codes   []tipt.ErrorCode
	}{
		"delivered": {nil, 3, []tipt.ErrorCode{tipt.ErrNodeRefused, tipt.ErrNodeRefused}},
		"no answer": {noAnswer(), 4, []tipt.ErrorCode{tipt.ErrNodeTimeout, tipt.ErrNodeRefused, tipt.ErrNodeRefused}},
		"down":      {down(), 4, []tipt.ErrorCode{tipt.ErrNodeRefused, tipt.ErrNodeRefused, tipt.ErrNodeRefused}},
	} {
		t.Run(name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.answers(func(ctx context.Context, c call) (Answer, error) {
					if c.from == "bob" {
						return Answer{}, status(500)
					}
					_ = sleep(ctx, 10*time.Second)
					return Answer{Delivered: true}, test.end
				})
				t.add("bob", other, "bob's")
				t.add("alice", other, "1", "2", "3")
				t.add("alice", third, "elsewhere")
				t.took()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if n, err := t.Drop(ctx, other); n != 1 || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("one who does not wait: %d, %v", n, err)
				}
				n, err := t.Drop(t.Context(), other)
				if n != test.dropped-1 || err != nil {
					t.Errorf("dropped %d, %v", n, err)
				}
				t.wantTexts("dropped")
				t.wantReturns("dropped", "alice", test.codes...)
				t.wantReturns("dropped", "bob", tipt.ErrNodeTimeout)
				for _, w := range t.List() {
					if w.Node == other {
						t.Errorf("listed %+v", w)
					}
				}
				t.answers(nil)
				time.Sleep(2 * lookPause)
				t.add("alice", other, "later")
				time.Sleep(time.Second)
				t.wantEmpty("all is done")
			})
		})
	}
}

// TestDropOfTheLast waits for the only message, which is on its way and arrives.
func TestDropOfTheLast(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, 10*time.Second)
			return Answer{Delivered: true}, nil
		})
		t.add("alice", other, "x")
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if n, err := t.Drop(ctx, other); n != 0 || err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("dropped %d after %v, %v", n, time.Since(began), err)
		}
		t.wantEmpty("it arrived")
	})
}

// TestDropGivesUp has the operator lose patience at the moment when the message on its way is done:
// the next one goes.
func TestDropGivesUp(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, 10*time.Second)
			return Answer{Delivered: true}, nil
		})
		for i := range 50 {
			node := tipt.NodeName(fmt.Sprintf("n%d.example", i))
			t.add("alice", node, "1", "2")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			n, err := t.Drop(ctx, node)
			cancel()
			if n > 1 || err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("dropped %d, %v", n, err)
			}
		}
		time.Sleep(time.Minute)
		t.wantEmpty("all is done")
	})
}

// TestDropTakesNoMore adds messages while others are dropped.
func TestDropTakesNoMore(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		t.add("alice", other, "1", "2")
		ref := byte(0)
		t.store.set(func(s *testStore) {
			s.commit = func(op store.Op) error {
				if _, ok := op.(*store.RemoveOutbox); ok && ref < 20 {
					ref++
					e := t.entry("alice", other, "more")
					e.Ref = &tipt.MessageID{ref}
					// From another goroutine, since this is the committer's.
					go func() {
						if err := t.addEntry(e); err != nil {
							t.Error(err)
						}
					}()
				}
				return nil
			}
		})
		if n, err := t.Drop(t.Context(), other); n != 2 || err != nil {
			t.Errorf("dropped %d, %v", n, err)
		}
		synctest.Wait()
		if list := t.List(); len(list) != 1 || list[0].Entries != 2 {
			t.Errorf("listed %+v", list)
		}
	})
}

// TestAnything does all at random to an outbox: nothing is lost, delivered out of order, or
// delivered and returned without saying that it may have been.
func TestAnything(t *testing.T) {
	for _, seed := range []uint64{1, rand.Uint64()} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			testOutbox(t, func(t *office) { anything(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func anything(t *office, r *rand.Rand) {
	users, nodes := []tipt.UserName{"alice", "bob", "carol"}, []tipt.NodeName{other, third, "fourth.example"}
	received := make(map[string][]string) // what arrived, by node and user, in order, each once
	known := make(map[string]bool)
	arrive := func(c call) {
		if key := string(c.node) + " " + c.text; !known[key] {
			known[key] = true
			queue := fmt.Sprint(c.node, " ", c.from)
			received[queue] = append(received[queue], c.text)
		}
	}
	bad := true
	nodesRand := rand.New(rand.NewPCG(r.Uint64(), 1)) // with mu held
	t.answers(func(ctx context.Context, c call) (Answer, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		what := nodesRand.IntN(8)
		if !bad {
			what = 0
		}
		took := time.Duration(nodesRand.IntN(2000)) * time.Millisecond
		t.mu.Unlock()
		err := sleep(ctx, took)
		t.mu.Lock()
		switch {
		case what == 1:
			return Answer{}, down()
		case what == 2:
			return Answer{}, status(503, time.Duration(nodesRand.IntN(100))*time.Second)
		case what == 3:
			return Answer{}, status(500)
		case what == 4:
			return Answer{}, status(403)
		case what == 5: // it arrives, and nobody is told
			arrive(c)
			return Answer{}, noAnswer()
		case err != nil:
			return Answer{}, &Failure{Unknown: true, Err: err}
		}
		arrive(c)
		return Answer{Delivered: true}, nil
	})

	accepted := make(map[tipt.MessageID]string)
	queues := make(map[string][]string)
	for step := range 600 {
		switch what := r.IntN(20); {
		case what < 14:
			user, node := users[r.IntN(len(users))], nodes[r.IntN(len(nodes))]
			text := fmt.Sprint(step)
			e := t.entry(user, node, text)
			e.Ref = &tipt.MessageID{byte(step >> 8), byte(step)}
			if err := t.addEntry(e); err != nil {
				t.Fatal(err)
			}
			accepted[*e.Ref] = string(node) + " " + text
			queue := fmt.Sprint(node, " ", user)
			queues[queue] = append(queues[queue], text)
		case what < 15:
			t.Heard(nodes[r.IntN(len(nodes))])
		case what < 16:
			_ = t.Hold(t.Context(), nodes[r.IntN(len(nodes))]) // where nothing waits, nothing is held
		case what < 17:
			_ = t.Retry(t.Context(), nodes[r.IntN(len(nodes))])
		case what < 18 && step%3 == 0:
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _ = t.Drop(ctx, nodes[r.IntN(len(nodes))]) // may not wait long enough
			cancel()
		case what < 19:
			if r.IntN(2) == 0 { // or it is killed: nothing more reaches the disk
				t.store.set(func(s *testStore) { s.commit = func(store.Op) error { return store.ErrDiskFull } })
			}
			t.stop()
			t.store.set(func(s *testStore) { s.commit = nil })
			t.start()
		default:
			time.Sleep(time.Duration(r.IntN(int(10 * time.Minute))))
		}
		t.check()
	}
	t.mu.Lock()
	bad = false
	t.mu.Unlock()
	for _, node := range nodes {
		if err := t.Retry(t.Context(), node); err != nil && !errors.Is(err, ErrNothingWaits) {
			t.Fatal(err)
		}
	}
	time.Sleep(24 * time.Hour)
	t.wantEmpty("at the end")

	timeouts, returned := 0, make(map[string]bool)
	for _, user := range users {
		for _, back := range t.returns(user, 0) {
			text := accepted[*back.Ref]
			if text == "" || returned[text] {
				t.Errorf("%s: RETURN of what was not accepted, or once more: %+v", text, back)
			}
			returned[text] = true
			if back.Code == tipt.ErrNodeTimeout {
				timeouts++
			} else if known[text] {
				t.Errorf("%s arrived and came back with %s", text, back.Code)
			}
		}
	}
	for _, text := range accepted {
		if !known[text] && !returned[text] {
			t.Errorf("%s is lost", text)
		}
	}
	for queue, texts := range received {
		i := 0
		for _, text := range queues[queue] {
			if i < len(texts) && texts[i] == text {
				i++
			}
		}
		if i != len(texts) {
			t.Errorf("%s: out of order:\n%v", queue, texts)
		}
	}
	for queue, most := range t.most {
		for _, user := range users {
			for _, node := range nodes {
				if queue == fmt.Sprint(node, " ", user) && most > 1 {
					t.Errorf("%s: %d at once", queue, most)
				}
			}
		}
	}
	if len(known) < 50 || len(returned) < 50 || timeouts < 10 {
		t.Errorf("%d arrived, %d came back, %d of them with NODE_TIMEOUT: not much was tested", len(known), len(returned), timeouts)
	}
}
