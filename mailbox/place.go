package mailbox

import "github.com/tipt/tipt-go/store"

// places are places of devices on their way to the disk.
type places []place

type place struct {
	reader *Reader
	take   store.Take // stores it
}

// addPlaces adds to p the places of a user's devices that moved.
func (m *Mailboxes) addPlaces(p places, user store.UserID) places {
	s := m.shard(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boxes[user]; b != nil {
		for r := b.readers; r != nil; r = r.next {
			p = r.movedLocked(p)
		}
	}
	return p
}

// moved returns all places that moved.
func (m *Mailboxes) moved() places {
	var p places
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, r := range s.moved {
			r.listed = false
			if !r.closed {
				p = r.movedLocked(p)
			}
		}
		s.moved = nil
		s.mu.Unlock()
	}
	return p
}

// movedLocked adds r's place to p where it moved.
func (r *Reader) movedLocked(p places) places {
	if r.place <= r.stored {
		return p
	}
	r.stored = r.place
	return append(p, place{r, store.Take{User: r.user, Device: r.device, Seq: r.place}})
}

// listLocked has Run look at r's place.
func (r *Reader) listLocked(s *shard) {
	if r.place > r.stored && !r.listed {
		r.listed = true
		s.moved = append(s.moved, r)
	}
}

// addOps adds to ops the operations that store p.
func (p places) addOps(ops []store.Op) []store.Op {
	for i := range p {
		ops = append(ops, &p[i].take)
	}
	return ops
}

// keep has p stored later, since it could not be now.
func (p places) keep() {
	for _, one := range p {
		r := one.reader
		s := r.mailboxes.shard(r.user)
		s.mu.Lock()
		if !r.closed {
			r.stored = 0
			r.listLocked(s)
		}
		s.mu.Unlock()
	}
}
