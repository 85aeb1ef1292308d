package client

import (
	"math/rand/v2"
	"time"
)

// A backoff makes the pauses between attempts: exponential, with full jitter,
// so that clients which lost their node together do not come back together
// (section 7).
type backoff struct {
	min, max time.Duration
	attempts int
}

// window is the longest that the next pause may be.
func (b *backoff) window() time.Duration {
	w := b.min
	for range b.attempts {
		if w *= 2; w >= b.max {
			return b.max
		}
	}
	return w
}

// next is how long to pause before the next attempt.
func (b *backoff) next() time.Duration {
	w := b.window()
	b.attempts++
	return rand.N(w)
}
