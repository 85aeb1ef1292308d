//go:build external

package faults_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/letters"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// longestRound is after how much trouble everything has to come to rest.
const longestRound = 90 * time.Second

// users of each node: their devices, and how these receive. The first device of each writes.
var users = map[tipt.UserName]map[string]letters.Habit{
	"ada": {"desk": letters.Stays},
	"bob": {"desk": letters.Stays, "phone": letters.Visits},
	"cyd": {"desk": letters.Shuffle},
	"eve": {"phone": letters.Late}, // writes nothing
}

var nodes = []tipt.NodeName{"a.example", "b.example", "c.example"}

func TestFaults(t *testing.T) {
	for i := range *runs {
		s := *seed
		if i > 0 {
			s = rand.Uint64()
		}
		t.Run(fmt.Sprintf("seed %d", s), func(t *testing.T) { newRun(t, s).run() })
	}
}

// A run is one network of nodes and all that is done to it.
type run struct {
	t        *testing.T
	rand     *rand.Rand
	ledger   *letters.Ledger
	excuses  *excuses
	machines map[tipt.NodeName]*machine
	routes   []*route

	participants, late []*letters.Participant
	posts              map[tipt.NodeName]*letters.Participant // write the last words of a round
}

func newRun(t *testing.T, seed uint64) *run {
	r := &run{
		t:        t,
		rand:     rand.New(rand.NewPCG(seed, 0)),
		excuses:  newExcuses(nodes),
		machines: make(map[tipt.NodeName]*machine),
		posts:    make(map[tipt.NodeName]*letters.Participant),
	}
	r.ledger = letters.New(r.excuses)
	for _, d := range tipttest.NewDaemons(t, tiptd, nodes...) {
		faults := t.TempDir()
		d.Env = []string{"TIPT_FAULTS=" + faults}
		d.Flags = []string{"--registration", "open", "--root-ca", d.Root}
		r.machines[d.Name] = &machine{
			name: d.Name, ledger: r.ledger, excuses: r.excuses, daemon: d, disk: newDisk(t, d.Data), faults: faults,
			rand: [2]*rand.Rand{r.source(), r.source()},
		}
	}
	for _, name := range nodes {
		m := r.machines[name]
		m.others = make(map[tipt.NodeName]*route)
		m.clients = r.route("clients", m, name)
		for _, other := range nodes {
			if other != name {
				m.neighbours = append(m.neighbours, other)
				m.others[other] = r.route(string(name), r.machines[other], name, other)
				m.daemon.Flags = append(m.daemon.Flags, "--resolve", string(other)+"="+m.others[other].addr())
			}
		}
	}
	t.Cleanup(func() {
		for _, m := range r.machines {
			if p := m.running(); p != nil {
				p.Kill()
			}
		}
	})
	return r
}

// route makes a route to a machine, which concerns some nodes.
func (r *run) route(from string, to *machine, nodes ...tipt.NodeName) *route {
	note := func(format string, args ...any) {
		r.ledger.Note(nodes, fmt.Sprintf("%s to %s: ", from, to.name)+format, args...)
	}
	way := newRoute(r.t, note, to.addr)
	r.routes = append(r.routes, way)
	return way
}

// source returns another source of the run's seed.
func (r *run) source() *rand.Rand { return rand.New(rand.NewPCG(r.rand.Uint64(), 0)) }

func (r *run) run() {
	ctx, cancel := context.WithCancel(r.t.Context())
	for _, name := range nodes {
		m := r.machines[name]
		m.start()
		r.check()
		m.rest, _ = m.usage(r.t)
		r.populate(ctx, m)
	}
	var load sync.WaitGroup
	defer load.Wait()
	defer cancel()
	for _, p := range r.participants {
		load.Go(func() { r.play(ctx, p) })
	}
	for left := *span; left > 0; left -= longestRound {
		r.trouble(ctx, min(left, longestRound))
		r.ledger.Close()
		for _, p := range r.late {
			load.Go(func() { r.play(ctx, p) })
		}
		r.participants, r.late = append(r.participants, r.late...), nil
		r.settle(ctx)
		r.checkUsage()
		r.t.Log(r.ledger.Summary())
		r.ledger.Forget(r.devices())
		r.excuses.forget()
		r.ledger.Reopen()
	}
	r.ledger.Dismiss()
	load.Wait()
	for _, name := range nodes {
		r.machines[name].terminate()
	}
	r.check()
}

// populate registers the users of a node, and gives their devices places in their mailboxes.
// What comes before a user has a device would never come to a second one.
func (r *run) populate(ctx context.Context, m *machine) {
	c, err := letters.Dial(ctx, m.door(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Hang()
	var everybody []tipt.Address
	for _, node := range nodes {
		everybody = append(everybody, tipt.Address{User: letters.Nobody, Node: node})
		for _, user := range slices.Sorted(maps.Keys(users)) {
			everybody = append(everybody, tipt.Address{User: user, Node: node})
		}
	}
	join := func(user tipt.UserName, devices map[string]letters.Habit) (joined []*letters.Participant) {
		if err := c.Register(ctx, string(user), letters.Password, ""); err != nil {
			r.t.Fatalf("register %s at %s: %v", user, m.name, err)
		}
		for _, device := range slices.Sorted(maps.Keys(devices)) {
			d := letters.NewDevice(tipt.Address{User: user, Node: m.name}, device)
			p := r.ledger.NewParticipant(d, devices[device], r.source())
			if p.Habit == letters.Late {
				r.late = append(r.late, p)
				continue
			}
			if len(joined) == 0 {
				p.Writes, p.Pause, p.Hasty = everybody, 30*time.Millisecond, true
			}
			joined = append(joined, p)
			conn, err := p.Enter(ctx, m.door())
			if err != nil {
				r.t.Fatalf("%v: %v", d, err)
			}
			conn.Hang()
		}
		return joined
	}
	for _, user := range slices.Sorted(maps.Keys(users)) {
		r.participants = append(r.participants, join(user, users[user])...)
	}
	r.posts[m.name] = join("post", map[string]letters.Habit{"desk": letters.Stays})[0]
	r.posts[m.name].Writes = nil
}

func (r *run) devices() (devices []*letters.Device) {
	for _, p := range r.participants {
		devices = append(devices, p.Device)
	}
	return devices
}

// trouble makes faults for a while. When it returns all is well, and not yet at rest.
func (r *run) trouble(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var troubles sync.WaitGroup
	spared := r.rand.IntN(len(nodes))
	for i, name := range nodes {
		m := r.machines[name]
		troubles.Go(func() { m.troubleProcess(ctx, i == spared) })
		troubles.Go(func() { m.troubleMachine(ctx) })
	}
	for _, way := range r.routes {
		source := r.source()
		troubles.Go(func() { way.trouble(ctx, source) })
	}
	r.ledger.Pass(ctx, 1<<40) // ends when something is wrong
	cancel()
	troubles.Wait()
	r.ledger.Note([]tipt.NodeName{}, "there are no more faults")
	r.check()
}
