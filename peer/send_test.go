package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// TestOutcomes has answers that end a message's way.
func TestOutcomes(t *testing.T) {
	refusal := tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrNoSuchUser, Message: "no bob"}}.Append(nil)
	long := make([]byte, tipt.MaxReturnRespSize+1)
	longest := long[:tipt.MaxReturnRespSize]
	for _, test := range []struct {
		name   string
		answer Answer
		err    error
		// What comes back: nothing, a response or a code; and which code when an earlier
		// attempt's outcome is unknown.
		response []byte
		code     tipt.ErrorCode
	}{
		{name: "delivered", answer: Answer{Delivered: true, Bytes: delivered}},
		{name: "sealed", answer: Answer{Sealed: true, Bytes: make([]byte, 8300)}},
		{name: "refused", answer: Answer{Bytes: refusal}, response: refusal},
		{name: "no answer to read", answer: Answer{Bytes: []byte{}}, response: []byte{}},
		{name: "the longest", answer: Answer{Bytes: longest}, response: longest},
		{name: "too long", answer: Answer{Bytes: long}, code: tipt.ErrNodeRefused},
		{name: "400", err: status(400), code: tipt.ErrNodeRefused},
		{name: "401", err: status(401), code: tipt.ErrNodeRefused},
		{name: "403", err: status(403), code: tipt.ErrNodeRefused},
		{name: "404", err: status(404), code: tipt.ErrNodeRefused},
		{name: "413", err: status(413), code: tipt.ErrNodeRefused},
		{name: "204", err: status(204), code: tipt.ErrNodeRefused},
	} {
		for _, unknown := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, " ", unknown), func(t *testing.T) {
				testOutbox(t, func(t *office) {
					began := time.Now()
					e := t.entry("alice", other, "x")
					e.Ref = &tipt.MessageID{7}
					if unknown {
						t.fails(noAnswer())
					} else {
						t.fails(down())
					}
					if err := t.addEntry(e); err != nil {
						t.Fatal(err)
					}
					t.add("alice", other, "behind")
					t.took()
					t.answers(func(ctx context.Context, c call) (Answer, error) {
						if c.text == "x" {
							return test.answer, test.err
						}
						return stored(ctx)
					})
					time.Sleep(minPause + time.Second)
					t.wantTexts("its end", "x", "behind")
					t.wantEmpty("its end")
					returns := t.returns("alice", 0)
					if test.response == nil && test.code == 0 {
						if len(returns) != 0 {
							t.Errorf("RETURN %+v", returns)
						}
						return
					}
					if len(returns) != 1 {
						t.Fatalf("%d RETURNs", len(returns))
					}
					want := tipt.ReturnRequest{Ref: e.Ref, Node: string(other), Response: test.response, Code: test.code, HasCode: test.code != 0}
					if unknown && want.HasCode {
						want.Code = tipt.ErrNodeTimeout
					}
					got := returns[0]
					if got.ID == (tipt.MessageID{}) || got.Time.Before(began.Truncate(time.Millisecond)) || got.Time.After(time.Now()) {
						t.Errorf("RETURN %+v", got)
					}
					want.ID, want.Time = got.ID, got.Time
					if d := cmp.Diff(want, got); d != "" {
						t.Errorf("RETURN (-want +got):\n%s", d)
					}
					if len(t.returned) != 1 {
						t.Errorf("said to have changed: %v", t.returned)
					}
				})
			})
		}
	}
}

// TestFiveDays has messages that are never delivered: after five days they come back, with the
// code of the last attempt, whatever state their node is in.
func TestFiveDays(t *testing.T) {
	script := func(failures ...*Failure) func(n int) error {
		return func(n int) error { return failures[min(n, len(failures)-1)] }
	}
	for _, test := range []struct {
		name   string
		answer func(attempt int) error
		hold   bool
		codes  [2]tipt.ErrorCode // of the first message and of the one behind it
	}{
		{"never reached", script(down()), false, [2]tipt.ErrorCode{tipt.ErrNodeUnreachable, tipt.ErrNodeUnreachable}},
		{"overloaded", script(status(503)), false, [2]tipt.ErrorCode{tipt.ErrNodeUnreachable, tipt.ErrNodeUnreachable}},
		{"overloaded for long", script(status(503, 20*time.Hour)), false, [2]tipt.ErrorCode{tipt.ErrNodeUnreachable, tipt.ErrNodeUnreachable}},
		{"errors", script(status(500)), false, [2]tipt.ErrorCode{tipt.ErrNodeTimeout, tipt.ErrNodeUnreachable}},
		{"no answers", script(noAnswer()), false, [2]tipt.ErrorCode{tipt.ErrNodeTimeout, tipt.ErrNodeUnreachable}},
		{"moved", script(status(302)), false, [2]tipt.ErrorCode{tipt.ErrNodeRefused, tipt.ErrNodeUnreachable}},
		{"moved, then gone", script(status(302), status(302), down()), false, [2]tipt.ErrorCode{tipt.ErrNodeUnreachable, tipt.ErrNodeUnreachable}},
		{"an error, then gone", script(status(500), down()), false, [2]tipt.ErrorCode{tipt.ErrNodeTimeout, tipt.ErrNodeUnreachable}},
		{"an error, then moved", script(status(500), status(302)), false, [2]tipt.ErrorCode{tipt.ErrNodeTimeout, tipt.ErrNodeUnreachable}},
		{"never reached and held", script(down()), true, [2]tipt.ErrorCode{tipt.ErrNodeUnreachable, tipt.ErrNodeUnreachable}},
		{"an error and held", script(status(500)), true, [2]tipt.ErrorCode{tipt.ErrNodeTimeout, tipt.ErrNodeUnreachable}},
		{"moved and held", script(status(302)), true, [2]tipt.ErrorCode{tipt.ErrNodeRefused, tipt.ErrNodeUnreachable}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, " restart ", restart), func(t *testing.T) {
				testOutbox(t, func(t *office) {
					attempts := 0 // one at a time
					t.answers(func(context.Context, call) (Answer, error) {
						attempts++
						return Answer{}, test.answer(attempts - 1)
					})
					// Most of the five days is over, so that fewer looks have to be waited for.
					created := time.Now().Add(6*time.Hour - tipt.OutboxRetention)
					add := func(text string) {
						e := t.entry("alice", other, text)
						e.Created = e.Created.Add(6*time.Hour - tipt.OutboxRetention)
						if err := t.addEntry(e); err != nil {
							t.Fatal(err)
						}
					}
					add("first")
					add("second")
					t.took()
					if test.hold {
						if err := t.Hold(t.Context(), other); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(time.Hour)
					if restart {
						t.restart()
					}
					add("an hour later")
					time.Sleep(5*time.Hour - time.Second)
					t.wantReturns("before the end", "alice")
					time.Sleep(lookPause + time.Second)
					codes := test.codes
					if restart {
						codes[0] = tipt.ErrNodeTimeout // perhaps the earlier process was sending it
					}
					t.wantReturns("after five days", "alice", codes[:]...)
					time.Sleep(time.Hour)
					if n := len(t.returns("alice", 0)); n != 3 {
						t.Errorf("%d RETURNs an hour later", n)
					}
					if test.hold {
						if list := t.List(); len(list) != 1 || !list[0].Held || list[0].Entries != 0 {
							t.Errorf("listed %+v", list)
						}
						if err := t.Retry(t.Context(), other); err != nil {
							t.Error(err)
						}
					}
					time.Sleep(lookPause)
					t.wantEmpty("all came back")
					for i, r := range t.returns("alice", 0) {
						if r.Node != string(other) || r.Ref != nil || r.Time.Sub(created) < tipt.OutboxRetention {
							t.Errorf("RETURN %d: %+v", i, r)
						}
					}
				})
			})
		}
	}
}

// TestOldAtTheStart has messages become too old while no process is there.
func TestOldAtTheStart(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		t.add("alice", other, "1", "2")
		t.add("bob", other, "bob's")
		for i := range 3 * oldAtOnce {
			t.add(tipt.UserName(fmt.Sprint("u", i)), other, "x")
		}
		if err := t.Hold(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		t.stop()
		time.Sleep(tipt.OutboxRetention + time.Second)
		began := time.Now()
		t.start()
		t.wantReturns("at once", "alice", tipt.ErrNodeTimeout, tipt.ErrNodeUnreachable)
		t.wantReturns("at once", "bob", tipt.ErrNodeTimeout)
		t.wantReturns("at once", tipt.UserName(fmt.Sprint("u", 3*oldAtOnce-1)), tipt.ErrNodeTimeout)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// TestBehindAnOldOne has a message behind one that fails and comes back: it does not
// wait for the other one's pause.
func TestBehindAnOldOne(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			if c.text == "old" {
				return Answer{}, status(500, 10*time.Hour)
			}
			_ = sleep(ctx, 10*time.Second)
			return Answer{Delivered: true}, nil
		})
		old := t.entry("alice", other, "old")
		old.Created = old.Created.Add(30*time.Second - tipt.OutboxRetention)
		if err := t.addEntry(old); err != nil {
			t.Fatal(err)
		}
		t.add("alice", other, "good")
		t.wantTexts("at first", "old")
		time.Sleep(lookPause + 2*time.Second)
		t.wantReturns("too old", "alice", tipt.ErrNodeTimeout)
		t.wantTexts("behind it", "good")
		if list := t.List(); len(list) != 1 || list[0].Reason != "" || !list[0].Next.IsZero() {
			t.Errorf("listed %+v", list)
		}
	})
}

// TestOldOnItsWay has a message become too old while it is being sent.
func TestOldOnItsWay(t *testing.T) {
	for _, test := range []struct {
		name string
		end  error
		want []tipt.ErrorCode
	}{
		{"delivered", nil, nil},
		{"down", down(), []tipt.ErrorCode{tipt.ErrNodeUnreachable}},
		{"no answer", noAnswer(), []tipt.ErrorCode{tipt.ErrNodeTimeout}},
		{"moved", status(302), []tipt.ErrorCode{tipt.ErrNodeRefused}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.answers(func(ctx context.Context, _ call) (Answer, error) {
					_ = sleep(ctx, 2*time.Hour)
					return Answer{Delivered: true}, test.end
				})
				e := t.entry("alice", other, "x")
				e.Created = e.Created.Add(time.Hour - tipt.OutboxRetention)
				if err := t.addEntry(e); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2*time.Hour - time.Second)
				t.wantReturns("on its way", "alice")
				time.Sleep(2 * time.Second)
				t.wantTexts("once", "x")
				t.wantReturns("it is answered", "alice", test.want...)
			})
		})
	}
}

// TestBarredLater has the operator bar a node to which messages wait: they come back
// within a minute, whatever state it is in.
func TestBarredLater(t *testing.T) {
	file := t.TempDir() + "/block"
	write(t, file, "")
	policy, err := LoadPolicy(file, "")
	if err != nil {
		t.Fatal(err)
	}
	testOutbox(t, func(t *office) {
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			switch c.node {
			case "errors.example":
				return Answer{}, status(500)
			case "slow.example":
				_ = sleep(ctx, 10*time.Second)
				return Answer{Delivered: true}, nil
			}
			return Answer{}, down()
		})
		nodes := []tipt.NodeName{"down.example", "held.example", "errors.example", "slow.example", "good.org"}
		for _, node := range nodes {
			t.add("alice", node, "1", "2", "3")
		}
		if err := t.Hold(t.Context(), "held.example"); err != nil {
			t.Fatal(err)
		}
		write(t.T, file, "*.example\n")
		if err := policy.Reload(); err != nil {
			t.Fatal(err)
		}
		if err := t.addEntry(t.entry("alice", "down.example", "4")); !errors.Is(err, tipt.ErrNodeRefused) {
			t.Errorf("one more: %v", err)
		}
		time.Sleep(lookPause + 10*time.Second)
		got := make(map[string][]tipt.ErrorCode)
		for _, r := range t.returns("alice", 0) {
			got[r.Node] = append(got[r.Node], r.Code)
		}
		refused := tipt.ErrNodeRefused
		want := map[string][]tipt.ErrorCode{
			"down.example":   {refused, refused, refused},
			"held.example":   {refused, refused, refused},
			"errors.example": {tipt.ErrNodeTimeout, refused, refused},
			"slow.example":   {refused, refused}, // the first was on its way
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("RETURNs (-want +got):\n%s", d)
		}
		if list := t.List(); len(list) != 2 || list[0].Node != "good.org" || list[0].Entries != 3 || list[1].Node != "held.example" || list[1].Entries != 0 {
			t.Errorf("listed %+v", list)
		}
	}, func(o *OutboxOptions) { o.Policy = policy })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// TestStopOnTheWay ends the process while messages are on their way.
func TestStopOnTheWay(t *testing.T) {
	for _, test := range []struct {
		name   string
		during func(ctx context.Context) (Answer, error)
		after  []string
		code   []tipt.ErrorCode
	}{
		{"no answer yet", func(ctx context.Context) (Answer, error) {
			<-ctx.Done()
			return Answer{}, &Failure{Unknown: true, Err: ctx.Err()}
		}, []string{"x", "behind"}, []tipt.ErrorCode{tipt.ErrNodeTimeout}},
		{"not connected yet", func(ctx context.Context) (Answer, error) {
			<-ctx.Done()
			return Answer{}, &Failure{Destination: true, Err: ctx.Err()}
		}, []string{"x", "behind"}, []tipt.ErrorCode{tipt.ErrNodeTimeout}},
		{"the answer just came", func(ctx context.Context) (Answer, error) {
			<-ctx.Done()
			return Answer{Delivered: true}, nil
		}, []string{"behind"}, nil},
		{"the refusal just came", func(ctx context.Context) (Answer, error) {
			<-ctx.Done()
			return Answer{}, status(400)
		}, []string{"behind"}, []tipt.ErrorCode{tipt.ErrNodeRefused}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testOutbox(t, func(t *office) {
				t.answers(func(ctx context.Context, _ call) (Answer, error) { return test.during(ctx) })
				t.add("alice", other, "x", "behind")
				t.took()
				t.stop()
				if pauses, err := t.store.NodePauses(t.Context()); err != nil || len(pauses) > 0 {
					t.Errorf("pauses %+v, %v", pauses, err)
				}
				if queues, err := t.store.OutboxQueues(t.Context()); err != nil || len(queues) != 1 || !queues[0].Next.IsZero() {
					t.Errorf("queues %+v, %v", queues, err)
				}
				t.answers(func(ctx context.Context, c call) (Answer, error) {
					if c.text == "x" {
						return Answer{}, status(400)
					}
					return stored(ctx)
				})
				t.start()
				time.Sleep(time.Minute)
				t.wantTexts("after the restart", test.after...)
				t.wantReturns("after the restart", "alice", test.code...)
				t.wantEmpty("after the restart")
			})
		})
	}
}

// TestPerhapsSentBefore kills the process, which leaves no note: what it may have sent
// counts as sent, also when the next process fails to reach the node at first.
func TestPerhapsSentBefore(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		t.add("alice", other, "first", "second")
		t.restart()
		time.Sleep(time.Hour)
		t.fails(status(403))
		time.Sleep(maxPause)
		t.wantReturns("both refused", "alice", tipt.ErrNodeTimeout, tipt.ErrNodeRefused)
	})
}

// TestStoreFails has a store that fails at each step.
func TestStoreFails(t *testing.T) {
	broken := errors.New("broken")
	testOutbox(t, func(t *office) {
		t.store.set(func(s *testStore) { s.head = broken })
		t.fails(status(500))
		t.add("alice", other, "to be read again")
		time.Sleep(10 * time.Minute)
		t.wantTexts("cannot be read", "to be read again")
		if list := t.List(); len(list) != 1 || list[0].Reason != "this node's store failed" {
			t.Errorf("listed %+v", list)
		}
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			if c.text == "bad" {
				return Answer{}, status(403)
			}
			return stored(ctx)
		})
		t.store.set(func(s *testStore) { s.head = nil })
		time.Sleep(storePause)
		t.wantTexts("can be read", "to be read again")
		t.wantEmpty("it is delivered")

		// What was sent and could not be noted is sent again.
		noRemove := func(op store.Op) error {
			if _, ok := op.(*store.RemoveOutbox); ok {
				return store.ErrDiskFull
			}
			return nil
		}
		t.store.set(func(s *testStore) { s.commit = noRemove })
		t.add("alice", other, "bad")
		time.Sleep(storePause + time.Second)
		t.wantTexts("cannot be noted", "bad", "bad")
		t.wantReturns("cannot be noted", "alice")
		t.store.set(func(s *testStore) { s.commit = nil })
		time.Sleep(storePause)
		t.wantTexts("can be noted", "bad")
		t.wantReturns("it may have arrived", "alice", tipt.ErrNodeTimeout)
		t.wantEmpty("it came back")

		t.store.set(func(s *testStore) {
			s.commit = func(op store.Op) error {
				if _, ok := op.(*store.RetryOutbox); ok {
					return store.ErrDiskFull
				}
				return nil
			}
		})
		t.fails(status(500))
		t.add("alice", other, "x")
		time.Sleep(storePause + time.Second)
		t.wantTexts("a failure cannot be noted", "x", "x")
		t.fails(status(403))
		time.Sleep(storePause)
		t.wantReturns("it may have arrived", "alice", tipt.ErrNodeTimeout, tipt.ErrNodeTimeout)
	})
}

// TestDeletedUser has a user go whose messages wait: they are still sent, and what comes
// back is dropped.
func TestDeletedUser(t *testing.T) {
	testOutbox(t, func(t *office) {
		t.fails(down())
		t.add("alice", other, "good", "bad")
		if err := t.committer.Do(t.Context(), &store.DeleteUser{User: t.user("alice")}); err != nil {
			t.Fatal(err)
		}
		t.took()
		t.answers(func(ctx context.Context, c call) (Answer, error) {
			if c.text == "bad" {
				return Answer{}, status(403)
			}
			return stored(ctx)
		})
		time.Sleep(time.Minute)
		calls := t.wantTexts("still sent", "good", "bad")
		if calls[0].from != "alice" {
			t.Errorf("from %s", calls[0].from)
		}
		t.wantReturns("dropped", "alice")
		t.wantEmpty("both are gone")
	})
}
