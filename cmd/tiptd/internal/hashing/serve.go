package hashing

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go/account"
)

// idleAfter is how long after a hash the process gives back the memory that hashes take.
const idleAfter = time.Second

// lowest is the priority that leaves a processor to whoever else wants it.
const lowest = 19

// Serve is what the process does: it answers requests, so many at once, until there are no more.
func Serve(in io.Reader, out io.Writer, atOnce int) error {
	// What ends a node may be sent to all its processes, and it needs this one until it has drained.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	runtime.GOMAXPROCS(atOnce)
	lowered := lower()
	if err := conceal(); err != nil {
		return err
	}
	if _, err := out.Write(greeting(lowered == nil)); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	idle := time.AfterFunc(idleAfter, debug.FreeOSMemory)
	defer idle.Stop()
	var hashing errgroup.Group
	hashing.SetLimit(atOnce)
	for {
		r, password, err := readRequest(in)
		if errors.Is(err, io.EOF) {
			return hashing.Wait()
		}
		if err != nil {
			return errors.Join(err, hashing.Wait())
		}
		hashing.Go(func() error {
			key := account.Argon2id(password, r.salt, r.cost, r.size)
			clear(password)
			if _, err := out.Write(appendAnswer(nil, r.number, key)); err != nil {
				return fmt.Errorf("answer: %w", err)
			}
			// What this one took serves the next one: Go would let as much again become garbage first.
			runtime.GC()
			idle.Reset(idleAfter)
			return nil
		})
	}
}
