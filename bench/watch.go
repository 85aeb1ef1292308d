package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tipt/tipt-go/bench/internal/process"
)

// A watch measures what memory a node takes, and gives back.
type watch struct {
	o       *Options
	figures *Figures

	// Bytes resident: without a collection first and after one, where it can be made.
	idle, idleCollected   int64
	later, laterCollected int64

	cancel   context.CancelFunc
	sampling sync.WaitGroup
	peak     int64 // owned by the goroutine that samples, until stop
	err      error
}

// before measures the node as it is and as it is after a collection.
func (w *watch) before(ctx context.Context) (err error) {
	w.idle, w.idleCollected, err = w.measure(ctx, "before")
	return err
}

// after is before, a while after the end.
func (w *watch) after(ctx context.Context) (err error) {
	if w.err != nil {
		return w.err
	}
	if len(w.o.PIDs) > 0 {
		w.figures.add("node_mib_at_most", mebibytes(w.peak))
		w.figures.add("node_mib_above_idle", mebibytes(w.peak-w.leastIdle()))
	}
	w.later, w.laterCollected, err = w.measure(ctx, "after")
	return err
}

func (w *watch) measure(ctx context.Context, when string) (asIs, collected int64, err error) {
	if len(w.o.PIDs) == 0 {
		return 0, 0, nil
	}
	if asIs, err = process.Resident(w.o.PIDs); err != nil {
		return 0, 0, err
	}
	w.figures.add("node_mib_"+when, mebibytes(asIs))
	if w.o.Collect == "" {
		return asIs, 0, nil
	}
	if err := process.Collect(ctx, w.o.Collect); err != nil {
		return 0, 0, err
	}
	if collected, err = process.Resident(w.o.PIDs); err != nil {
		return 0, 0, err
	}
	w.figures.add("node_mib_"+when+"_collected", mebibytes(collected))
	return asIs, collected, nil
}

// start looks at the memory again and again until stop.
func (w *watch) start() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.sampling.Go(func() {
		tick := time.NewTicker(sampling)
		defer tick.Stop()
		for {
			now, err := process.Resident(w.o.PIDs)
			if err != nil {
				w.err = err
				return
			}
			w.peak = max(w.peak, now)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (w *watch) stop() {
	w.cancel()
	w.sampling.Wait()
}

// leastIdle is the smaller one of what the node had before.
func (w *watch) leastIdle() int64 {
	if w.idleCollected > 0 {
		return min(w.idle, w.idleCollected)
	}
	return w.idle
}

// broken tells which bounds do not hold.
func (w *watch) broken(above int64) (broken []string) {
	if len(w.o.PIDs) == 0 {
		return nil
	}
	if took := w.peak - w.leastIdle(); took > above {
		broken = append(broken, fmt.Sprintf("the node took %.1f MiB above its %.1f, more than %.1f", mebibytes(took), mebibytes(w.leastIdle()), mebibytes(above)))
	}
	for _, m := range []struct {
		name         string
		before, then int64
	}{{"", w.idle, w.later}, {"after a collection ", w.idleCollected, w.laterCollected}} {
		if float64(m.then) > float64(m.before)*(1+within) {
			broken = append(broken, fmt.Sprintf("the node has %s%.1f MiB afterwards, more than %.0f %% above the %.1f before", m.name, mebibytes(m.then), 100*within, mebibytes(m.before)))
		}
	}
	return broken
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
