package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// growing checks the pauses between attempts: each is at least half and at most all of its
// nominal length, which doubles from 5 s to an hour.
func growing(t *office, what string, calls []call, first int) {
	t.Helper()
	for i := 1; i < len(calls); i++ {
		nominal := min(minPause<<min(first+i-2, 20), maxPause)
		if pause := calls[i].after - calls[i-1].after; pause < nominal/2 || pause > nominal {
			t.Errorf("%s: pause %d was %v, want %v to %v", what, first+i-1, pause, nominal/2, nominal)
		}
	}
}

// TestNodePause has a node that cannot be reached: one message finds out whether it is back.
func TestNodePause(t *testing.T) {
	for name, f := range map[string]*Failure{"no route": down(), "503": status(503), "429": status(429)} {
		t.Run(name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.fails(f)
				for i := range 10 {
					t.add(tipt.UserName(fmt.Sprint("u", i)), other, "x", "y")
				}
				time.Sleep(4 * time.Hour)
				calls := t.took()
				growing(t, "node", calls, 1)
				if n := len(calls); n < 12 || n > 24 {
					t.Errorf("tried %d times in four hours", n)
				}
				who := make(map[tipt.UserName]bool)
				for _, c := range calls {
					who[c.from] = true
				}
				if len(who) < 5 {
					t.Errorf("the same users' messages were tried: %v", who)
				}
				list := t.List()
				if len(list) != 1 || list[0].Reason != f.Error() || list[0].Entries != 20 || list[0].Users != 10 || list[0].Held ||
					time.Until(list[0].Next) <= 0 || time.Until(list[0].Next) > maxPause {
					t.Errorf("listed %+v", list)
				}
				// It is back: all go at once.
				t.answers(nil)
				time.Sleep(maxPause)
				if n := len(t.took()); n != 20 {
					t.Errorf("%d were sent", n)
				}
				t.wantEmpty("it is back")
				t.wantReturns("it is back", "u1")
			})
		})
	}
}

// TestManyFailAtOnce has a node fail while many messages are on their way: that is one failure.
func TestManyFailAtOnce(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			// They fail one after the other, within the first pause and after it.
			n := time.Duration(len(c.from)) * time.Second
			_ = sleep(ctx, n)
			return Answer{}, down()
		})
		for i := range 9 {
			t.add(tipt.UserName(strings.Repeat("u", i+1)), other, "x")
		}
		time.Sleep(11 * time.Second)
		pauses, err := t.store.NodePauses(t.Context())
		if err != nil || len(pauses) != 1 || pauses[0].Attempts > 3 {
			t.Errorf("pauses %+v, %v", pauses, err)
		}
		t.answers(nil)
		time.Sleep(time.Minute)
		t.wantEmpty("it is back")
	})
}

// TestQueuePause has messages that fail by themselves: they pause their user's queue to that
// node alone.
func TestQueuePause(t *testing.T) {
	for name, f := range map[string]*Failure{
		"500": status(500), "502": status(502), "302": status(302), "no answer": noAnswer(), "unusable": {Status: 200, Unknown: true, Err: errors.New("html")},
	} {
		t.Run(name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.answers(func(ctx context.Context, c call) (Answer, error) {
					if c.text == "bad" {
						return Answer{}, f
					}
					return stored(ctx)
				})
				t.add("alice", other, "bad", "behind")
				t.add("bob", other, "bob's")
				t.add("alice", third, "elsewhere")
				time.Sleep(4 * time.Hour)
				var calls []call
				good := 0
				for _, c := range t.took() {
					switch c.text {
					case "bad":
						calls = append(calls, c)
					case "behind":
						t.Error("order is lost")
					default:
						if good++; c.after > time.Second {
							t.Errorf("%s was sent after %v", c.text, c.after)
						}
					}
				}
				growing(t, "queue", calls, 1)
				if n := len(calls); n < 12 || n > 24 || good != 2 {
					t.Errorf("tried %d times in four hours, %d good ones", n, good)
				}
				list := t.List()
				if len(list) != 1 || list[0].Reason != f.Error() || list[0].Entries != 2 || time.Until(list[0].Next) <= 0 {
					t.Errorf("listed %+v", list)
				}
				t.answers(nil)
				time.Sleep(maxPause)
				t.wantTexts("it is back", "bad", "behind")
				t.wantEmpty("it is back")
			})
		})
	}
}

// TestRetryAfterIsObeyed has a node that says when to come back, whatever else happens.
func TestRetryAfterIsObeyed(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			switch c.text {
			case "later":
				return Answer{}, status(429, 10*time.Minute)
			case "slow":
				_ = sleep(ctx, 3*time.Second)
				return Answer{Delivered: true}, nil
			case "straggler":
				_ = sleep(ctx, 4*time.Second)
				return Answer{}, status(503, 20*time.Minute)
			case "late straggler":
				_ = sleep(ctx, 5*time.Second)
				return Answer{}, status(503, time.Second)
			}
			return stored(ctx)
		})
		t.add("carol", other, "slow")     // succeeds when the node has said so
		t.add("dave", other, "straggler") // says so again
		t.add("erin", other, "late straggler")
		t.add("alice", other, "later", "behind")
		t.took()
		t.answers(nil)
		t.add("bob", other, "bob's")
		for range 19 {
			time.Sleep(time.Minute)
			t.Heard(other) // no reason to come earlier
		}
		t.wantTexts("within the time")
		if pauses, err := t.store.NodePauses(t.Context()); err != nil || len(pauses) != 1 || pauses[0].Next.Sub(t.began) < 20*time.Minute {
			t.Errorf("pauses %+v, %v", pauses, err)
		}
		time.Sleep(63 * time.Second)
		t.wantTexts("just before")
		time.Sleep(2 * time.Second)
		if n := len(t.took()); n != 5 {
			t.Errorf("%d were sent after the time", n)
		}
		t.wantEmpty("it took them")
	})
	// One of a message alone, and one that is shorter than the pause would be.
	testOutbox(t, func(t *office) {
		t.fails(status(500, 10*time.Minute))
		t.add("alice", other, "x")
		t.took()
		time.Sleep(10*time.Minute - time.Second)
		t.wantTexts("within the time")
		time.Sleep(2 * time.Second)
		t.wantTexts("after the time", "x")
		t.fails(status(503, time.Second))
		time.Sleep(time.Hour)
		growing(t, "a shorter time", t.took(), 1)
	})
}

// TestRetryAfterDuringAProbe has a node ask for time by an answer to an old message, while it takes a new
// one.
func TestRetryAfterDuringAProbe(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			switch c.text {
			case "old":
				_ = sleep(ctx, 20*time.Second)
				return Answer{}, status(503, 10*time.Minute)
			case "down":
				return Answer{}, down()
			}
			_ = sleep(ctx, 30*time.Second)
			return Answer{Delivered: true}, nil
		})
		t.add("alice", other, "old")
		t.add("bob", other, "down")
		t.took()
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, 30*time.Second)
			return Answer{Delivered: true}, nil
		})
		// That one is tried first when the pause is over: the other waits for its answer.
		time.Sleep(10 * time.Minute)
		if n := len(t.took()); n > 1 {
			t.Errorf("%d were tried", n)
		}
		time.Sleep(2 * time.Minute)
		t.wantEmpty("after the time")
	})
}

// TestProbeFailsByItself has a node that is back and refuses the message that finds that out:
// the others go.
func TestProbeFailsByItself(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		for i := range 10 {
			t.add(tipt.UserName(fmt.Sprint("u", i)), other, "x")
		}
		time.Sleep(time.Hour)
		t.took()
		t.answers(func(ctx context.Context, _ call) (Answer, error) {
			_ = sleep(ctx, 10*time.Second)
			return Answer{}, status(500)
		})
		if err := t.Retry(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		if n := len(t.took()); n != 1 {
			t.Errorf("%d were tried at first", n)
		}
		time.Sleep(2 * time.Second)
		if n := len(t.took()); n != 9 {
			t.Errorf("%d were tried then", n)
		}
	})
}

// TestLateSuccess has a message arrive that was on its way before its node failed.
func TestLateSuccess(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			if c.text == "late" {
				_ = sleep(ctx, time.Second)
				return Answer{Delivered: true}, nil
			}
			return Answer{}, down()
		})
		t.add("alice", other, "late")
		time.Sleep(time.Millisecond)
		t.add("bob", other, "x")
		t.add("carol", other, "y")
		t.took()
		time.Sleep(2 * time.Second)
		t.wantTexts("in the pause")
		if pauses, err := t.store.NodePauses(t.Context()); err != nil || len(pauses) != 1 {
			t.Errorf("pauses %+v, %v", pauses, err)
		}
	})
}

// TestHeardAfterRestart has a process that does not know yet how often a message failed.
func TestHeardAfterRestart(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(status(500))
		t.add("alice", other, "x", "y")
		time.Sleep(3 * time.Hour)
		t.restart()
		t.took()
		t.Heard(other)
		time.Sleep(30 * time.Second)
		calls := t.took()
		growing(t, "heard", calls, 1)
		if len(calls) < 3 {
			t.Errorf("tried %d times", len(calls))
		}
		// The next message begins anew as well.
		t.answers(func(_ context.Context, c call) (Answer, error) {
			if c.text == "x" {
				return Answer{}, status(403)
			}
			return Answer{}, status(500)
		})
		time.Sleep(time.Hour)
		calls = t.took()
		if len(calls) < 5 || calls[1].text != "y" {
			t.Fatalf("tried %+v", calls)
		}
		growing(t, "the next one", calls[1:], 1)
	})
}

// TestPausesSurvive restarts the process while a node is paused, and a queue.
func TestPausesSurvive(t *testing.T) {
	for name, f := range map[string]*Failure{"node": down(), "queue": status(500)} {
		t.Run(name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.fails(f)
				t.add("alice", other, "x")
				time.Sleep(2 * time.Hour)
				before := t.took()
				list := t.List()
				t.restart()
				if d := cmp.Diff(list, t.List(), cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() <= time.Millisecond })); d != "" {
					t.Errorf("the list (-before +after):\n%s", d)
				}
				time.Sleep(time.Until(list[0].Next) - time.Second)
				t.wantTexts("before the pause's end")
				time.Sleep(4 * time.Hour)
				after := t.took()
				growing(t, "after the restart", append(before[len(before)-1:], after...), len(before))
				t.answers(nil)
				time.Sleep(maxPause)
				t.wantEmpty("it is back")
			})
		})
	}
}

// TestWrongClock has pauses that were stored while the clock was wrong by years.
func TestWrongClock(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		t.add("alice", other, "x")
		t.add("alice", third, "y")
		t.stop()
		far := time.Now().Add(10 * 365 * 24 * time.Hour)
		if err := t.committer.Do(t.Context(),
			&store.PauseNode{Pause: store.NodePause{Node: other, Attempts: 5, Next: far}},
			&store.PauseNode{Pause: store.NodePause{Node: third}},
			&store.RetryOutbox{ID: 2, Next: far, Reason: "x", Code: tipt.ErrNodeTimeout},
		); err != nil {
			t.Fatal(err)
		}
		t.answers(nil)
		t.took()
		t.start()
		time.Sleep(maxLoadedPause)
		if n := len(t.took()); n != 2 {
			t.Errorf("%d were sent", n)
		}
	})
}

// TestHeard has a node call us: it is tried at once, and its pauses begin anew.
func TestHeard(t *testing.T) {
	for name, f := range map[string]*Failure{"node": down(), "queue": status(500)} {
		t.Run(name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.Heard(other) // nobody waits
				t.fails(f)
				t.add("alice", other, "x")
				t.add("bob", third, "y")
				time.Sleep(3 * time.Hour)
				t.took()
				t.Heard(other)
				calls := t.wantTexts("heard", "x")
				time.Sleep(30 * time.Second)
				for _, c := range t.took() {
					if c.node == other { // the other one's pause may have ended
						calls = append(calls, c)
					}
				}
				growing(t, "heard", calls, 1)
				if len(calls) < 3 {
					t.Errorf("tried %d times, so its pauses did not begin anew", len(calls))
				}
				// Not more than once a minute.
				for range 20 {
					t.Heard(other)
				}
				t.wantTexts("heard again")
				time.Sleep(3 * time.Hour)
				t.took()
				for range 20 {
					t.Heard(other)
				}
				t.wantTexts("heard hours later", "x")
				t.answers(nil)
				t.Heard(third)
				t.wantTexts("the other one is heard", "y")
				time.Sleep(maxPause)
				t.wantEmpty("both are back")
			})
		})
	}
}

// TestProbeAfterHeard has a node that calls us and cannot be called: not all is tried each time.
func TestProbeAfterHeard(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		for i := range 20 {
			t.add(tipt.UserName(fmt.Sprint("u", i)), other, "x")
		}
		time.Sleep(time.Hour)
		t.took()
		t.Heard(other)
		if n := len(t.took()); n != 1 {
			t.Errorf("%d were tried at once", n)
		}
	})
}
