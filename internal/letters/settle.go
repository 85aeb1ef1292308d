package letters

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// look is how often Settle looks whether everything has come: that takes a while itself.
const look = 50 * time.Millisecond

// Settle waits until every letter is answered, and has come to all devices where it is to
// come to, or until something is wrong. It returns what is missing when ctx ends first, else "".
func (l *Ledger) Settle(ctx context.Context, devices []*Device) (missing string) {
	if l.poll(ctx, func() bool { return l.missing(devices, 1) == "" }) {
		return ""
	}
	return l.Missing(devices)
}

// Answered waits until every letter is answered or something is wrong. It is false when ctx ended first.
func (l *Ledger) Answered(ctx context.Context) bool {
	return l.poll(ctx, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !slices.ContainsFunc(l.inOrder, func(m *Letter) bool { return m.state == open })
	})
}

// Come waits until a letter has come to its recipient's devices or something is wrong. It
// is false when ctx ended first.
func (l *Ledger) Come(ctx context.Context, m *Letter, devices []*Device) bool {
	return l.poll(ctx, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return m.missingAtLocked(devices) == nil
	})
}

// poll waits until something is so, or something is wrong. It is false when ctx ended first.
func (l *Ledger) poll(ctx context.Context, isSo func() bool) bool {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for !isSo() && len(l.Wrong()) == 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Missing says what is still to happen to which letters; "" when there is nothing.
func (l *Ledger) Missing(devices []*Device) string { return l.missing(devices, 5) }

// Judge judges what can be judged only when nothing is on its way any more.
func (l *Ledger) Judge() { l.update(l.judgeLocked) }

func (l *Ledger) judgeLocked() {
	for _, m := range l.disorder {
		if !m.mayBeLate() {
			l.wrongLocked(m, "a letter came out of order, %s", m.disorder)
		}
	}
	l.disorder = nil
	for _, m := range l.inOrder {
		switch {
		case !m.arrived:
		case m.returnedForSure() && !m.acceptedAnew():
			l.wrongLocked(m, "a letter arrived and came back")
		case m.state == refused && !m.unknown:
			l.wrongLocked(m, "a letter arrived although it was refused each time")
		}
	}
}

// missing says which letters are still to be answered or to come, and what happened to
// the first few of them.
func (l *Ledger) missing(devices []*Device, few int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	missing := 0
	for _, m := range l.inOrder {
		where := m.missingAtLocked(devices)
		if where == nil {
			continue
		}
		if missing++; missing <= few {
			fmt.Fprintf(&b, "%s:\n%s", strings.Join(where, ", "), l.historyLocked(m))
		}
	}
	if missing == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d letters are missing somewhere; the first are\n%s", missing, len(l.inOrder), &b)
}

// missingAtLocked says what is still to happen to a letter.
func (m *Letter) missingAtLocked(devices []*Device) (where []string) {
	switch {
	case m.state == refused:
		return nil
	case m.state == open:
		return []string{"without an answer"}
	case len(m.returns) == 0 && m.To.User == Nobody:
		return []string{"not returned"}
	}
	for _, d := range devices {
		switch {
		case len(m.returns) > 0 && d.User == m.From && !d.back[m.ID]:
			where = append(where, "not back at "+d.String())
		case len(m.returns) == 0 && d.User == m.To && !d.seen[m.ID]:
			where = append(where, "not at "+d.String())
		}
	}
	return where
}

// Forget drops the letters that were there at the last Forget and that have come to these devices. Those to a
// user who has none of them are kept.
func (l *Ledger) Forget(devices []*Device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inOrder = slices.DeleteFunc(l.inOrder, func(m *Letter) bool {
		old := m.old
		m.old = true
		awaited := m.To.User != Nobody && len(m.returns) == 0 &&
			!slices.ContainsFunc(devices, func(d *Device) bool { return d.User == m.To })
		if !old || awaited && m.state != refused || m.missingAtLocked(devices) != nil {
			return false
		}
		delete(l.letters, m.ID)
		for _, d := range devices {
			delete(d.seen, m.ID)
			delete(d.back, m.ID)
			for _, b := range m.returns {
				delete(d.seen, b.id)
			}
		}
		return true
	})
	if len(l.inOrder) > 0 && len(l.inOrder[0].history) > 0 {
		l.lives = slices.Clone(l.lives[sortedFrom(l.lives, l.inOrder[0].history[0].at-lead):])
	}
}

// counts are how much a load has put to the test.
type counts struct {
	letters, sentAgain, refusals, repeated, returned, timeouts int
}

// Summary says how much the load has put to the test.
func (l *Ledger) Summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	return fmt.Sprintf("%d letters, %d accepted; %d sent again, %d refusals, %d delivered again to a device, %d returned, %d of them NODE_TIMEOUT",
		c.letters, l.answers, c.sentAgain, c.refusals, c.repeated, c.returned, c.timeouts)
}
