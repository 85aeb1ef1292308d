//go:build external

package faults_test

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/tipt/tipt-go"
)

// maxRotations is how often a node's key is rotated: its certificate has room for some twenty subkeys.
const maxRotations = 12

// sleep waits for a random time up to d. It is false when ctx ended first.
func sleep(ctx context.Context, r *rand.Rand, d time.Duration) bool {
	timer := time.NewTimer(time.Duration(r.Int64N(int64(d))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// between returns a random duration.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// troubleProcess does to the node's process what can be done to one, until ctx ends; then
// it runs. A process that is spared is not ended.
func (m *machine) troubleProcess(ctx context.Context, spared bool) {
	r := m.rand[0]
	for sleep(ctx, r, 6*time.Second) {
		switch n := r.IntN(100); {
		case n < 35:
			if spared {
				continue
			}
			m.kill()
			sleep(ctx, r, 3*time.Second)
			if r.IntN(3) == 0 {
				m.rotate()
			}
			m.start()
		case n < 50:
			m.accident(ctx, spared)
		case n < 75:
			m.note("is stopped")
			m.signal(syscall.SIGSTOP)
			longest := 5 * time.Second
			if r.IntN(12) == 0 {
				longest = 45 * time.Second // a forwarding takes 30 s at most
			}
			sleep(ctx, r, longest)
			m.signal(syscall.SIGCONT)
			m.note("goes on")
		case n < 83:
			if spared {
				continue
			}
			m.terminate()
			m.start()
		case n < 90:
			m.rotate()
		default:
			m.meddle(ctx)
		}
	}
}

// rotate rotates the node's key, whether it runs or not.
func (m *machine) rotate() {
	if m.rotations == maxRotations || m.isOff() {
		return // by a wrong clock its subkeys would begin too late or too early for others
	}
	m.rotations++
	if err := m.operate("key", "rotate"); err != nil {
		m.note("%v", err) // on a full disk, say
		return
	}
	m.note("the key is rotated")
}

// accident has messages arrive whose answers do not come back. When another attempt cannot
// even begin, and the operator has no patience, the node must still know that they may have arrived.
func (m *machine) accident(ctx context.Context, spared bool) {
	r := m.rand[0]
	other := m.neighbours[r.IntN(len(m.neighbours))]
	way := m.others[other]
	way.note("answers do not come back")
	way.stall(1)
	sleep(ctx, r, 2*time.Second)
	way.note("new connections are refused")
	way.refuse()
	if spared || r.IntN(3) == 0 {
		way.reset()
	} else {
		m.kill()
		m.start()
	}
	sleep(ctx, r, 2*time.Second)
	m.drop(other)
	way.clear()
	way.note("it is well")
}

// meddle has the operator hold what waits for another node for a while, or drop it.
func (m *machine) meddle(ctx context.Context) {
	r := m.rand[0]
	list, err := m.waiting()
	if err != nil || len(list) == 0 {
		return
	}
	other := list[r.IntN(len(list))].Node
	if r.IntN(2) == 0 {
		m.drop(other)
		return
	}
	m.note("holds what waits for %s: %v", other, m.operate("queue", "hold", string(other)))
	sleep(ctx, r, 4*time.Second)
	m.note("retries %s: %v", other, m.operate("queue", "retry", string(other)))
}

// drop has the operator drop what waits for another node.
func (m *machine) drop(other tipt.NodeName) {
	m.excuses.drop(m.name)
	m.note("drops what waits for %s: %v", other, m.operate("queue", "drop", string(other)))
}

// troubleMachine does to disk and clock what can be done to them, until ctx ends; then both are well.
func (m *machine) troubleMachine(ctx context.Context) {
	r := m.rand[1]
	for sleep(ctx, r, 5*time.Second) {
		switch n := r.IntN(100); {
		case n < 25:
			left := int64(64 << 20) // less than the node keeps in reserve
			if r.IntN(2) == 0 {
				left = r.Int64N(1 << 20)
			}
			m.fill(left)
			sleep(ctx, r, 4*time.Second)
			m.free()
		case n < 60:
			d := between(r, 2*time.Millisecond, 100*time.Millisecond)
			if r.IntN(4) == 0 {
				d = between(r, 100*time.Millisecond, 2*time.Second)
			}
			m.note("the disk is slow: %v", d)
			m.set("commit", d)
			sleep(ctx, r, 6*time.Second)
			m.set("commit", 0)
			m.note("the disk is fast again")
		default:
			m.jump(someJump(r))
		}
	}
	m.jump(0)
}

// someJump returns how far a clock is ahead: often not at all, at times by more than nodes put
// up with.
func someJump(r *rand.Rand) time.Duration {
	switch n := r.IntN(100); {
	case n < 40:
		return 0
	case n < 80:
		return between(r, -4*time.Minute, 4*time.Minute)
	default:
		return between(r, -10*time.Minute, 10*time.Minute)
	}
}

// trouble does to a network what can be done to one, until ctx ends; then it is well,
// but for connections whose ends do not know yet that nothing arrives any more.
func (r *route) trouble(ctx context.Context, source *rand.Rand) {
	for sleep(ctx, source, 8*time.Second) {
		way := source.IntN(2)
		direction := [2]string{"there", "back"}[way]
		switch n := source.IntN(100); {
		case n < 20:
			r.note("all connections are reset")
			r.reset()
			continue
		case n < 30:
			r.note("all connections are half closed, the way %s", direction)
			r.halfClose(way)
			continue
		case n < 40:
			r.note("all that is sent %s on the connections there are vanishes", direction)
			r.lose(way)
			continue
		case n < 55:
			r.note("nothing gets through %s", direction)
			r.stall(way)
		case n < 65:
			r.note("nothing gets through")
			r.stall(0)
			r.stall(1)
		case n < 75:
			r.note("new connections are refused")
			r.refuse()
			if source.IntN(2) == 0 {
				r.reset()
			}
		default:
			d := between(source, time.Millisecond, 300*time.Millisecond)
			r.note("the way %s is slow: %v", direction, d)
			r.delay(way, d)
		}
		sleep(ctx, source, 6*time.Second)
		r.clear()
		r.note("it is well")
	}
}
