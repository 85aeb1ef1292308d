package node

import (
	"bytes"
	"context"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

const (
	// memoryLook is how often the memory is looked at.
	memoryLook = time.Second
	// memoryGrowth is by how much what it has counts as more at each look, so that
	// those who come to fill the buffers do not raise the limit first.
	memoryGrowth = 1 << 20
	// memoryPause lies between two times that memory is given back: each costs two collections.
	memoryPause = 20 * time.Second
	// memoryKept is the part of what was left last that more of it, or less in use, is not worth them.
	memoryKept = 16
	// connectionMemory is what a connection takes, about.
	connectionMemory = 8 << 10
)

// keepSmall keeps the memory of the process small, which is the node's alone. After a peak Go
// would hold what is free for minutes: it collects nothing while nothing is allocated, and
// keeps for the next peak what it has collected. SQLite keeps its caches.
func (n *Node) keepSmall(ctx context.Context) error {
	limited := debug.SetMemoryLimit(-1) == math.MaxInt64 // not the operator's, with GOMEMLIMIT
	var freed time.Time
	var base int64       // resident bytes while little is buffered
	var left, load int64 // bytes that there were then, and of those what was in use
	look := time.NewTicker(memoryLook)
	defer look.Stop()
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return nil
		case now = <-look.C:
		}
		held := max(resident(), mapped())
		if n.budget.Used() < n.config.MaxBuffered/64 {
			if base += memoryGrowth; base > held || base == memoryGrowth {
				base = held
			}
		}
		if limited && base > 0 {
			// Go would let the heap grow to twice of what is in use, also where that is large without the
			// buffers; near a limit it collects more often instead. Half as much as all buffers is for garbage
			// and for SQLite's caches: with little of it Go would do nothing but collect, and what it needs
			// to know of much more it would never give back.
			debug.SetMemoryLimit(base + n.config.MaxBuffered/2*3 - (held - mapped()))
		}
		inUse := n.budget.Used() + int64(n.connections())*connectionMemory
		if max(held-left, load-inUse) <= left/memoryKept || now.Sub(freed) < memoryPause {
			continue
		}
		if err := n.freeMemory(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("give memory back", "error", err)
		}
		freed, left, load = now, max(resident(), mapped()), inUse
		n.log.Debug("memory given back", "before", held, "after", left)
	}
}

// connections is how many there are.
func (n *Node) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sessions)
}

// mapped is what Go's runtime has of the system, in bytes.
func mapped() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}

// Memory is how much memory a node holds, in bytes.
type Memory struct {
	Resident int64 `json:"resident"` // of the whole process; 0 where the system does not tell
	Objects  int64 `json:"objects"`  // of Go's heap, those that nobody uses any more included
	Stacks   int64 `json:"stacks"`   // of goroutines
}

// memory looks how much it is now.
func memory() Memory {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Memory{Resident: resident(), Objects: int64(m.HeapAlloc), Stacks: int64(m.StackInuse)}
}

// resident is the second number in proc(5)'s statm, in bytes.
func resident() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // this is no Linux
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// A rememberer is a store that holds memory which it can do without.
type rememberer interface {
	FreeMemory(ctx context.Context) error
}

// freeMemory collects garbage and returns to the system what is free then. It takes as long as
// the node's memory is large, and requests are served meanwhile.
func (n *Node) freeMemory(ctx context.Context) error {
	if s, ok := n.config.Store.(rememberer); ok {
		if err := s.FreeMemory(ctx); err != nil {
			return err
		}
	}
	n.rest()
	n.known.forget()
	n.limits.trim()
	debug.FreeOSMemory() // what lies in a sync.Pool outlives one collection
	debug.FreeOSMemory()
	return nil
}

// collect is freeMemory because the operator wants it, and tells what it has done.
func (n *Node) collect(ctx context.Context) (AdminMemory, error) {
	answer := AdminMemory{Connections: len(n.list()), Before: memory()}
	if err := n.freeMemory(ctx); err != nil {
		return answer, err
	}
	answer.After = memory()
	n.log.Info("memory given back", "before", answer.Before.Resident, "after", answer.After.Resident)
	return answer, nil
}
