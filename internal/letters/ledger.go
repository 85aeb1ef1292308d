package letters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
)

// Excuses say what is allowed to go wrong at the moment.
type Excuses interface {
	// Refused reports whether a node may refuse a request about another, or about
	// itself, with that code.
	Refused(by, about tipt.NodeName, code tipt.ErrorCode) bool
	// Returned reports whether a letter from one node to another may come back with
	// that code.
	Returned(from, to tipt.NodeName, code tipt.ErrorCode) bool
	// Wavered reports whether a node may have refused, since then, one letter and
	// accepted a later one.
	Wavered(node tipt.NodeName, since time.Time) bool
}

// NoExcuses allows nothing.
type NoExcuses struct{}

// Refused is false.
func (NoExcuses) Refused(_, _ tipt.NodeName, _ tipt.ErrorCode) bool { return false }

// Returned is false.
func (NoExcuses) Returned(_, _ tipt.NodeName, _ tipt.ErrorCode) bool { return false }

// Wavered is false.
func (NoExcuses) Wavered(tipt.NodeName, time.Time) bool { return false }

// A Ledger knows all letters of a load. Its methods may be called concurrently.
type Ledger struct {
	excuses Excuses
	began   time.Time
	leaving chan struct{} // closed when the participants are to leave

	mu       sync.Mutex // guards the following fields, and those of letters and devices that say so
	changed  chan struct{}
	letters  map[tipt.MessageID]*Letter
	inOrder  []*Letter
	disorder []*Letter // came behind later ones, not judged yet
	keys     map[tipt.NodeName]string
	answers  int
	closed   bool        // no new letters are made
	lives    []happening // what was done to the nodes
	wrong    []string
	counts   counts
}

// New returns an empty ledger.
func New(e Excuses) *Ledger {
	return &Ledger{
		excuses: e,
		began:   time.Now(),
		leaving: make(chan struct{}),
		changed: make(chan struct{}),
		letters: make(map[tipt.MessageID]*Letter),
		keys:    make(map[tipt.NodeName]string),
	}
}

// update changes the ledger and wakes those who await something.
func (l *Ledger) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	l.changed = make(chan struct{})
}

// await waits until something is so. It is false when ctx ended first.
func (l *Ledger) await(ctx context.Context, isSo func() bool) bool {
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

// Pass waits until so many more letters are accepted, no more are made, or something is wrong. It is
// false when ctx ended first.
func (l *Ledger) Pass(ctx context.Context, letters int) bool {
	l.mu.Lock()
	until := l.answers + letters
	l.mu.Unlock()
	return l.await(ctx, func() bool { return l.answers >= until || l.closed || len(l.wrong) > 0 })
}

// Close has no more letters made, until Reopen.
func (l *Ledger) Close() { l.update(func() { l.closed = true }) }

// Reopen has letters made again.
func (l *Ledger) Reopen() { l.update(func() { l.closed = false }) }

// AwaitClose waits until Close. It is false when ctx ended first.
func (l *Ledger) AwaitClose(ctx context.Context) bool {
	return l.await(ctx, func() bool { return l.closed })
}

// Dismiss has the participants take what they have and leave for good. Call it once.
func (l *Ledger) Dismiss() { close(l.leaving) }

// Leaving is closed by Dismiss.
func (l *Ledger) Leaving() <-chan struct{} { return l.leaving }

// Note adds what was done to nodes, or between them, to the history of the letters from
// one of them to one of them.
func (l *Ledger) Note(nodes []tipt.NodeName, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.nowLocked(format, args...)
	h.nodes = nodes
	l.lives = append(l.lives, h)
}

// Fail notes what must not be.
func (l *Ledger) Fail(format string, args ...any) {
	l.update(func() { l.wrongLocked(nil, format, args...) })
}

// FailAbout is Fail with the history of a letter.
func (l *Ledger) FailAbout(id tipt.MessageID, format string, args ...any) {
	l.update(func() { l.wrongLocked(l.letters[id], format, args...) })
}

// Wrong returns what was noted so far that must not be.
func (l *Ledger) Wrong() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.wrong)
}

func (l *Ledger) nowLocked(format string, args ...any) happening {
	return happening{at: time.Since(l.began), what: fmt.Sprintf(format, args...)}
}

func (l *Ledger) noteLocked(m *Letter, format string, args ...any) {
	m.history = append(m.history, l.nowLocked(format, args...))
}

// wrongLocked notes what must not be.
func (l *Ledger) wrongLocked(about *Letter, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if about != nil {
		text += "\n" + l.historyLocked(about)
	}
	l.wrong = append(l.wrong, text)
}

// lead is how long before a letter was written the history of the nodes matters to it.
const lead = 5 * time.Second

// historyLocked is what happened to a letter, between what was done to the nodes.
func (l *Ledger) historyLocked(about *Letter) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %v:\n", about)
	lives := l.lives
	if len(about.history) > 0 {
		lives = lives[sortedFrom(lives, about.history[0].at-lead):]
	}
	history := slices.Clone(about.history)
	for _, h := range lives {
		if about.concerns(h.nodes) {
			history = append(history, h)
		}
	}
	slices.SortStableFunc(history, func(a, b happening) int { return cmp.Compare(a.at, b.at) })
	for _, h := range history {
		mark := "  "
		if h.nodes != nil {
			mark = "     -"
		}
		fmt.Fprintf(&b, "    %12.3f ms%s%s\n", float64(h.at)/1e6, mark, h.what)
	}
	return b.String()
}

// sortedFrom returns the index of the first that is not before a time.
func sortedFrom(h []happening, at time.Duration) int {
	i, _ := slices.BinarySearchFunc(h, at, func(h happening, at time.Duration) int { return cmp.Compare(h.at, at) })
	return i
}

// enter takes a new letter up, or returns false when no more are made.
func (l *Ledger) enter(m *Letter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.enterLocked(m)
	return true
}

func (l *Ledger) enterLocked(m *Letter) {
	l.letters[m.ID] = m
	l.inOrder = append(l.inOrder, m)
	l.counts.letters++
}

// isClosed reports whether no more letters are made.
func (l *Ledger) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// stillOpen returns those that have no answer.
func (l *Ledger) stillOpen(letters []*Letter) []*Letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(letters, func(m *Letter) bool { return m.state != open })
}

// sent notes that a letter is about to be sent.
func (l *Ledger) sent(m *Letter, c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.sent++; m.sent == 2 {
		l.counts.sentAgain++
	}
	m.last = time.Now()
	l.noteLocked(m, "sent from %s", c.Local)
}

// lost notes that a FORWARD will not be answered, and why.
func (l *Ledger) lost(m *Letter, why string) {
	l.update(func() {
		m.unknown = true
		if m.unheard.IsZero() {
			m.unheard = m.last
		}
		l.waverLocked(m)
		l.noteLocked(m, "no answer: %s", why)
	})
}

// waverLocked notes whether an attempt that was not answered may have been refused before later letters
// were accepted. Until the letter is accepted it may still happen: the node may not have read it yet when
// its sender gave the connection up.
func (l *Ledger) waverLocked(m *Letter) {
	m.late = m.late || !m.unheard.IsZero() && l.excuses.Wavered(m.From.Node, m.unheard)
}

// answer notes what a FORWARD was answered. It reports whether the letter is to be sent again.
func (l *Ledger) answer(m *Letter, err error) (again bool) {
	l.update(func() {
		if err == nil {
			l.noteLocked(m, "accepted")
			if m.state == open {
				l.waverLocked(m)
				m.state = accepted
				l.answers++
			}
			return
		}
		l.noteLocked(m, "refused: %v", err)
		if m.state != open {
			return // by another attempt
		}
		refusal, coded := errors.AsType[*tipt.Error](err)
		if !coded || !l.excuses.Refused(m.From.Node, m.To.Node, refusal.Code) {
			l.wrongLocked(m, "a letter was refused: %v", err)
			return
		}
		m.unknown = m.unknown || refusal.Code == tipt.ErrNodeTimeout
		l.counts.refusals++
		// One with `wait` false must not be sent again behind those that were
		// sent after it.
		if again = m.Wait && m.Number%2 == 0; !again {
			m.state = refused
		}
	})
	return again
}

// sawKey notes the primary key of a node, which never changes.
func (l *Ledger) sawKey(node tipt.NodeName, fingerprint string) {
	l.update(func() {
		if was := l.keys[node]; was != "" && was != fingerprint {
			l.wrongLocked(nil, "the key of %s was %s and is %s", node, was, fingerprint)
		}
		l.keys[node] = fingerprint
	})
}
