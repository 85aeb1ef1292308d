package limit

import (
	"fmt"
	"testing"
	"time"
)

var start = time.Unix(1_800_000_000, 0)

func TestRates(t *testing.T) {
	r := NewRates[string](60, time.Minute)
	for i := range 60 {
		if wait := r.Take("a", 1, start); wait != 0 {
			t.Fatalf("number %d waits %v", i, wait)
		}
	}
	if wait := r.Take("a", 1, start); wait != time.Second {
		t.Errorf("one too many waits %v, want 1 s", wait)
	}
	if wait := r.Take("b", 1, start); wait != 0 {
		t.Errorf("another key waits %v", wait)
	}
	if wait := r.Take("a", 1, start.Add(time.Second)); wait != 0 {
		t.Errorf("a second later waits %v", wait)
	}
	if wait := r.Take("a", 1000, start.Add(time.Hour)); wait != 0 {
		t.Errorf("more than all waits %v with a full bucket", wait)
	}
	if wait := r.Take("a", 1000, start.Add(time.Hour+30*time.Second)); wait != 30*time.Second {
		t.Errorf("more than all waits %v with half a bucket, want 30 s", wait)
	}
	if wait := NewRates[int](0, time.Minute).Take(1, 1<<40, start); wait != 0 {
		t.Errorf("no limit waits %v", wait)
	}
}

func TestRatesAreBounded(t *testing.T) {
	r := NewRates[int](10, time.Minute)
	for i := range 2*maxKeys + 10 {
		r.Take(i, 1, start)
	}
	if n := len(r.buckets); n > maxKeys {
		t.Errorf("%d buckets", n)
	}
}

// TestTrim: what is full again is forgotten, what is not counts on.
func TestTrim(t *testing.T) {
	r := NewRates[string](60, time.Minute)
	r.Take("much", 60, start)
	r.Take("little", 1, start)
	r.Trim(start.Add(time.Second))
	if _, kept := r.buckets["little"]; kept || len(r.buckets) != 1 {
		t.Errorf("kept: %v", r.buckets)
	}
	if wait := r.Take("much", 2, start.Add(time.Second)); wait != time.Second {
		t.Errorf("waits %v, want 1 s", wait)
	}
}

func TestCircles(t *testing.T) {
	c := NewCircles[string](3)
	for i := range 3 {
		if wait := c.Meet("a", fmt.Sprint(i), start); wait != 0 {
			t.Fatalf("number %d waits %v", i, wait)
		}
	}
	if wait := c.Meet("a", "3", start); wait != 8*time.Hour {
		t.Errorf("one too many waits %v, want 8 h", wait)
	}
	if wait := c.Meet("a", "1", start); wait != 0 {
		t.Errorf("one who is known waits %v", wait)
	}
	if wait := c.Meet("b", "3", start); wait != 0 {
		t.Errorf("another key's waits %v", wait)
	}
	if wait := c.Meet("a", "3", start.Add(8*time.Hour)); wait != 0 {
		t.Errorf("8 hours later waits %v", wait)
	}
	// Known for a month at least, also from one period into the next.
	if wait := c.Meet("a", "0", start.Add(period)); wait != 0 {
		t.Errorf("a month later one who was known waits %v", wait)
	}
	for i := range 3 {
		c.Meet("a", fmt.Sprint("new", i), start.Add(period))
	}
	if wait := c.Meet("a", "2", start.Add(period)); wait != 0 {
		t.Errorf("one who was known waits %v when new ones are used up", wait)
	}
}
