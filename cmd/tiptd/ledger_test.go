package main_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
)

// nobody is a user whom the load writes to and who is not registered: what is sent to
// it comes back as a RETURN.
const nobody = "nobody"

// A letter is one message of the load.
type letter struct {
	id       tipt.MessageID
	from, to string
	wait     bool
	number   int // among those with the same from, to and wait
	padding  int
	body     []byte // of its FORWARD, the same in each attempt

	// Guarded by the ledger's mu.
	answered bool
	history  []happening
}

// content is what is in a letter, so that one can be told from any other.
func (l *letter) content() []byte {
	head := fmt.Sprintf("%s: from %s to %s, wait %t, number %d. ", l.id, l.from, l.to, l.wait, l.number)
	return append([]byte(head), bytes.Repeat([]byte{byte(l.number)}, l.padding)...)
}

func (l *letter) String() string {
	return fmt.Sprintf("letter %s from %s to %s, wait %t, number %d, %d bytes of padding", l.id, l.from, l.to, l.wait, l.number, l.padding)
}

// A happening is a line of a history.
type happening struct {
	at   time.Duration // since the ledger began
	what string
}

// A ledger knows all letters of a load, what the node has answered, what has come
// where, and what the specification does not allow of that.
type ledger struct {
	began time.Time
	node  tipt.NodeName

	mu         sync.Mutex // guards the following fields, and those of letters and devices that say so
	changed    chan struct{}
	letters    map[tipt.MessageID]*letter
	inOrder    []*letter
	answers    int
	returned   map[tipt.MessageID]bool // letters to nobody that came back
	registered []string                // by name: REGISTER was answered
	closed     bool                    // no new letters are made
	lives      []happening             // starts and ends of the node
	wrong      []string
}

func newLedger(node tipt.NodeName) *ledger {
	return &ledger{
		began:    time.Now(),
		node:     node,
		changed:  make(chan struct{}),
		letters:  make(map[tipt.MessageID]*letter),
		returned: make(map[tipt.MessageID]bool),
	}
}

// update changes the ledger and wakes those who await something.
func (l *ledger) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	l.changed = make(chan struct{})
}

// await waits until something is so. It is false when ctx ended first.
func (l *ledger) await(ctx context.Context, isSo func() bool) bool {
	for {
		l.mu.Lock()
		so, changed := isSo(), l.changed
		l.mu.Unlock()
		if so {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// pass waits until so many more letters are answered or no more are made. It is false
// when ctx ended first.
func (l *ledger) pass(ctx context.Context, letters int) bool {
	l.mu.Lock()
	until := l.answers + letters
	l.mu.Unlock()
	return l.await(ctx, func() bool { return l.answers >= until || l.closed })
}

func (l *ledger) nowLocked(format string, args ...any) happening {
	return happening{time.Since(l.began), fmt.Sprintf(format, args...)}
}

// live notes what happened to the node.
func (l *ledger) live(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lives = append(l.lives, l.nowLocked(format, args...))
}

// wrongLocked notes what must not be.
func (l *ledger) wrongLocked(about *letter, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if about != nil {
		text += "\n" + l.historyLocked(about)
	}
	l.wrong = append(l.wrong, text)
}

// fail notes what must not be.
func (l *ledger) fail(format string, args ...any) {
	l.update(func() { l.wrongLocked(nil, format, args...) })
}

// historyLocked is what happened to a letter, between what happened to the node.
func (l *ledger) historyLocked(about *letter) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %v:\n", about)
	lives := l.lives
	for _, h := range about.history {
		for len(lives) > 0 && lives[0].at <= h.at {
			fmt.Fprintf(&b, "    %10.3f ms  the node %s\n", float64(lives[0].at)/1e6, lives[0].what)
			lives = lives[1:]
		}
		fmt.Fprintf(&b, "    %10.3f ms  %s\n", float64(h.at)/1e6, h.what)
	}
	for _, h := range lives {
		fmt.Fprintf(&b, "    %10.3f ms  the node %s\n", float64(h.at)/1e6, h.what)
	}
	return b.String()
}

// enter takes a new letter up, or returns false when no more are made.
func (l *ledger) enter(m *letter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.letters[m.id] = m
	l.inOrder = append(l.inOrder, m)
	return true
}

// unanswered returns those that have no answer.
func (l *ledger) unanswered(letters []*letter) []*letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(letters, func(m *letter) bool { return m.answered })
}

// sent notes that a letter is about to be sent.
func (l *ledger) sent(m *letter, c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.history = append(m.history, l.nowLocked("sent from %s", c.local))
}

// answer notes what a FORWARD was answered. An end of the connection is no answer.
func (l *ledger) answer(m *letter, err error) {
	l.update(func() {
		if err != nil {
			m.history = append(m.history, l.nowLocked("refused: %v", err))
			l.wrongLocked(m, "a letter was refused: %v", err)
			return
		}
		m.history = append(m.history, l.nowLocked("accepted"))
		m.answered = true
		l.answers++
	})
}

// A device is one of those that letters come to.
type device struct {
	user, name string

	// Guarded by the ledger's mu.
	seen map[tipt.MessageID]bool // what has ever come
	last map[string]*letter      // by sender: the newest with `wait` false
	// The following are of the connection at hand.
	here  map[tipt.MessageID]bool // what came on it
	fresh *letter                 // the first that had not come before
}

func newDevice(user, name string) *device {
	return &device{user: user, name: name, seen: make(map[tipt.MessageID]bool), last: make(map[string]*letter)}
}

func (d *device) String() string { return d.user + "/" + d.name }

// connected notes that a device begins a new connection.
func (l *ledger) connected(d *device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.here = make(map[tipt.MessageID]bool)
	d.fresh = nil
}

// delivered notes a DELIVER and judges it: its content, its order and its repetition.
func (l *ledger) delivered(d *device, r tipt.DeliverRequest) {
	l.update(func() {
		m := l.letters[r.ID]
		if m == nil {
			l.wrongLocked(nil, "%v got %s from %s, which nobody sent", d, r.ID, r.From)
			return
		}
		m.history = append(m.history, l.nowLocked("delivered to %v", d))
		if from := m.from + "@" + string(l.node); r.From != from || m.to != d.user || !bytes.Equal(r.Message, m.content()) {
			l.wrongLocked(m, "%v got a letter from %s that is not what %s sent", d, r.From, from)
		}
		switch {
		case d.here[m.id]:
			l.wrongLocked(m, "%v got a letter twice on one connection", d)
		case d.seen[m.id]:
			// Its place may be lost with the node, so it gets some again; but
			// then before all that is new, or the letter was stored twice.
			if d.fresh != nil {
				l.wrongLocked(m, "%v got a letter again behind a new one, %v", d, d.fresh)
			}
		default:
			if d.fresh == nil {
				d.fresh = m
			}
			if last := d.last[m.from]; !m.wait && last != nil && last.number > m.number {
				l.wrongLocked(m, "%v got a letter out of order, behind\n%s", d, l.historyLocked(last))
			}
		}
		d.here[m.id], d.seen[m.id] = true, true
		if last := d.last[m.from]; !m.wait && (last == nil || last.number < m.number) {
			d.last[m.from] = m
		}
	})
}

// cameBack notes a RETURN.
func (l *ledger) cameBack(d *device, r tipt.ReturnRequest) {
	l.update(func() {
		if r.Ref == nil || l.letters[*r.Ref] == nil {
			l.wrongLocked(nil, "%v got a RETURN of what nobody sent: %+v", d, r)
			return
		}
		m := l.letters[*r.Ref]
		m.history = append(m.history, l.nowLocked("returned to %v", d))
		var answer tipt.ForwardAnswer
		if err := answer.Parse(r.Response); err != nil || answer.Err == nil || answer.Err.Code != tipt.ErrNoSuchUser {
			l.wrongLocked(m, "a letter was returned with %+v, %v", r, err)
		}
		if m.to != nobody || m.from != d.user {
			l.wrongLocked(m, "%v got this letter back", d)
		}
		l.returned[m.id] = true
	})
}

// missingLocked says which letters are still to be answered or to come, and what happened to
// the first of them.
func (l *ledger) missingLocked(devices []*device) string {
	var b strings.Builder
	missing := 0
	for _, m := range l.inOrder {
		var where []string
		switch {
		case !m.answered:
			where = append(where, "without an answer")
		case m.to == nobody && !l.returned[m.id]:
			where = append(where, "not returned")
		}
		for _, d := range devices {
			if d.user == m.to && !d.seen[m.id] {
				where = append(where, "not at "+d.String())
			}
		}
		if where == nil {
			continue
		}
		if missing++; missing <= 5 {
			fmt.Fprintf(&b, "%s:\n%s", strings.Join(where, ", "), l.historyLocked(m))
		}
	}
	if missing == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d letters are missing somewhere; the first are\n%s", missing, len(l.inOrder), &b)
}

// summary says how much the kills have put to the test.
func (l *ledger) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var again, repeated int
	for _, m := range l.inOrder {
		times := make(map[string]int)
		for _, h := range m.history {
			what, _, _ := strings.Cut(h.what, " from ") // sent, or delivered to whom
			if times[what]++; times[what] == 2 {
				if what == "sent" {
					again++
				} else {
					repeated++
				}
			}
		}
	}
	return fmt.Sprintf("%d letters; %d sent again, %d delivered again to a device", len(l.inOrder), again, repeated)
}
