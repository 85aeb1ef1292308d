package mailbox

import (
	"sync"

	"github.com/tipt/tipt-go/store"
)

const (
	// Readers are spread over this many shards by user. One shard looks again with each tick
	// of Run, hence each reader once a minute.
	shards = 60

	// What a box keeps in memory for its readers, unless it is one message.
	maxRun = 256 << 10
	// What a message takes there besides its body.
	messageOverhead = 160
)

// A shard has the readers of some users.
type shard struct {
	mu    sync.Mutex // guards the following fields and all that hangs from them
	boxes map[store.UserID]*box
	moved []*Reader // those marked listed: their place may have moved since it was stored
}

// A box is a mailbox that has readers.
type box struct {
	readers *Reader // the first of a list, never nil

	// told is the greatest Seq that was published, 0 before the first.
	told int64

	// run is what was published last, as far as some reader will read it next. Its Seqs
	// follow each other without a gap: a reader that finds its next Seq in here misses
	// nothing.
	run     []store.Message
	runSize int64
}

func (m *Mailboxes) shard(user store.UserID) *shard {
	return &m.shards[uint64(user)%shards]
}

// publish makes a message that is on the disk visible to readers, then wakes those that
// wait. Of one mailbox it is called in the order of Seq.
func (m *Mailboxes) publish(op *store.Append) {
	s := m.shard(op.User)
	s.mu.Lock()
	b := s.boxes[op.User]
	if b == nil {
		s.mu.Unlock()
		return
	}
	b.told = op.Seq
	m.extendLocked(b, store.Message{
		Seq: op.Seq, Kind: op.Kind, From: op.From, ID: op.ID, Time: op.Time, Body: op.Body,
	})
	var wake []func()
	for r := b.readers; r != nil; r = r.next {
		if r.waits {
			r.waits = false
			wake = append(wake, r.wake)
		}
	}
	s.mu.Unlock()
	for _, f := range wake {
		f()
	}
}

// extendLocked puts a message at the end of b's run, where that serves a reader and
// within the bounds.
func (m *Mailboxes) extendLocked(b *box, msg store.Message) {
	if n := len(b.run); n > 0 && b.run[n-1].Seq+1 != msg.Seq {
		m.cutLocked(b, n)
	}
	first := msg.Seq
	if len(b.run) > 0 {
		first = b.run[0].Seq
	}
	served := false
	for r := b.readers; r != nil; r = r.next {
		served = served || first <= r.last+1 && r.last < msg.Seq
	}
	size := sizeOf(msg)
	if !served || m.recent.Load()+size > m.options.MaxRecent {
		m.cutLocked(b, len(b.run))
		return
	}
	b.run = append(b.run, msg)
	b.runSize += size
	m.recent.Add(size)
	for len(b.run) > 1 && b.runSize > maxRun {
		m.cutLocked(b, 1)
	}
}

// cutLocked removes the first n messages of b's run.
func (m *Mailboxes) cutLocked(b *box, n int) {
	for i := range b.run[:n] {
		size := sizeOf(b.run[i])
		b.runSize -= size
		m.recent.Add(-size)
		b.run[i] = store.Message{}
	}
	b.run = b.run[n:]
	if len(b.run) == 0 {
		b.run = nil
	}
}

// trimLocked removes from b's run what no reader will read from there.
func (m *Mailboxes) trimLocked(b *box) {
	if len(b.run) == 0 {
		return
	}
	first := b.run[0].Seq
	read := len(b.run)
	for r := b.readers; r != nil; r = r.next {
		// One that is further behind reads the store.
		if ahead := r.last + 1 - first; ahead >= 0 {
			read = int(min(int64(read), ahead))
		}
	}
	m.cutLocked(b, read)
}

func sizeOf(msg store.Message) int64 {
	return int64(len(msg.Body)+len(msg.From)) + messageOverhead
}

// Changed wakes the readers of a mailbox into which somebody else has committed an
// Append.
func (m *Mailboxes) Changed(user store.UserID) {
	s := m.shard(user)
	s.mu.Lock()
	var wake []func()
	if b := s.boxes[user]; b != nil {
		wake = m.lookAgainLocked(b)
	}
	s.mu.Unlock()
	for _, f := range wake {
		f()
	}
}

// lookAgain makes all readers of a shard look into the store again.
func (m *Mailboxes) lookAgain(s *shard) {
	s.mu.Lock()
	var wake []func()
	for _, b := range s.boxes {
		wake = append(wake, m.lookAgainLocked(b)...)
	}
	s.mu.Unlock()
	for _, f := range wake {
		f()
	}
}

// lookAgainLocked makes b's readers look into the store again, and returns what
// wakes them.
func (m *Mailboxes) lookAgainLocked(b *box) (wake []func()) {
	m.cutLocked(b, len(b.run))
	for r := b.readers; r != nil; r = r.next {
		r.looked = never
		r.waits = false
		wake = append(wake, r.wake)
	}
	return wake
}
