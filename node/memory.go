package node

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
)

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
func (n *Node) freeMemory(ctx context.Context) (AdminMemory, error) {
	answer := AdminMemory{Connections: len(n.list()), Before: memory()}
	if s, ok := n.config.Store.(rememberer); ok {
		if err := s.FreeMemory(ctx); err != nil {
			return answer, err
		}
	}
	n.rest()
	debug.FreeOSMemory() // what lies in a sync.Pool outlives one collection
	debug.FreeOSMemory()
	answer.After = memory()
	n.log.Info("memory given back", "before", answer.Before.Resident, "after", answer.After.Resident)
	return answer, nil
}
