//go:build external

package faults_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/letters"
)

// settling is how long everything may take to come to rest: a node asks for another's new
// key once a minute at most.
const settling = 5 * time.Minute

// settle waits until everything has come to rest, and judges what has come of it.
func (r *run) settle(ctx context.Context) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	var retrying sync.WaitGroup
	retries, stop := context.WithCancel(ctx)
	retrying.Go(func() { r.retry(retries) })
	defer retrying.Wait()
	defer stop()

	if !r.ledger.Answered(ctx) || !r.drained(ctx) {
		r.check()
		r.t.Fatalf("the nodes do not come to rest:\n%s\nin the outboxes:\n%s", r.ledger.Missing(r.devices()), r.queues())
	}
	for _, last := range r.lastWords(ctx) {
		if !r.ledger.Come(ctx, last, r.devices()) {
			r.check()
			r.t.Fatalf("nothing comes to %s:\n%s", last.To, r.ledger.Missing(r.devices()))
		}
	}
	// What a mailbox had for a device came before the last words.
	r.ledger.Judge()
	r.check()
	if missing := r.ledger.Missing(r.devices()); missing != "" {
		r.t.Fatal(missing)
	}
}

// lastWords writes to each user from the user's own node.
func (r *run) lastWords(ctx context.Context) (written []*letters.Letter) {
	r.t.Helper()
	for _, name := range nodes {
		post := r.posts[name]
		c, err := post.Enter(ctx, r.machines[name].door())
		if err != nil {
			r.t.Fatalf("%v: %v", post.Device, err)
		}
		defer c.Hang()
		for _, user := range slices.Sorted(maps.Keys(users)) {
			m, err := post.Write(ctx, c, tipt.Address{User: user, Node: name})
			if err != nil {
				r.t.Fatalf("%v writes to %s: %v", post.Device, user, err)
			}
			written = append(written, m)
		}
	}
	return written
}

// retry has the nodes try again, each second, what they pause.
func (r *run) retry(ctx context.Context) {
	for {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
		for _, m := range r.machines {
			list, err := m.waiting()
			if err != nil {
				r.ledger.Fail("%s: what waits: %v", m.name, err)
				return
			}
			for _, w := range list {
				if err := m.operate("queue", "retry", string(w.Node)); err != nil && !strings.Contains(err.Error(), "nothing waits") {
					r.ledger.Fail("%v", err)
					return
				}
			}
		}
	}
}

// drained waits until nothing waits to be forwarded.
func (r *run) drained(ctx context.Context) bool {
	for ctx.Err() == nil {
		r.check()
		if r.queues() == "" {
			return true
		}
		time.Sleep(200 * time.Millisecond)
	}
	return false
}

// queues lists what waits to be forwarded.
func (r *run) queues() string {
	var b strings.Builder
	for _, name := range nodes {
		list, err := r.machines[name].waiting()
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", name, err)
		}
		for _, w := range list {
			if w.Entries > 0 {
				fmt.Fprintf(&b, "%s: %d to %s, next try %v: %s\n", name, w.Entries, w.Node, w.Next, w.Reason)
			}
		}
	}
	return b.String()
}

// check fails the test when anything is wrong.
func (r *run) check() {
	r.t.Helper()
	wrong := r.ledger.Wrong()
	if len(wrong) == 0 {
		return
	}
	for _, one := range wrong[:min(len(wrong), 5)] {
		r.t.Error(one)
	}
	for _, name := range nodes {
		if p := r.machines[name].running(); p != nil {
			r.t.Logf("%s logged last\n%s", name, tail(p.Log(), 40))
		}
	}
	r.t.Fatalf("%d things are wrong", len(wrong))
}

// What a node may take more than when it began: a goroutine or three for each connection of a
// client or of another node; SQLite's memory of its file, which is 64 MiB, and what Go keeps.
const (
	moreGoroutines = 40
	moreMemory     = 96 << 20
)

// checkUsage checks that the nodes, which are at rest, take about what they took at first.
func (r *run) checkUsage() {
	for _, name := range nodes {
		m := r.machines[name]
		u, goroutines := m.usage(r.t)
		r.t.Logf("%s: %d goroutines, %d MiB; at first %d, %d MiB", name, u.goroutines, u.memory>>20, m.rest.goroutines, m.rest.memory>>20)
		if u.goroutines > m.rest.goroutines+moreGoroutines {
			r.t.Fatalf("%s has %d goroutines, at first it had %d\n%s", name, u.goroutines, m.rest.goroutines, goroutines)
		}
		if u.memory > m.rest.memory+moreMemory {
			r.t.Fatalf("%s takes %d MiB, at first it took %d MiB", name, u.memory>>20, m.rest.memory>>20)
		}
	}
}
