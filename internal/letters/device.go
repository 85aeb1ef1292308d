package letters

import (
	"bytes"
	"errors"
	"slices"

	"github.com/tipt/tipt-go"
)

// A Device is one of those that letters come to.
type Device struct {
	User tipt.Address
	Name string

	// Guarded by the ledger's mu.
	seen map[tipt.MessageID]bool  // what has ever come, RETURNs by their own id
	back map[tipt.MessageID]bool  // letters that came back
	last map[tipt.Address]*Letter // by sender: the newest with `wait` false
	// The following are of the connection at hand.
	here  map[tipt.MessageID]bool // what came on it
	fresh *Letter                 // the first that had not come before
}

// NewDevice returns a device to which nothing has come.
func NewDevice(user tipt.Address, name string) *Device {
	return &Device{
		User: user,
		Name: name,
		seen: make(map[tipt.MessageID]bool),
		back: make(map[tipt.MessageID]bool),
		last: make(map[tipt.Address]*Letter),
	}
}

func (d *Device) String() string { return d.User.String() + "/" + d.Name }

// connected notes that a device begins a new connection.
func (l *Ledger) connected(d *Device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.here = make(map[tipt.MessageID]bool)
	d.fresh = nil
}

// cameLocked notes that what the id names, which is m or a RETURN of it, has come to a
// device. It reports whether that is the first time.
func (l *Ledger) cameLocked(d *Device, m *Letter, id tipt.MessageID) (first bool) {
	first = !d.seen[id]
	switch {
	case d.here[id]:
		l.wrongLocked(m, "%v got a letter, or its RETURN, twice on one connection", d)
	case !first && d.fresh != nil:
		// The device's place may be lost with the node, so it gets some again; but
		// then before all that is new, or the letter was stored twice.
		l.wrongLocked(m, "%v got a letter, or its RETURN, again behind a new one, %v", d, d.fresh)
	case first && d.fresh == nil:
		d.fresh = m
	}
	if !first {
		l.counts.repeated++
	}
	d.here[id], d.seen[id] = true, true
	return first
}

// delivered notes a DELIVER and judges it: its content, its order and its repetition.
func (l *Ledger) delivered(d *Device, r tipt.DeliverRequest) {
	l.update(func() {
		m := l.letters[r.ID]
		if m == nil {
			l.wrongLocked(nil, "%v got %s from %s, which nobody sent", d, r.ID, r.From)
			return
		}
		l.noteLocked(m, "delivered to %v", d)
		if r.From != m.From.String() || m.To != d.User || !bytes.Equal(r.Message, m.content()) {
			l.wrongLocked(m, "%v got a letter from %s that is not what %s sent", d, r.From, m.From)
		}
		m.arrived = true
		first := l.cameLocked(d, m, m.ID)
		last := d.last[m.From]
		switch {
		case m.Wait:
		case last == nil || last.Number < m.Number:
			d.last[m.From] = m
		case first:
			m.disorder = "behind\n" + l.historyLocked(last) // to be judged when all has come back that does
			l.disorder = append(l.disorder, m)
		}
	})
}

// cameBack notes a RETURN and judges it.
func (l *Ledger) cameBack(d *Device, r tipt.ReturnRequest) {
	l.update(func() {
		if r.Ref == nil || l.letters[*r.Ref] == nil {
			l.wrongLocked(nil, "%v got a RETURN of what nobody sent: %+v", d, r)
			return
		}
		m := l.letters[*r.Ref]
		why := returnError(r)
		l.noteLocked(m, "returned to %v, %s of %v: %v", d, r.ID, r.Time.UTC().Format("15:04:05.000"), why)
		if m.From != d.User || r.Node != string(m.To.Node) {
			l.wrongLocked(m, "%v got this letter back, and from %s", d, r.Node)
		}
		b := back{id: r.ID}
		switch {
		case r.HasCode:
			b.code = r.Code
			if !l.excuses.Returned(m.From.Node, m.To.Node, r.Code) {
				l.wrongLocked(m, "a letter came back for no reason: %v", why)
			}
		case !errors.Is(why, tipt.ErrNoSuchUser) || m.To.User != Nobody:
			l.wrongLocked(m, "a letter came back for no reason: %v", why)
		}
		if m.Wait {
			l.wrongLocked(m, "a letter with wait came back")
		}
		if l.cameLocked(d, m, r.ID) {
			d.back[m.ID] = true
			l.returnLocked(m, b)
		}
	})
}

// returnLocked notes a RETURN, unless another device has got it before.
func (l *Ledger) returnLocked(m *Letter, b back) {
	if slices.Contains(m.returns, b) {
		return
	}
	m.returns = append(m.returns, b)
	l.counts.returned++
	if b.code == tipt.ErrNodeTimeout {
		l.counts.timeouts++
	}
}

// returnError is why a letter came back.
func returnError(r tipt.ReturnRequest) error {
	if r.HasCode {
		return r.Code
	}
	var answer tipt.ForwardAnswer
	if err := answer.Parse(r.Response); err != nil {
		return err
	}
	if answer.Err == nil {
		return errors.New("the destination's answer has no error")
	}
	return answer.Err
}
