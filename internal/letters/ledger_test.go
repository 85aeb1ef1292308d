package letters

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
)

// wavering excuses everything from a time on.
type wavering struct {
	NoExcuses
	full time.Time // the disk, last
}

func (w *wavering) Wavered(_ tipt.NodeName, since time.Time) bool { return w.full.After(since) }

// TestLate has a letter come behind a later one. That is right where the node may have refused the attempt
// that had no answer, which it may do long after its sender has given up waiting: it was stopped, say.
func TestLate(t *testing.T) {
	ada, bob := tipt.Address{User: "ada", Node: "a.example"}, tipt.Address{User: "bob", Node: "a.example"}
	for _, test := range []struct {
		name string
		full string // before what the node's disk is full, for a moment
		lost bool   // the first letter's first attempt has no answer
		want int    // mistakes
	}{
		{"never full", "", true, 1},
		{"full before it was sent", "sent", true, 1},
		{"full before the connection ended", "lost", true, 0},
		{"full while the node had not read it", "again", true, 0},
		{"full when it had been accepted", "judged", true, 1},
		{"answered", "again", false, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				excuses := new(wavering)
				l := New(excuses)
				step := func(name string) {
					time.Sleep(time.Millisecond)
					if test.full == name {
						excuses.full = time.Now()
					}
					time.Sleep(time.Millisecond)
				}
				var letters []*Letter
				device, c := NewDevice(bob, "desk"), &Conn{Local: "here"}
				l.connected(device)
				step("sent")
				for i := range 2 {
					m := &Letter{ID: tipt.NewMessageID(), From: ada, To: bob, Number: i + 1}
					l.enter(m)
					l.sent(m, c)
					letters = append(letters, m)
				}
				step("lost")
				if test.lost {
					for _, m := range letters {
						l.lost(m, "the connection ended")
					}
				}
				step("again")
				deliver := func(m *Letter) {
					l.delivered(device, tipt.DeliverRequest{ID: m.ID, From: ada.String(), Message: m.content()})
				}
				deliver(letters[1])
				for _, m := range letters {
					l.answer(m, nil)
				}
				deliver(letters[0])
				step("judged")
				l.Judge()
				if wrong := l.Wrong(); len(wrong) != test.want {
					t.Errorf("%d mistakes, want %d: %v", len(wrong), test.want, wrong)
				}
			})
		})
	}
}
