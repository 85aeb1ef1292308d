package conform

import (
	"cmp"
	"time"
)

func slowScenarios() []scenario {
	return []scenario{
		{name: "silence", clauses: []string{"T-1.27", "T-1.28", "T-1.144"}, run: checkSilence, slow: true},
	}
}

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
	t.on("T-1.144")
	for range 4 { // so that it says something within 30 s of each PING
		t.pause(9 * time.Second)
		asking.alive("PINGs that requests answer")
	}
	t.on("T-1.28")
	if !mute.await(slack, func() bool { return mute.end != nil }) {
		t.wrong(mute, "the connection dropped 30 s after a PING without an answer", mute.state())
	}
	answering.alive("a PING that was answered")
}
