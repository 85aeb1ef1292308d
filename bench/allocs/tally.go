package main

import (
	"fmt"
	"math"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/tipt/tipt-go/seal"
)

// A tally is how much was allocated.
type tally struct {
	All    float64            // objects
	Places map[string]float64 // those of them that have memory of their own, by where
}

// opening is the place of all that it takes to open an OpenPGP message.
const opening = "seal, opening the OpenPGP message"

// beside is all but the opening.
func (t *tally) beside() float64 { return t.All - t.Places[opening] }

// shared is how many objects have no memory of their own: Go puts small ones without pointers
// together, and notes only the first.
func (t *tally) shared() float64 {
	n := t.All
	for _, own := range t.Places {
		n -= own
	}
	return n
}

// openingOne is what the opening of one message allocates, those that share memory included.
func openingOne() (float64, error) {
	now := time.Now()
	key, err := seal.NewNodeKey(name, now)
	if err != nil {
		return 0, err
	}
	cert, err := seal.ParseCertificate(key.Certificate())
	if err != nil {
		return 0, err
	}
	message, err := cert.Seal(make([]byte, size), now)
	if err != nil {
		return 0, err
	}
	const times = 1000
	before := mallocs()
	for range times {
		if _, err := key.Open(message, now); err != nil {
			return 0, err
		}
	}
	return math.Round((mallocs() - before) / times), nil // of other goroutines there is next to nothing
}

// mallocs is how many objects this process has allocated.
func mallocs() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Mallocs)
}

// less is how much more t is than another one.
func (t *tally) less(other *tally) *tally {
	d := &tally{All: t.All - other.All, Places: make(map[string]float64)}
	for place, n := range t.Places {
		d.Places[place] = n - other.Places[place]
	}
	return d
}

func (t *tally) divide(by float64) {
	t.All /= by
	for place := range t.Places {
		t.Places[place] /= by
	}
}

// newTally counts what this process has allocated so far.
func newTally() *tally {
	// What was allocated is in the profile once a collection has passed over it, and the one after that.
	runtime.GC()
	runtime.GC()
	runtime.GC()
	t := &tally{All: mallocs(), Places: make(map[string]float64)}
	var records []runtime.MemProfileRecord
	for {
		n, ok := runtime.MemProfile(records, true)
		if ok {
			records = records[:n]
			break
		}
		records = make([]runtime.MemProfileRecord, n+100)
	}
	for i := range records {
		t.Places[place(records[i].Stack())] += float64(records[i].AllocObjects)
	}
	return t
}

const module = "github.com/tipt/tipt-go/"

// place says which line of this module allocates, and by which function of another one.
func place(stack []uintptr) string {
	frames := runtime.CallersFrames(stack)
	by := ""
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		function, ours := strings.CutPrefix(f.Function, module)
		switch {
		case ours && strings.HasPrefix(function, "seal.") && !strings.HasPrefix(function, "seal.(*Opener)"):
			return opening
		case ours:
			return fmt.Sprintf("%s, %s:%d%s", function, path.Base(f.File), f.Line, by)
		case by == "" && !strings.HasPrefix(f.Function, "runtime."):
			by = ", by " + f.Function
		}
	}
	return "Go itself" + by
}
