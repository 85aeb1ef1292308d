package client

import (
	"testing"
	"time"

	"github.com/tipt/tipt-go"
)

func TestBackoffHasFullJitter(t *testing.T) {
	b := backoff{min: tipt.ReconnectMin, max: tipt.ReconnectMax, attempts: 1000}
	shortest, longest := b.max, time.Duration(0)
	for range 100 {
		d := b.next()
		shortest, longest = min(shortest, d), max(longest, d)
	}
	if shortest > b.max/4 || longest < b.max/4*3 || longest > b.max {
		t.Errorf("100 pauses are between %v and %v, want them all over 0 to %v", shortest, longest, b.max)
	}
}
