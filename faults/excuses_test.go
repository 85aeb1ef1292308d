//go:build external

package faults_test

import (
	"sync"
	"time"

	"github.com/tipt/tipt-go"
)

// tolerance is by how much the clocks of two nodes may differ without any consequence: a little less
// than what section 5.4 of docs/protocol.md allows.
const tolerance = 4 * time.Minute

// excuses know what the faults of a round allow the nodes to refuse and to give back.
type excuses struct {
	mu      sync.Mutex                  // guards the following fields
	full    map[tipt.NodeName]time.Time // when its disk was full last
	clocks  map[tipt.NodeName]time.Duration
	apart   map[[2]tipt.NodeName]bool // their clocks differed by too much
	dropped map[tipt.NodeName]bool    // its operator dropped what waited
}

func newExcuses(nodes []tipt.NodeName) *excuses {
	e := &excuses{clocks: make(map[tipt.NodeName]time.Duration)}
	for _, node := range nodes {
		e.clocks[node] = 0
	}
	e.forget()
	return e
}

// forget begins a new round, in which all clocks are right.
func (e *excuses) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.full = make(map[tipt.NodeName]time.Time)
	e.apart = make(map[[2]tipt.NodeName]bool)
	e.dropped = make(map[tipt.NodeName]bool)
}

// fill says that the disk of a node is full until so long.
func (e *excuses) fill(node tipt.NodeName, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.full[node] = until
}

func (e *excuses) drop(node tipt.NodeName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped[node] = true
}

func (e *excuses) jump(node tipt.NodeName, ahead time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clocks[node] = ahead
	for other, theirs := range e.clocks {
		if (ahead - theirs).Abs() > tolerance {
			e.apart[[2]tipt.NodeName{node, other}] = true
			e.apart[[2]tipt.NodeName{other, node}] = true
		}
	}
}

// Refused implements [letters.Excuses].
func (e *excuses) Refused(by, about tipt.NodeName, code tipt.ErrorCode) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch code {
	case tipt.ErrBusy: // it drains
		return true
	case tipt.ErrInternal:
		return !e.full[by].IsZero()
	case tipt.ErrNodeUnreachable, tipt.ErrNodeTimeout:
		return by != about
	case tipt.ErrNodeRefused:
		return e.apart[[2]tipt.NodeName{by, about}]
	}
	return false
}

// Returned implements [letters.Excuses].
func (e *excuses) Returned(from, to tipt.NodeName, code tipt.ErrorCode) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch code {
	case tipt.ErrNodeRefused, tipt.ErrNodeTimeout:
		return e.apart[[2]tipt.NodeName{from, to}] || e.dropped[from]
	}
	return false
}

// Wavered implements [letters.Excuses].
func (e *excuses) Wavered(node tipt.NodeName, since time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.full[node].After(since)
}
