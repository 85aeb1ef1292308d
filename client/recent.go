package client

import "github.com/tipt/tipt-go"

// maxRecent is how many deliveries a client remembers. A node repeats at most
// those whose acknowledgement it lost: some 64 with a connection, more only when it crashes.
const maxRecent = 16_384

// A deliveryKey tells a repeated delivery (section 4): a message by its sender's address and
// id, a return by its id, which the node made.
type deliveryKey struct {
	returned bool
	from     string
	id       tipt.MessageID
}

// recent is the set of the last maxRecent keys added.
type recent struct {
	set  map[deliveryKey]struct{}
	ring []deliveryKey
	next int // index in ring of the oldest, once the ring is full
}

func (r *recent) has(k deliveryKey) bool {
	_, ok := r.set[k]
	return ok
}

func (r *recent) add(k deliveryKey) {
	if r.has(k) {
		return
	}
	if r.set == nil {
		r.set = make(map[deliveryKey]struct{})
	}
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, k)
	} else {
		delete(r.set, r.ring[r.next])
		r.ring[r.next] = k
		r.next = (r.next + 1) % maxRecent
	}
	r.set[k] = struct{}{}
}

func (c *Client) hasTaken(k deliveryKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken.has(k)
}

func (c *Client) take(k deliveryKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken.add(k)
}
