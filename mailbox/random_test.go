package mailbox_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
)

// TestReadersRandomly has readers of three users come and go, take, and rewind while
// messages are appended. Each device must get each message in order and without a gap, once
// but for what it rewound or had not taken when its reader was closed.
func TestReadersRandomly(t *testing.T) {
	for _, seed := range []uint64{1, 2, rand.Uint64()} {
		for _, untold := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d, untold %v", seed, untold), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				testReadersRandomly(ctx, t, seed, untold)
			})
		}
	}
}

func testReadersRandomly(ctx context.Context, t *testing.T, seed uint64, untold bool) {
	const writers, appends = 4, 60
	rng := rand.New(rand.NewPCG(seed, 0))
	n := newNode(t, mailbox.Options{MaxRecent: []int64{1, 10_000, 1 << 20}[rng.IntN(3)]})
	devices := []string{"phone", "laptop", "tablet"}
	users := make([]store.UserID, 3)
	for i := range users {
		users[i] = n.newUser(t, tipt.UserName(fmt.Sprint("user", i)), devices...)
	}
	stop := n.run(t)

	total := make(chan struct{})               // closed when all is appended
	counts := make([]atomic.Int64, len(users)) // appended
	var writing, reading sync.WaitGroup
	for w := range writers {
		rng := rand.New(rand.NewPCG(seed, uint64(w+1)))
		writing.Go(func() {
			var done sync.WaitGroup
			for range appends {
				msg := n.message(string(make([]byte, rng.IntN(3000))))
				to := rng.IntN(len(users))
				msg.User = users[to]
				counts[to].Add(1)
				if untold && rng.IntN(4) == 0 {
					n.do(t, &store.Append{User: msg.User, ID: msg.ID, Time: time.Now(), Body: msg.Body})
					continue
				}
				done.Add(1)
				if err := n.Append(ctx, msg, func(outcome store.Outcome, err error) {
					if outcome != store.Stored || err != nil {
						t.Errorf("append: outcome %d, %v", outcome, err)
					}
					done.Done()
				}); err != nil {
					t.Errorf("append: %v", err)
					done.Done()
				}
				if rng.IntN(3) == 0 {
					done.Wait()
				}
			}
			done.Wait()
		})
	}
	for i, user := range users {
		for j, device := range devices {
			rng := rand.New(rand.NewPCG(seed, uint64(100+10*i+j)))
			reading.Go(func() {
				d := &randomDevice{n: n, rng: rng, user: user, name: device, wake: make(chan struct{}, 1)}
				d.read(ctx, t, total, &counts[i])
			})
		}
	}
	writing.Wait()
	close(total)
	if untold {
		n.LookAgain()
	}
	reading.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	n.do(t) // which is behind what Close submitted
	for i, user := range users {
		for _, device := range devices {
			d, err := n.store.Device(t.Context(), user, device)
			if err != nil || d.Place != counts[i].Load() {
				t.Errorf("user %d, %s: the place is %d of %d, %v", user, device, d.Place, counts[i].Load(), err)
			}
		}
	}
	if held := n.Held(); held != 0 {
		t.Errorf("%d bytes are in memory without a reader", held)
	}
}

// A randomDevice reads a mailbox as a client does.
type randomDevice struct {
	n    *node
	rng  *rand.Rand
	user store.UserID
	name string
	wake chan struct{}

	reader *mailbox.Reader
	last   int64   // Seq of the newest message
	taken  int64   // all up to it is taken
	out    []int64 // returned and not taken
	again  []int64 // of these, rewound and not yet returned again
}

func (d *randomDevice) open(place int64) {
	d.last, d.taken, d.out, d.again = place, place, nil, nil
	d.reader = d.n.Open(d.user, d.name, place, func() {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	})
}

// reopen closes the reader and signs in again, which must find the place.
func (d *randomDevice) reopen(t *testing.T) {
	want := d.taken
	d.reader.Close()
	in := &store.SignIn{User: d.user, Device: d.name, Receive: true, Time: time.Now(), MaxDevices: tipt.MaxDevices}
	d.n.do(t, in)
	if in.Place != want {
		t.Errorf("%s of %d: signed in at place %d, want %d", d.name, d.user, in.Place, want)
	}
	d.open(in.Place)
}

// read reads until total is closed and all that count then says is taken.
func (d *randomDevice) read(ctx context.Context, t *testing.T, total <-chan struct{}, count *atomic.Int64) {
	d.open(0)
	defer func() { d.reader.Close() }()
	for {
		if d.rng.IntN(40) == 0 {
			d.reopen(t)
		}
		msgs, err := d.reader.Next(ctx, 1+d.rng.IntN(20), d.rng.IntN(10_000))
		if err != nil {
			t.Errorf("%s of %d, behind %d: %v", d.name, d.user, d.last, err)
			return
		}
		for _, msg := range msgs {
			d.got(t, msg.Seq)
		}
		if len(msgs) > 0 {
			d.answer()
			continue
		}
		for len(d.out) > 0 {
			d.take(d.rng.IntN(len(d.out)))
		}
		if total == nil && d.taken == count.Load() {
			return
		}
		select {
		case <-d.wake:
		case <-total:
			total = nil
		case <-ctx.Done():
			t.Errorf("%s of %d is not woken behind %d", d.name, d.user, d.last)
			return
		}
	}
}

// got checks that a message is the next one, or one that was rewound.
func (d *randomDevice) got(t *testing.T, seq int64) {
	switch {
	case len(d.again) > 0 && seq == d.again[0]:
		d.again = d.again[1:]
	case len(d.again) > 0 || seq != d.last+1:
		t.Errorf("%s of %d: got message %d behind %d, want first %v", d.name, d.user, seq, d.last, d.again)
		fallthrough
	default:
		d.last = seq
		d.out = append(d.out, seq)
	}
}

// answer takes some messages and has others sent again, in any order.
func (d *randomDevice) answer() {
	for range d.rng.IntN(len(d.out) + 1) {
		i := d.rng.IntN(len(d.out))
		seq := d.out[i]
		switch at, rewound := slices.BinarySearch(d.again, seq); {
		case rewound: // is not answered before it is sent again
		case d.rng.IntN(10) == 0:
			d.again = slices.Insert(d.again, at, seq)
			d.reader.Rewind(seq)
		default:
			d.take(i)
		}
	}
}

func (d *randomDevice) take(i int) {
	d.reader.Take(d.out[i])
	d.out = slices.Delete(d.out, i, i+1)
	d.taken = d.last
	if len(d.out) > 0 {
		d.taken = d.out[0] - 1
	}
}
