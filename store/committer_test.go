package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A testOp is an operation with a name. Its store cannot do it when err is set.
type testOp struct {
	name string
	size int
	err  error
}

func (o *testOp) Size() int { return o.size }

func op(name string) *testOp { return &testOp{name: name, size: 10} }

// A testStore takes a second for each batch and keeps those committed.
type testStore struct {
	Store
	batches [][]string
	tried   int
}

func (s *testStore) Commit(ctx context.Context, batch []Op) error {
	time.Sleep(time.Second)
	s.tried++
	if err := ctx.Err(); err != nil {
		return err
	}
	var names []string
	for _, o := range batch {
		o := o.(*testOp)
		if o.err != nil {
			return fmt.Errorf("op %s: %w", o.name, o.err)
		}
		names = append(names, o.name)
	}
	s.batches = append(s.batches, names)
	return nil
}

// A committerTest is a Committer that runs until the test ends.
type committerTest struct {
	*testing.T
	c    *Committer
	s    *testStore
	stop context.CancelFunc
	ran  chan error // what Run returned

	mu  sync.Mutex // guards the following
	log []string   // the done callbacks, in order
}

// testCommitter runs f in a bubble with a committer, then stops it.
func testCommitter(t *testing.T, o CommitterOptions, f func(t *committerTest)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := &testStore{}
		ct := &committerTest{T: t, c: NewCommitter(s, o), s: s, stop: cancel, ran: make(chan error, 1)}
		go func() { ct.ran <- ct.c.Run(ctx) }()
		synctest.Wait()
		f(ct)
	})
}

// submit submits operations and has their outcome logged.
func (t *committerTest) submit(ctx context.Context, ops ...*testOp) error {
	var list []Op
	for _, o := range ops {
		list = append(list, o)
	}
	return t.c.Submit(ctx, func(err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.log = append(t.log, logged(ops[0].name, err))
	}, list...)
}

func logged(name string, err error) string {
	switch {
	case err == nil:
		return name
	case errors.Is(err, ErrFailed):
		return name + " failed"
	case errors.Is(err, ErrDiskFull):
		return name + " full"
	}
	return name + " " + err.Error()
}

func (t *committerTest) mustSubmit(ops ...*testOp) {
	t.Helper()
	if err := t.submit(t.Context(), ops...); err != nil {
		t.Fatalf("submit: %v", err)
	}
}

// end stops the committer and checks what Run returns.
func (t *committerTest) end(want error) {
	t.Helper()
	t.stop()
	if err := <-t.ran; !errors.Is(err, want) {
		t.Errorf("Run returned %v, want %v", err, want)
	}
}

func (t *committerTest) wantBatches(want ...[]string) {
	t.Helper()
	if d := cmp.Diff(want, t.s.batches); d != "" {
		t.Errorf("batches (-want +got):\n%s", d)
	}
}

func (t *committerTest) wantLog(want ...string) {
	t.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := cmp.Diff(want, t.log, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("callbacks (-want +got):\n%s", d)
	}
}

func TestCommitterGathers(t *testing.T) {
	testCommitter(t, CommitterOptions{}, func(t *committerTest) {
		start := time.Now()
		t.mustSubmit(op("a"))
		synctest.Wait() // it is being written
		t.mustSubmit(op("b"))
		t.mustSubmit(op("c"), op("d"))
		t.mustSubmit(op("e"))
		t.wantLog()
		time.Sleep(1500 * time.Millisecond)
		t.wantLog("a")
		t.end(nil)
		t.wantBatches([]string{"a"}, []string{"b", "c", "d", "e"})
		t.wantLog("a", "b", "c", "e")
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("two batches took %v", d)
		}
	})
}

func TestCommitterBatchBounds(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    CommitterOptions
		ops  [][]*testOp
		want [][]string
	}{
		{
			"operations",
			CommitterOptions{MaxOps: 3},
			[][]*testOp{{op("a"), op("b")}, {op("c")}, {op("d")}, {op("e"), op("f"), op("g"), op("h")}, {op("i")}},
			[][]string{{"a", "b", "c"}, {"d"}, {"e", "f", "g", "h"}, {"i"}},
		},
		{
			"bytes",
			CommitterOptions{MaxBytes: 30},
			[][]*testOp{{op("a")}, {op("b")}, {op("c")}, {op("d")}, {{name: "e", size: 31}}, {op("f")}},
			[][]string{{"a", "b", "c"}, {"d"}, {"e"}, {"f"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testCommitter(t, tt.o, func(t *committerTest) {
				t.mustSubmit(op("first"))
				synctest.Wait()
				for _, ops := range tt.ops {
					t.mustSubmit(ops...)
				}
				t.end(nil)
				t.wantBatches(append([][]string{{"first"}}, tt.want...)...)
			})
		})
	}
}

func TestCommitterQueueBounds(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    CommitterOptions
		big  *testOp // does not fit any more
	}{
		{"operations", CommitterOptions{QueueOps: 2}, op("big")},
		{"bytes", CommitterOptions{QueueBytes: 25}, &testOp{name: "big", size: 6}},
		{"larger than the queue", CommitterOptions{QueueBytes: 25}, &testOp{name: "big", size: 26}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testCommitter(t, tt.o, func(t *committerTest) {
				t.mustSubmit(op("first")) // taken at once
				synctest.Wait()
				t.mustSubmit(op("a"))
				t.mustSubmit(op("b"))
				start := time.Now()
				small := make(chan struct{})
				go func() {
					time.Sleep(time.Millisecond)
					// It would fit by its bytes, but order comes first.
					t.mustSubmit(&testOp{name: "small", size: 0})
					close(small)
				}()
				t.mustSubmit(tt.big)
				if d := time.Since(start); d != time.Second {
					t.Errorf("it waited %v for room, the batch before took a second", d)
				}
				<-small
				t.end(nil)
				if got := slices.Concat(t.s.batches...); !slices.Equal(got, []string{"first", "a", "b", "big", "small"}) {
					t.Errorf("committed in the order %v", got)
				}
			})
		})
	}
}

// TestCommitterSmallOvertakes has a small submission go before a large one that waits for room, and
// not before one that has it.
func TestCommitterSmallOvertakes(t *testing.T) {
	testCommitter(t, CommitterOptions{QueueBytes: 10_000, MaxBytes: 10_000}, func(t *committerTest) {
		t.mustSubmit(op("first"))
		synctest.Wait()
		large := func(name string) *testOp { return &testOp{name: name, size: smallSize + 1} }
		t.mustSubmit(large("a"))
		t.mustSubmit(large("b"))
		var waiting sync.WaitGroup
		waiting.Go(func() { t.mustSubmit(large("c")) })
		synctest.Wait()
		start := time.Now()
		for i := range 2 { // they fill what is theirs
			t.mustSubmit(&testOp{name: fmt.Sprint("small", i), size: smallSize})
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("small ones waited %v for room", d)
		}
		waiting.Go(func() { t.mustSubmit(&testOp{name: "late", size: smallSize}) })
		waiting.Wait()
		t.end(nil)
		t.wantBatches([]string{"first"}, []string{"a", "b"}, []string{"small0", "small1"}, []string{"c", "late"})
	})
}

func TestCommitterSubmitGivesUp(t *testing.T) {
	testCommitter(t, CommitterOptions{QueueBytes: 25}, func(t *committerTest) {
		t.mustSubmit(op("first"))
		synctest.Wait()
		t.mustSubmit(op("a"))
		small := make(chan time.Duration)
		start := time.Now()
		go func() {
			time.Sleep(time.Millisecond)
			t.mustSubmit(&testOp{name: "small", size: 15})
			small <- time.Since(start)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := t.submit(ctx, &testOp{name: "big", size: 20}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("submit returned %v", err)
		}
		if d := <-small; d != 300*time.Millisecond {
			t.Errorf("the one behind it, which fits, was queued after %v", d)
		}
		if err := t.submit(ctx, op("late")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("submit with a context that ended returned %v", err)
		}
		t.end(nil)
		t.wantBatches([]string{"first"}, []string{"a", "small"})
		t.wantLog("first", "a", "small")
	})
}

// TestCommitterSplits has operations that cannot be done among those that can.
func TestCommitterSplits(t *testing.T) {
	testCommitter(t, CommitterOptions{}, func(t *committerTest) {
		t.mustSubmit(op("first"))
		synctest.Wait()
		for i := range 8 {
			o := op(fmt.Sprint(i))
			switch i {
			case 2:
				o.err = ErrDiskFull
			case 7:
				o.err = ErrImpossible
			}
			t.mustSubmit(o, op(o.name+"+"))
		}
		t.end(nil)
		t.wantLog("first", "0", "1", "2 full", "3", "4", "5", "6", "7 op 7: impossible operation")
		want := []string{"first", "0", "0+", "1", "1+", "3", "3+", "4", "4+", "5", "5+", "6", "6+"}
		if d := cmp.Diff(want, slices.Concat(t.s.batches...)); d != "" {
			t.Errorf("committed (-want +got):\n%s", d)
		}
	})
}

// TestCommitterDoesNotSplit has an error that smaller batches would get, too, perhaps
// each after a long time.
func TestCommitterDoesNotSplit(t *testing.T) {
	testCommitter(t, CommitterOptions{}, func(t *committerTest) {
		t.mustSubmit(op("first"))
		synctest.Wait()
		t.mustSubmit(op("a"))
		t.mustSubmit(&testOp{name: "b", err: errors.New("locked")})
		t.mustSubmit(op("c"))
		time.Sleep(3 * time.Second)
		t.mustSubmit(op("last"))
		t.end(nil)
		t.wantLog("first", "a op b: locked", "b op b: locked", "c op b: locked", "last")
		if t.s.tried != 3 {
			t.Errorf("%d batches were tried", t.s.tried)
		}
	})
}

func TestCommitterGoesOnAfterDiskFull(t *testing.T) {
	testCommitter(t, CommitterOptions{}, func(t *committerTest) {
		full := op("a")
		full.err = ErrDiskFull
		if err := t.c.Do(t.Context(), full); !errors.Is(err, ErrDiskFull) {
			t.Errorf("Do returned %v", err)
		}
		full.err = nil
		if err := t.c.Do(t.Context(), full); err != nil {
			t.Errorf("Do returned %v when there is room again", err)
		}
		t.end(nil)
	})
}

func TestCommitterFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		ops  []*testOp
		log  []string
	}{
		{
			"at once",
			[]*testOp{op("a"), {name: "b", err: ErrFailed}, op("c"), op("d")},
			[]string{"a failed", "b failed", "c failed", "d failed"},
		},
		{
			"in the first half of a batch that is split",
			[]*testOp{{name: "a", err: ErrDiskFull}, {name: "b", err: ErrFailed}, op("c"), op("d")},
			[]string{"a full", "b failed", "c failed", "d failed"},
		},
		{
			"in the second half",
			[]*testOp{op("a"), {name: "b", err: ErrDiskFull}, {name: "c", err: ErrFailed}, op("d")},
			[]string{"a", "b full", "c failed", "d failed"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testCommitter(t, CommitterOptions{MaxOps: 4, QueueOps: 4}, func(t *committerTest) {
				t.mustSubmit(op("first"))
				synctest.Wait()
				for _, o := range tt.ops {
					t.mustSubmit(o)
				}
				// The queue is full, and when it was taken these fill it again.
				for i := range 4 {
					t.mustSubmit(op(fmt.Sprint(i)))
				}
				if err := t.submit(t.Context(), op("waits")); !errors.Is(err, ErrFailed) {
					t.Errorf("one that waited for room got %v", err)
				}
				if err := <-t.ran; !errors.Is(err, ErrFailed) {
					t.Errorf("Run returned %v", err)
				}
				if err := t.submit(t.Context(), op("late")); !errors.Is(err, ErrFailed) {
					t.Errorf("submit returned %v after the failure", err)
				}
				want := append([]string{"first"}, tt.log...)
				t.wantLog(append(want, "0 failed", "1 failed", "2 failed", "3 failed")...)
			})
		})
	}
}

func TestCommitterStops(t *testing.T) {
	testCommitter(t, CommitterOptions{MaxOps: 1}, func(t *committerTest) {
		for _, name := range []string{"a", "b", "c"} {
			t.mustSubmit(op(name))
		}
		t.end(nil)
		t.wantBatches([]string{"a"}, []string{"b"}, []string{"c"})
		t.wantLog("a", "b", "c")
		if err := t.submit(t.Context(), op("late")); !errors.Is(err, ErrStopped) {
			t.Errorf("submit returned %v", err)
		}
		if err := t.c.Do(t.Context(), op("late")); !errors.Is(err, ErrStopped) {
			t.Errorf("Do returned %v", err)
		}
	})
}

// TestCommitterStopRace submits while an idle committer stops: what it takes it commits.
func TestCommitterStopRace(t *testing.T) {
	for range 500 {
		testCommitter(t, CommitterOptions{}, func(t *committerTest) {
			t.stop()
			err := t.submit(t.Context(), op("a"))
			t.end(nil)
			switch {
			case err == nil:
				t.wantLog("a")
			case errors.Is(err, ErrStopped):
				t.wantLog()
			default:
				t.Errorf("submit returned %v", err)
			}
		})
	}
}

// TestCommitterDoWaits ends the context of a Do whose operation is being committed.
func TestCommitterDoWaits(t *testing.T) {
	testCommitter(t, CommitterOptions{}, func(t *committerTest) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := t.c.Do(ctx, op("a")); err != nil {
			t.Errorf("Do returned %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("Do returned after %v", d)
		}
		t.end(nil)
		t.wantBatches([]string{"a"})
	})
}

// BenchmarkCommitter is the cost of a Committer itself, over a store that does nothing.
func BenchmarkCommitter(b *testing.B) {
	c := NewCommitter(idleStore{}, CommitterOptions{})
	ctx, cancel := context.WithCancel(b.Context())
	ran := make(chan error)
	go func() { ran <- c.Run(ctx) }()
	b.ReportAllocs()
	o := &Append{}
	done := func(error) {}
	for b.Loop() {
		if err := c.Submit(ctx, done, o); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		b.Fatal(err)
	}
}

type idleStore struct{ Store }

func (idleStore) Commit(context.Context, []Op) error { return nil }
