// Package letters puts nodes under a load of messages and judges what becomes of them, for
// tests in which processes, networks and disks fail. Participants write letters to each
// other and take what comes; the ledger knows all letters, what was answered, what has come
// where, and what docs/protocol.md does not allow of that.
package letters

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tipt/tipt-go"
)

// Nobody is a user whom a load writes to and who is not registered on any node: what
// is sent to it comes back as a RETURN.
const Nobody tipt.UserName = "nobody"

// A Letter is one message of a load.
type Letter struct {
	ID       tipt.MessageID
	From, To tipt.Address
	Wait     bool
	Number   int // among those with the same From, To and Wait
	padding  int
	body     []byte // of its FORWARD, the same in each attempt

	// Guarded by the ledger's mu.
	state    state
	sent     int       // how often
	last     time.Time // when
	unheard  time.Time // when the first attempt was sent that had no answer; zero for none
	late     bool      // it may have been refused, unheard, before later ones were accepted
	unknown  bool      // an attempt may have stored it, or it was accepted
	arrived  bool      // at a device of its recipient
	returns  []back    // what came back, each once
	history  []happening
	disorder string // behind which later one it came
	old      bool   // it was there at the last Forget
}

// A state is what a letter's sender knows of it.
type state uint8

const (
	open     state = iota // it has no answer that counts
	accepted              // from here on the nodes are responsible
	refused               // its sender has given it up
)

// A back is a RETURN of a letter.
type back struct {
	id   tipt.MessageID
	code tipt.ErrorCode // ErrNodeTimeout: it may have arrived all the same
}

// content is what is in a letter, so that one can be told from any other.
func (m *Letter) content() []byte {
	head := fmt.Sprintf("%s: from %s to %s, wait %t, number %d. ", m.ID, m.From, m.To, m.Wait, m.Number)
	return append([]byte(head), bytes.Repeat([]byte{byte(m.Number)}, m.padding)...)
}

func (m *Letter) String() string {
	return fmt.Sprintf("letter %s from %s to %s, wait %t, number %d, %d bytes of padding", m.ID, m.From, m.To, m.Wait, m.Number, m.padding)
}

// returnedForSure reports whether the letter came back with the word that it did not arrive.
func (m *Letter) returnedForSure() bool {
	for _, b := range m.returns {
		if b.code != tipt.ErrNodeTimeout {
			return true
		}
	}
	return false
}

// acceptedAnew reports whether the letter may have been accepted once more after it
// came back: its sender did not hear of the first answer and sent it again. Then it may
// come as well.
func (m *Letter) acceptedAnew() bool { return m.sent > 1 && len(m.returns) > 0 }

// mayBeLate reports whether the letter may come behind later ones, as it may have been
// accepted behind them.
func (m *Letter) mayBeLate() bool { return m.late || m.acceptedAnew() }

// A happening is a line of a history.
type happening struct {
	at    time.Duration // since the ledger began
	what  string
	nodes []tipt.NodeName // to which it was done; nil: to the letter
}

// concerns reports whether what is done to nodes may matter to the letter.
func (m *Letter) concerns(nodes []tipt.NodeName) bool {
	for _, n := range nodes {
		if n != m.From.Node && n != m.To.Node {
			return false
		}
	}
	return true
}
