package conform

import (
	"cmp"
	"slices"
	"time"
)

func slowScenarios() []scenario {
	return []scenario{
		{name: "silence", clauses: []string{"T-1.27", "T-1.28", "T-1.144"}, run: checkSilence, slow: true},
	}
}

// seenLate is how long a node may take to see that a time is over.
const seenLate = 15 * time.Second

// checkSilence says nothing on one connection, answers nothing on another, and on a third answers PINGs by
// requests.
func checkSilence(t *T) {
	answering, mute, asking := t.member(), t.member(), t.member()
	for _, c := range []*conn{mute, asking} {
		c.mu.Lock()
		c.mute = true
		c.mu.Unlock()
	}
	t.on("T-1.27")
	const slack = 30 * time.Second
	silence := cmp.Or(t.s.silence, 4*time.Minute)
	for _, c := range []*conn{answering, mute, asking} {
		if !c.await(silence+slack, func() bool { return c.pings > 0 || c.end != nil }) || !c.open() {
			t.fatal(c, "a PING after four minutes of silence", c.state())
		}
	}
	pinged := mute.lastPing()
	t.pause(time.Until(pinged.Add(25 * time.Second)))
	t.on("T-1.144")
	asking.alive("a PING that a request answers in time")
	t.on("T-1.28")
	t.pause(time.Until(pinged.Add(29 * time.Second)))
	t.check(mute, mute.open(), "a connection for 30 s after a PING that is not answered", mute.state())
	if !mute.await(time.Until(pinged.Add(30*time.Second+seenLate)), func() bool { return mute.end != nil }) {
		t.wrong(mute, "the connection dropped 30 s after a PING without an answer", mute.state())
	}
	answering.alive("a PING that was answered")
	t.on("T-1.144")
	asking.alive("PINGs that requests answer")
}

// lastPing returns when the last PING came, or the zero time.
func (c *conn) lastPing() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range slices.Backward(c.crossed) {
		if x.What == "PING" && !x.Sent {
			return c.opened.Add(x.At)
		}
	}
	return time.Time{}
}
