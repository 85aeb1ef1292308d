package peer

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/tipt/tipt-go"
)

// A gate lets so much in at once for each node. What is over it waits, first come
// first served.
type gate struct {
	size int64 // for each node

	mu    sync.Mutex // guards the following field and the counts in it
	nodes map[tipt.NodeName]*gateNode
}

type gateNode struct {
	room  *semaphore.Weighted
	users int // inside or waiting
}

func newGate(size int64) *gate {
	return &gate{size: size, nodes: make(map[tipt.NodeName]*gateNode)}
}

// enter takes n of a node's room, at most its size, as soon as it is there. It gives up when ctx ends.
// The caller calls leave once.
func (g *gate) enter(ctx context.Context, node tipt.NodeName, n int64) (leave func(), err error) {
	g.mu.Lock()
	at := g.nodes[node]
	if at == nil {
		at = &gateNode{room: semaphore.NewWeighted(g.size)}
		g.nodes[node] = at
	}
	at.users++
	g.mu.Unlock()
	gone := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if at.users--; at.users == 0 {
			delete(g.nodes, node)
		}
	}
	if err := at.room.Acquire(ctx, n); err != nil {
		gone()
		return nil, err
	}
	return func() { at.room.Release(n); gone() }, nil
}
