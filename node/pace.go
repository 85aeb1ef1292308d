package node

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// paceLook is how often the pace of collections is looked at.
	paceLook = 250 * time.Millisecond
	// paceSecond is how many collections a second are few enough.
	paceSecond = 4
	// paceHeap is the size of the heap, in bytes, up to which there may be more garbage in it than
	// objects that are in use.
	paceHeap = 32 << 20
	// pacePlain is GOGC as Go has it by itself, and pacePercent the most that it is made.
	pacePlain   = 100
	pacePercent = 800
)

// paceGarbage has Go collect garbage less often while the heap is small and much is allocated, in
// a process that is the node's alone.
//
// By itself Go collects whenever there is as much garbage as there is in use, which with the 3 MiB of a
// busy node is thirty times a second. A quiet node is left at that, as is one whose
// connections fill that heap: neither would gain anything by holding more memory.
func paceGarbage(ctx context.Context) error {
	percent := debug.SetGCPercent(pacePlain)
	if percent != pacePlain {
		debug.SetGCPercent(percent) // the operator's, with GOGC
		return nil
	}
	defer debug.SetGCPercent(pacePlain)
	look := time.NewTicker(paceLook)
	defer look.Stop()
	began, before := time.Now(), int64(0)
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return nil
		case now = <-look.C:
		}
		live, allocated := allocations()
		second := int64(float64(allocated-before) / now.Sub(began).Seconds())
		began, before = now, allocated
		// To set it stops the world for a moment, so nearly right is good enough.
		if p := pace(live, second); p == pacePlain && percent != p || p*4 > percent*5 || p*5 < percent*4 {
			percent = p
			debug.SetGCPercent(p)
		}
	}
}

// allocations returns how much of the heap the last collection has found in use, and how much was ever
// allocated, in bytes.
func allocations() (live, allocated int64) {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()), int64(s[1].Value.Uint64())
}

// pace returns GOGC for a heap with so many bytes in use, in which so many are allocated a second.
func pace(live, second int64) int {
	if live <= 0 {
		return pacePlain // nothing was collected yet
	}
	garbage := min(second/paceSecond, paceHeap-live)
	return int(min(max(100*garbage/live, pacePlain), pacePercent))
}
