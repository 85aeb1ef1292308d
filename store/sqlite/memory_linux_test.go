package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// TestFreeMemory: the cache of 20 MB that were written is given back, and all works on.
func TestFreeMemory(t *testing.T) {
	const messages = 400
	s := open(t, t.TempDir(), sqlite.Options{Logger: noLog(t)})
	user := &store.CreateUser{Name: "ada", Password: "x", Time: time.Now()}
	commit(t, s, user)
	for range messages {
		commit(t, s, &store.Append{
			User: user.ID, From: "bob@node.example", ID: tipt.NewMessageID(), Time: time.Now(),
			Body: make([]byte, 50_000), MaxCount: messages, MaxBytes: 1 << 30,
		})
	}
	debug.FreeOSMemory() // Go's own garbage is not what this is about
	before := resident(t)
	if err := s.FreeMemory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if freed := before - resident(t); freed < 10<<20 {
		t.Errorf("%d bytes were given back, want at least 10 MiB", freed)
	}
	got, err := s.Messages(t.Context(), user.ID, messages-1, 10, 1<<20)
	if err != nil || len(got) != 1 {
		t.Errorf("%d messages, %v, want 1", len(got), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.FreeMemory(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// resident is how much memory this process has.
func resident(t *testing.T) int64 {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestFreeMemoryAtOnce: the operator asks for it while the node does it by itself. None waits for what another holds.
func TestFreeMemoryAtOnce(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{Logger: noLog(t)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var askers errgroup.Group
	for range 8 {
		askers.Go(func() error {
			for range 50 {
				if err := s.FreeMemory(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := askers.Wait(); err != nil {
		t.Error(err)
	}
}
