// Package limit bounds how much each of many may do: so many things a minute
// or a day ([Rates]), and with so many others a day ([Circles]). What it remembers is
// bounded too, and lost with the process.
package limit

import (
	"hash/maphash"
	"sync"
	"time"
)

// maxKeys is how many are remembered at once.
const maxKeys = 100_000

// Rates is a token bucket for each key: Count at once, and as many again in the time
// Per.
type Rates[K comparable] struct {
	count float64
	per   time.Duration

	mu      sync.Mutex // guards the following field
	buckets map[K]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

// NewRates returns buckets of count tokens that fill in the time per. With a
// count of 0 they never run dry.
func NewRates[K comparable](count int64, per time.Duration) *Rates[K] {
	return &Rates[K]{count: float64(count), per: per, buckets: make(map[K]bucket)}
}

// Take takes n tokens and returns 0, or takes none and returns how long it
// takes until they are there. More than the bucket holds count as all of it.
func (r *Rates[K]) Take(key K, n int64, now time.Time) (wait time.Duration) {
	if r.count == 0 || n <= 0 {
		return 0
	}
	want := min(float64(n), r.count)
	r.mu.Lock()
	defer r.mu.Unlock()
	b, known := r.buckets[key]
	if !known {
		r.makeRoomLocked(now)
		b = bucket{tokens: r.count, at: now}
	}
	b.tokens = r.filled(b, now)
	b.at = now
	if b.tokens < want {
		r.buckets[key] = b
		return max(time.Duration((want-b.tokens)/r.count*float64(r.per)), time.Millisecond)
	}
	b.tokens -= want
	r.buckets[key] = b
	return 0
}

func (r *Rates[K]) filled(b bucket, now time.Time) float64 {
	since := max(now.Sub(b.at), 0)
	return min(b.tokens+r.count*float64(since)/float64(r.per), r.count)
}

// makeRoomLocked forgets full buckets, which say nothing; where there are none, some.
func (r *Rates[K]) makeRoomLocked(now time.Time) {
	if len(r.buckets) < maxKeys {
		return
	}
	for key, b := range r.buckets {
		if r.filled(b, now) >= r.count {
			delete(r.buckets, key)
		}
	}
	for key := range r.buckets {
		if len(r.buckets) < maxKeys*9/10 {
			return
		}
		delete(r.buckets, key)
	}
}

// Trim forgets full buckets, which say nothing, and gives the memory back.
func (r *Rates[K]) Trim(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := make(map[K]bucket) // to delete from a map would keep its memory
	for key, b := range r.buckets {
		if r.filled(b, now) < r.count {
			kept[key] = b
		}
	}
	r.buckets = kept
}

// Circles remembers with whom each key has to do, and bounds how many are new
// to it in a day.
type Circles[K comparable] struct {
	rates *Rates[K]
	seed  maphash.Seed

	mu      sync.Mutex // guards the following field
	circles map[K]*circle
}

// A circle is what one key has to do with: in the present period, and in
// the one before it.
type circle struct {
	present, past map[uint64]struct{}
	since         time.Time
}

// period is how long somebody is remembered, at least.
const period = 30 * 24 * time.Hour

// NewCircles allows count new others a day. With a count of 0 all are allowed.
func NewCircles[K comparable](count int64) *Circles[K] {
	return &Circles[K]{
		rates:   NewRates[K](count, 24*time.Hour),
		seed:    maphash.MakeSeed(),
		circles: make(map[K]*circle),
	}
}

// Meet notes that key has to do with other and returns 0, or how long it takes until
// one more that is new to it is allowed.
func (c *Circles[K]) Meet(key K, other string, now time.Time) (wait time.Duration) {
	if c.rates.count == 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.circles[key]
	if known == nil {
		for k := range c.circles {
			if len(c.circles) < maxKeys {
				break
			}
			delete(c.circles, k)
		}
		known = &circle{present: make(map[uint64]struct{}), since: now}
		c.circles[key] = known
	}
	if now.Sub(known.since) >= period {
		known.past, known.present, known.since = known.present, make(map[uint64]struct{}), now
	}
	hash := maphash.String(c.seed, other)
	if _, ok := known.present[hash]; ok {
		return 0
	}
	if _, ok := known.past[hash]; !ok {
		if wait := c.rates.Take(key, 1, now); wait > 0 {
			return wait
		}
	}
	known.present[hash] = struct{}{}
	return 0
}
