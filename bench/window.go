package bench

import (
	"sync"
	"time"

	"github.com/tipt/tipt-go/bench/internal/process"
)

// A window is the time in which a flow is measured: from when a tenth of its messages are done,
// until the first sender has nothing left to send. So neither the start nor the end, when fewer
// send, is in the figures. Where that leaves less than half of the messages it is all of the time.
type window struct {
	warm int64 // messages that are done when it begins

	mu         sync.Mutex // guards the following fields
	from, upto snapshot
	first      snapshot // when run began
	closed     bool     // upto has been taken
	err        error    // of a measurement
}

// A snapshot is how far things are.
type snapshot struct {
	at       time.Duration // since the flow began
	settled  int64
	cpu, own time.Duration // processor time of the processes measured, and of this one
}

// open begins the window, anew once it is warm.
func (f *flow) open(settled int64) {
	w := &f.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.from = f.snapshotLocked(settled)
	if settled < w.warm {
		w.first = w.from
	}
}

// shut ends the window. Only the first call counts.
func (f *flow) shut(settled int64) {
	w := &f.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed, w.upto = true, f.snapshotLocked(settled)
	}
}

func (f *flow) snapshotLocked(settled int64) snapshot {
	s := snapshot{at: time.Since(f.began), settled: settled}
	var err error
	if s.cpu, err = process.CPU(f.pids); err != nil && f.window.err == nil {
		f.window.err = err
	}
	if s.own, err = process.OwnCPU(); err != nil && f.window.err == nil {
		f.window.err = err
	}
	return s
}

// end ends the window where nothing is sent any more.
func (f *flow) end() {
	f.shut(f.settled.Load())
	w := &f.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if 2*(w.upto.settled-w.from.settled) < int64(f.total) {
		w.from, w.upto = w.first, f.snapshotLocked(f.settled.Load())
	}
}

// snapshot is a measurement outside of the window.
func (f *flow) snapshot() snapshot {
	f.window.mu.Lock()
	defer f.window.mu.Unlock()
	return f.snapshotLocked(f.settled.Load())
}

// failure returns the first error of a measurement.
func (w *window) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// addRate adds how many messages were done a second in the window, what each cost, and the window.
func (f *flow) addRate(r *Report, name string) error {
	f.window.mu.Lock()
	defer f.window.mu.Unlock()
	if f.window.err != nil {
		return f.window.err
	}
	from, upto := f.window.from, f.window.upto
	messages, elapsed := float64(upto.settled-from.settled), upto.at-from.at
	r.Figures.add(name+"_per_second", messages/elapsed.Seconds())
	if len(f.pids) > 0 && messages > 0 {
		r.Figures.add("node_cpu_us_per_message", microseconds(upto.cpu-from.cpu)/messages)
		r.Figures.add("node_busy_percent", percent(upto.cpu-from.cpu, elapsed))
	}
	r.Figures.add("generator_busy_percent", percent(upto.own-from.own, elapsed))
	r.span(name, f.began.Add(from.at), f.began.Add(upto.at))
	return nil
}

func percent(part, of time.Duration) float64 { return 100 * part.Seconds() / of.Seconds() }

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// latencies returns how long the messages took that came in the window.
func (f *flow) latencies() []time.Duration {
	f.window.mu.Lock()
	from, upto := f.window.from.at, f.window.upto.at
	f.window.mu.Unlock()
	var all []time.Duration
	for _, p := range f.pairs {
		p.mu.Lock()
		for i := range p.messages[:p.next] {
			if m := &p.messages[i]; m.arrived && m.came >= from && m.came <= upto {
				all = append(all, m.came-m.sent)
			}
		}
		p.mu.Unlock()
	}
	return all
}

// judge counts what was sent and neither came nor was refused, and returns all mistakes.
func (f *flow) judge() Mistakes {
	for _, p := range f.pairs {
		p.mu.Lock()
		for i := range p.messages[:p.next] {
			m := &p.messages[i]
			if !m.arrived && !m.refused {
				f.mistake(func(s *Mistakes) *int { return &s.Lost }, "%v", p.name(i))
			}
		}
		p.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mistakes
}
