//go:build fault

package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/tipt/tipt-go/store"
)

// Now is the time, as far off as the clock is.
func Now() time.Time { return time.Now().Add(read("clock")) }

// Store returns s with commits that take longer: before the disk has them, after, or both.
func Store(s store.Store) store.Store { return slow{s} }

type slow struct{ store.Store }

func (s slow) Commit(ctx context.Context, batch []store.Op) error {
	longer := read("commit")
	before := time.Duration(rand.Int64N(int64(longer) + 1))
	after := time.Duration(rand.Int64N(int64(longer-before) + 1))
	time.Sleep(before)
	err := s.Store.Commit(ctx, batch)
	time.Sleep(after)
	return err
}

// Handle adds GET /goroutines: the goroutines there are, alike ones together, after a
// line with their number. Memory that is not used goes back to the system first.
func Handle(mux *http.ServeMux) {
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, _ *http.Request) {
		debug.FreeOSMemory()
		_ = pprof.Lookup("goroutine").WriteTo(w, 1) // fails when the test has gone
	})
}

func read(name string) time.Duration {
	text, err := os.ReadFile(filepath.Join(os.Getenv("TIPT_FAULTS"), name))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	d := time.Duration(0)
	if err == nil {
		d, err = time.ParseDuration(string(text))
	}
	if err != nil {
		panic(fmt.Sprintf("fault: %v", err)) // a test that believes it has faults and has none
	}
	return d
}
