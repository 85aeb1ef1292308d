package conform

import (
	"cmp"
	"time"
)

func slowScenarios() []scenario {
	return []scenario{
		{name: "silence", clauses: []string{"T-1.27", "T-1.28"}, run: checkSilence, slow: true},
	}
}

// checkSilence says nothing on one connection, and answers nothing on another.
func checkSilence(t *T) {
	answering, mute := t.member(), t.member()
	mute.mu.Lock()
	mute.mute = true
	mute.mu.Unlock()
	t.on("T-1.27")
	const slack = 30 * time.Second
	silence := cmp.Or(t.s.silence, 4*time.Minute)
	for _, c := range []*conn{answering, mute} {
		if !c.await(silence+slack, func() bool { return c.pings > 0 || c.end != nil }) || !c.open() {
			t.fatal(c, "a PING after four minutes of silence", c.state())
		}
	}
	t.on("T-1.28")
	if !mute.await(30*time.Second+slack, func() bool { return mute.end != nil }) {
		t.wrong(mute, "the connection dropped 30 s after a PING without an answer", mute.state())
	}
	answering.alive("a PING that was answered")
}
