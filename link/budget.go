package link

import "sync"

// A Budget bounds the bytes that the links of a node hold together: requests
// being worked on and packets not yet sent. Requests over it are answered BUSY. What is larger
// than 4 KiB leaves a quarter of it to what is small: whoever sends a node much that
// never ends does not keep others from it. Calls
// wait already when they would take what is held past three eighths of it, so that
// peers which do not read cannot keep the node from hearing requests; small ones wait past a half, and
// past seven eighths where nothing is unsent on their link, as on that of a peer which reads.
type Budget struct {
	limit int64

	mu      sync.Mutex // guards the following fields; taken after a Link's mu
	used    int64
	waiting [classes][]*claim // those that Link.claim points to, and ended ones
}

// A class of calls goes before the next one, and further.
type class int

const (
	firstCalls class = iota // small, with nothing unsent before them
	smallCalls
	largeCalls
	classes
)

// classOf returns the class of a call of n bytes. The caller holds l.mu.
func classOf(l *Link, n int64) class {
	switch {
	case n > smallSize:
		return largeCalls
	case l.unsent > 0:
		return smallCalls
	}
	return firstCalls
}

// A claim is a link whose next call found no room, or nil when it has ended.
type claim struct {
	link  *Link
	size  int64
	class class
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// Used returns the bytes that are held.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Reserve takes n bytes for a request, or for a part of it, or for what a link has handed over
// and is held further, or reports false.
func (b *Budget) Reserve(n int64) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := b.limit
	if n > smallSize {
		limit -= limit / 4
	}
	if b.used+n > limit {
		return false
	}
	b.used += n
	return true
}

// force takes n bytes whether they are there or not, for what is small and
// bounded otherwise.
func (b *Budget) force(n int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.used += n
	b.mu.Unlock()
}

// reserveCall takes n bytes for a call of l, whose mu is held, or reports false; then l.retry is
// called once there is room.
func (b *Budget) reserveCall(l *Link, n int64) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.awaitLocked(l, n) {
		return false
	}
	b.used += n
	return true
}

// awaitCall is reserveCall without taking the bytes.
func (b *Budget) awaitCall(l *Link, n int64) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.awaitLocked(l, n)
}

func (b *Budget) awaitLocked(l *Link, n int64) bool {
	c := classOf(l, n)
	if b.roomLocked(c, n) {
		return true
	}
	if l.claim != nil && l.claim.class != c {
		l.claim.link, l.claim = nil, nil
	}
	if l.claim == nil {
		l.claim = &claim{link: l, class: c}
		b.waiting[c] = append(b.waiting[c], l.claim)
	}
	l.claim.size = n
	return false
}

// roomLocked reports whether a call of n bytes may be queued. One may always
// when nothing else is held, or one larger than the budget would wait for ever.
func (b *Budget) roomLocked(c class, n int64) bool {
	eighths := [classes]int64{firstCalls: 7, smallCalls: 4, largeCalls: 3}
	return b.used+n <= b.limit/8*eighths[c] || b.used == 0
}

// Release gives n bytes back and lets the links that wait try again, in turn. The
// caller holds no lock.
func (b *Budget) Release(n int64) {
	if b == nil || n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	var told int64 // bytes of links that try again and may take them only later
	for c := range classes {
		for len(b.waiting[c]) > 0 {
			first := b.waiting[c][0]
			if first.link != nil && !b.roomLocked(c, told+first.size) {
				break
			}
			b.waiting[c][0] = nil
			if b.waiting[c] = b.waiting[c][1:]; len(b.waiting[c]) == 0 {
				b.waiting[c] = nil
			}
			if first.link != nil {
				told += b.tellLocked(first)
			}
		}
	}
}

// tellLocked lets a link try again, and returns how many bytes it may take only later. It gives mu
// up meanwhile.
func (b *Budget) tellLocked(c *claim) int64 {
	l, before := c.link, b.used
	l.claim = nil
	b.mu.Unlock()
	l.retry()
	b.mu.Lock()
	return max(c.size-max(b.used-before, 0), 0)
}

// forget drops the claim of a link that has ended.
func (b *Budget) forget(l *Link) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.claim != nil {
		l.claim.link = nil
		l.claim = nil
	}
}
