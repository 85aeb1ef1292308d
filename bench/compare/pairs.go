package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/bench/internal/process"
)

// A load is messages from senders to receivers.
type load struct {
	pairs       int
	outstanding int // messages of a pair that have not come or not been answered, at most
	size        int // bytes of a message, at least 8
	messages    int // of all pairs together
}

const (
	headSize       = 8    // what a message begins with: the pair and the number in it
	maxOutstanding = 1000 // what servers are known to let through
)

func (l load) check() error {
	switch {
	case l.pairs < 1:
		return fmt.Errorf("%d pairs, at least 1 is needed", l.pairs)
	case l.outstanding < 1 || l.outstanding > maxOutstanding:
		return fmt.Errorf("%d messages outstanding, 1 to %d are possible", l.outstanding, maxOutstanding)
	case l.size < headSize || l.size > maxMessage/2:
		return fmt.Errorf("messages of %d bytes, %d to %d are possible", l.size, headSize, maxMessage/2)
	case l.messages < 4*l.pairs*l.outstanding:
		return fmt.Errorf("%d messages, too few for a rate of %d pairs with %d outstanding each", l.messages, l.pairs, l.outstanding)
	}
	return nil
}

// A flow is the messages of all pairs on their way.
type flow struct {
	load
	post     *post
	pids     []int
	patience time.Duration
	filler   []byte
	done     chan struct{} // closed when all have come and been answered

	mu         sync.Mutex // guards the following fields and those of pairs
	arrived    int
	answered   int
	from, upto snapshot // the time that is measured
	mistakes   bench.Mistakes
	err        error // the first of a connection, or of a measurement
}

// A snapshot is how far things are.
type snapshot struct {
	at       time.Time
	arrived  int
	cpu, own time.Duration // processor time of the server, and of this process
}

// A pair is a sender and a receiver.
type pair struct {
	flow     *flow
	index    int
	from, to *conn
	total    int // messages that it sends

	next   int // the one to be sent next
	expect int // the one to come next
	slots  []slot
}

// A slot is for one message that is outstanding.
type slot struct {
	n                        int // its number
	taken, answered, arrived bool
}

// pairs has pairs write to each other. What is measured, and when, is as with bench.Pairs: a message
// counts when its receiver has it, and the next one takes its place once the sender has the server's
// answer, too; from when a tenth have come until the first sender has nothing left to send.
func (s site) pairs(ctx context.Context, l load) (*bench.Report, error) {
	if s.post == nil {
		return nil, fmt.Errorf("%s: no durable messages", s.name)
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	if s.post.prepare != nil {
		c, err := s.dial(ctx, s.user(0), s.post.prepare)
		if err != nil {
			return nil, err
		}
		c.close()
	}
	to, err := s.dialAll(ctx, l.pairs, s.post.receiver)
	if err != nil {
		return nil, err
	}
	from, err := s.dialAll(ctx, l.pairs, s.post.sender)
	if err != nil {
		closeAll(to)
		return nil, err
	}
	f := &flow{load: l, post: s.post, pids: s.pids, patience: s.patience, filler: bytes.Repeat([]byte{'.'}, l.size-headSize), done: make(chan struct{})}
	var reading sync.WaitGroup
	var all []*pair
	for i := range l.pairs {
		p := &pair{flow: f, index: i, from: from[i], to: to[i], slots: make([]slot, l.outstanding)}
		p.total = (l.messages + l.pairs - 1 - i) / l.pairs // one more for some where they cannot all have as many
		all = append(all, p)
		reading.Go(func() { f.end(p.readAnswers()) })
		reading.Go(func() { f.end(p.readMessages()) })
	}
	for _, p := range all {
		f.mu.Lock()
		p.refillLocked()
		f.mu.Unlock()
		f.end(p.from.flush())
	}
	err = f.wait(ctx)
	f.mu.Lock()
	if err == nil {
		err = f.err
	}
	f.err = errors.New("over") // what connections say from now on is no news
	f.mu.Unlock()
	closeAll(from)
	closeAll(to)
	reading.Wait()
	if err != nil {
		return nil, err
	}
	return f.report(s.name), nil
}

// wait waits until all is done, or nothing happens any more.
func (f *flow) wait(ctx context.Context) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	before, since := -1, time.Now()
	for {
		select {
		case <-f.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
		f.mu.Lock()
		n, err := f.arrived+f.answered, f.err
		f.mu.Unlock()
		if n != before {
			before, since = n, time.Now()
		}
		if err != nil || time.Since(since) > f.patience {
			return err
		}
	}
}

// end notes why a connection ended.
func (f *flow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *flow) snapshotLocked() snapshot {
	s := snapshot{at: time.Now(), arrived: f.arrived}
	var err, ownErr error
	s.cpu, err = process.CPU(f.pids)
	s.own, ownErr = process.OwnCPU()
	if f.err == nil {
		f.err = errors.Join(err, ownErr)
	}
	return s
}

func (f *flow) report(name string) *bench.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &bench.Report{Bench: "pairs " + name, Mistakes: f.mistakes}
	r.Mistakes.Lost = f.messages - f.arrived
	n, elapsed := float64(f.upto.arrived-f.from.arrived), f.upto.at.Sub(f.from.at).Seconds()
	r.Figures = bench.Figures{{Name: "messages", Value: float64(f.arrived)}}
	if n <= 0 || elapsed <= 0 {
		return r // so much was lost that there is no rate
	}
	r.Figures = append(r.Figures, bench.Figure{Name: "messages_per_second", Value: n / elapsed})
	if cpu := (f.upto.cpu - f.from.cpu).Seconds(); len(f.pids) > 0 {
		r.Figures = append(r.Figures, bench.Figure{Name: "server_cpu_us_per_message", Value: 1e6 * cpu / n},
			bench.Figure{Name: "server_busy_percent", Value: 100 * cpu / elapsed})
	}
	r.Figures = append(r.Figures, bench.Figure{Name: "generator_busy_percent", Value: 100 * (f.upto.own - f.from.own).Seconds() / elapsed})
	return r
}

// refillLocked queues what may be sent now.
func (p *pair) refillLocked() {
	for i := range p.slots {
		if p.slots[i].taken || p.next == p.total {
			continue
		}
		p.slots[i] = slot{n: p.next, taken: true}
		content := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(p.index)), uint32(p.next))
		content = append(content, p.flow.filler...)
		p.from.queue(func(b []byte) []byte { return p.flow.post.append(b, p.index, i, content) })
		p.next++
		if p.next == p.total && p.flow.upto.at.IsZero() {
			p.flow.upto = p.flow.snapshotLocked()
		}
	}
}

// readAnswers reads what comes to the sender until the connection ends.
func (p *pair) readAnswers() error {
	for {
		if p.from.in.Buffered() == 0 {
			if err := p.from.flush(); err != nil {
				return err
			}
		}
		i, err := p.flow.post.answer(p.from)
		if err != nil {
			return err
		}
		p.flow.mu.Lock()
		err = p.answeredLocked(i)
		p.flow.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (p *pair) answeredLocked(i int) error {
	if i < 0 || i >= len(p.slots) || !p.slots[i].taken || p.slots[i].answered {
		return fmt.Errorf("pair %d: answer for %d, which is not outstanding", p.index, i)
	}
	p.slots[i].answered = true
	p.flow.answered++
	p.releaseLocked(i)
	return nil
}

// readMessages reads what comes to the receiver until the connection ends.
func (p *pair) readMessages() error {
	for {
		if p.to.in.Buffered() == 0 {
			if err := errors.Join(p.to.flush(), p.from.flush()); err != nil {
				return err
			}
		}
		content, err := p.flow.post.take(p.to)
		if err != nil {
			return err
		}
		p.flow.mu.Lock()
		p.arrivedLocked(content)
		p.flow.mu.Unlock()
	}
}

func (p *pair) arrivedLocked(content []byte) {
	f := p.flow
	if len(content) != f.size || int(binary.BigEndian.Uint32(content)) != p.index || !bytes.Equal(content[headSize:], f.filler) {
		f.mistakes.Altered++
		return
	}
	n := int(binary.BigEndian.Uint32(content[4:]))
	if n != p.expect {
		f.mistakes.Misordered++
	}
	p.expect = n + 1
	for i := range p.slots {
		if s := &p.slots[i]; s.taken && s.n == n && !s.arrived {
			s.arrived = true
			f.arrived++
			if f.arrived == max(f.messages/10, 1) {
				f.from = f.snapshotLocked()
			}
			p.releaseLocked(i)
			return
		}
	}
	f.mistakes.Doubled++
}

// releaseLocked frees the slot of a message that is done, for the next one.
func (p *pair) releaseLocked(i int) {
	s, f := &p.slots[i], p.flow
	if !s.answered || !s.arrived {
		return
	}
	s.taken = false
	p.refillLocked()
	if f.arrived == f.messages && f.answered == f.messages {
		close(f.done)
	}
}
