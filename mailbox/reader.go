package mailbox

import (
	"context"
	"fmt"
	"slices"

	"github.com/tipt/tipt-go/store"
)

// never is a Reader's looked before its first look.
const never = -1

// A Reader reads a mailbox for one device on one connection, in the order stored and
// without a gap, and moves the device's place. Next is for one goroutine at a time,
// beside any calls of the other methods.
type Reader struct {
	// Static after Open.
	mailboxes *Mailboxes
	user      store.UserID
	device    string
	wake      func()

	// Guarded by the mutex of the user's shard.
	next   *Reader // of the same box
	last   int64   // Seq that Next returned last, at first the place
	place  int64   // all up to this Seq is taken
	stored int64   // the place that is on the disk, or on its way there
	// looked is what the box's told was before the last look into the store that
	// found nothing, or never. What came by then is read or gone.
	looked int64
	out    *out // nil while nothing is
	waits  bool // Next found nothing, and wake was not called since
	moved  bool // the place did, since Open
	listed bool // in moved of the shard
	closed bool
}

// out has the Seqs of what Next returned and nobody took yet, in order.
type out struct {
	untaken []int64
	again   []int64 // of untaken, those to be returned again
}

// Open returns a reader of what follows place, which is what the device's SIGN_IN
// returned. Wake is called when there may be something new after Next found
// nothing, once until the next such Next, and now and then without cause. It is called
// on any goroutine, also shortly after Close, and must not block. A reader that
// replaces another of the same device is best opened before that one is closed: it
// then goes on from the place where that one is.
func (m *Mailboxes) Open(user store.UserID, device string, place int64, wake func()) *Reader {
	r := &Reader{mailboxes: m, user: user, device: device, wake: wake, looked: never, waits: true}
	s := m.shard(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[user]
	if b == nil {
		b = new(box)
		s.boxes[user] = b
	}
	for other := b.readers; other != nil; other = other.next {
		if other.device == device {
			place = max(place, other.place)
		}
	}
	r.last, r.place, r.stored = place, place, place
	r.next, b.readers = b.readers, r
	return r
}

// Next returns the messages after the last one it returned, at most limit and, but for
// the first, at most maxBytes of Body together; none and no error when there is none
// now, and after Close. The caller must not change them, and bounds how many
// it has not given to Take.
func (r *Reader) Next(ctx context.Context, limit, maxBytes int) ([]store.Message, error) {
	m := r.mailboxes
	s := m.shard(r.user)
	for {
		s.mu.Lock()
		b := s.boxes[r.user]
		if r.closed {
			s.mu.Unlock()
			return nil, nil
		}
		if r.out != nil && len(r.out.again) > 0 {
			seq := r.out.again[0]
			s.mu.Unlock()
			msgs, err := r.reread(ctx, seq)
			if err != nil || msgs != nil {
				return msgs, err
			}
			continue
		}
		if msgs := r.fromRunLocked(b, limit, maxBytes); msgs != nil {
			m.trimLocked(b)
			s.mu.Unlock()
			return msgs, nil
		}
		if r.looked != never && max(r.looked, r.last) >= b.told {
			r.waits = true
			s.mu.Unlock()
			return nil, nil
		}
		after, told := r.last, b.told
		s.mu.Unlock()

		msgs, err := m.store.Messages(ctx, r.user, after, limit, maxBytes)

		s.mu.Lock()
		switch {
		case r.closed:
			msgs = nil
		case err != nil:
			r.waits = true
		case len(msgs) == 0:
			r.looked = told
		default:
			r.looked = never
			r.returnLocked(msgs)
		}
		s.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("read the mailbox: %w", err)
		}
		if len(msgs) > 0 {
			return msgs, nil
		}
	}
}

// fromRunLocked returns the next messages from memory, nil where they are not there.
func (r *Reader) fromRunLocked(b *box, limit, maxBytes int) []store.Message {
	if len(b.run) == 0 {
		return nil
	}
	from := r.last + 1 - b.run[0].Seq
	if from < 0 || from >= int64(len(b.run)) {
		return nil
	}
	run := b.run[from:]
	n, size := 0, 0
	for n < min(limit, len(run)) {
		size += len(run[n].Body)
		if n > 0 && size > maxBytes {
			break
		}
		n++
	}
	msgs := slices.Clone(run[:n])
	r.returnLocked(msgs)
	return msgs
}

// returnLocked notes that Next returns messages.
func (r *Reader) returnLocked(msgs []store.Message) {
	if r.out == nil {
		r.out = new(out)
	}
	for _, msg := range msgs {
		r.out.untaken = append(r.out.untaken, msg.Seq)
	}
	r.last = msgs[len(msgs)-1].Seq
}

// reread returns one message again, or takes it when it is gone.
func (r *Reader) reread(ctx context.Context, seq int64) ([]store.Message, error) {
	msgs, err := r.mailboxes.store.Messages(ctx, r.user, seq-1, 1, 0)
	if err != nil {
		return nil, fmt.Errorf("read a message again: %w", err)
	}
	s := r.mailboxes.shard(r.user)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.out == nil: // taken meanwhile, or closed
		return nil, nil
	case len(msgs) == 0 || msgs[0].Seq != seq:
		r.takeLocked(s, seq)
		return nil, nil
	}
	r.out.forget(seq)
	return msgs, nil
}

// Rewind makes Next return one message again that it returned and nobody took, before
// what it has not returned yet. What followed it is not returned again.
func (r *Reader) Rewind(seq int64) {
	s := r.mailboxes.shard(r.user)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.out == nil {
		return
	}
	if _, untaken := slices.BinarySearch(r.out.untaken, seq); !untaken {
		return
	}
	if at, there := slices.BinarySearch(r.out.again, seq); !there {
		r.out.again = slices.Insert(r.out.again, at, seq)
	}
}

// Take notes that the device has taken a message that Next returned. Messages may be
// taken in any order; the place moves past one when it and all before it are taken. The
// place goes to the disk with the next message for this user, at Close, or with Run
// within about a second.
func (r *Reader) Take(seq int64) {
	s := r.mailboxes.shard(r.user)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.takeLocked(s, seq)
}

func (r *Reader) takeLocked(s *shard, seq int64) {
	if r.out == nil {
		return
	}
	i, untaken := slices.BinarySearch(r.out.untaken, seq)
	if !untaken {
		return
	}
	r.out.untaken = slices.Delete(r.out.untaken, i, i+1)
	r.out.forget(seq)
	place := r.last
	if len(r.out.untaken) > 0 {
		place = r.out.untaken[0] - 1
	} else {
		r.out = nil
	}
	if place > r.place {
		r.place = place
		r.moved = true
		r.listLocked(s)
	}
}

// forget has a message not be returned again.
func (o *out) forget(seq int64) {
	if i, ok := slices.BinarySearch(o.again, seq); ok {
		o.again = slices.Delete(o.again, i, i+1)
	}
}

// Place returns up to where everything is taken, also after Close.
func (r *Reader) Place() int64 {
	s := r.mailboxes.shard(r.user)
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.place
}

// Close ends the reader: its methods have no effect any more. Its place goes to the
// disk, for which Close waits for room in the committer's queue, not for the commit: a
// SIGN_IN that is carried out after Close finds it.
func (r *Reader) Close() {
	m := r.mailboxes
	s := m.shard(r.user)
	s.mu.Lock()
	if r.closed {
		s.mu.Unlock()
		return
	}
	r.closed = true
	r.out = nil
	b := s.boxes[r.user]
	for link := &b.readers; *link != nil; link = &(*link).next {
		if *link == r {
			*link = r.next
			break
		}
	}
	m.trimLocked(b)
	if b.readers == nil {
		delete(s.boxes, r.user)
	}
	s.mu.Unlock()
	if !r.moved {
		return
	}
	// Also where it is on its way, by somebody who may not have submitted it yet.
	op := &store.Take{User: r.user, Device: r.device, Seq: r.place}
	lost := func(err error) {
		if err != nil {
			m.log.Warn("the place of a device was not stored, it gets some messages again", "error", err)
		}
	}
	if err := m.committer.Submit(context.Background(), lost, op); err != nil {
		lost(err)
	}
}
