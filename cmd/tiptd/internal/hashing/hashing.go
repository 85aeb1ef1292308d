// Package hashing evaluates argon2id in a process of its own that gives way to all others:
// whoever signs in by password, or guesses, holds up nobody else. Within the node's process that
// cannot be had, since argon2 hashes in goroutines of its own, and any thread runs any goroutine.
//
// The process is the same program once more, with a hidden command. It is asked over its standard
// input, answers on its standard output, and ends with its input, whatever ended that. Passwords
// are in no argument, no variable, no file and no log.
package hashing

import (
	"context"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"github.com/tipt/tipt-go/account"
)

const (
	// answerTime is how long a hash may take, at the lowest priority. Then the process is given
	// up: it has been stopped, or others leave it nothing of the processors.
	answerTime = 10 * time.Second
	// endTime is how long it may take to end when it is told to.
	endTime = 5 * time.Second

	// How long the node does without a process after one has ended: twice as long each time,
	// from the first again after one that has lived longer than the second.
	minPause = time.Second
	maxPause = time.Minute
)

// A Hasher is an [account.Evaluator] with a process. While there is none, it evaluates in its own.
type Hasher struct {
	log    *slog.Logger
	stderr io.Writer
	args   []string
	stop   context.CancelFunc
	ended  chan struct{} // closed when run has returned

	mu    sync.Mutex // guards the following field
	child *child     // nil while none runs
}

// Start starts the process, and starts it again when it ends, until Close. It is this
// program with the arguments given, which has to call [Serve]; what it says when it crashes goes
// to stderr. That it does not run is logged and no error.
func Start(log *slog.Logger, stderr io.Writer, args ...string) *Hasher {
	ctx, stop := context.WithCancel(context.Background())
	h := &Hasher{log: log, stderr: stderr, args: args, stop: stop, ended: make(chan struct{})}
	go h.run(ctx)
	return h
}

// Close ends the process and returns when it has gone. What is being evaluated then is evaluated here.
func (h *Hasher) Close() {
	h.stop()
	<-h.ended
}

// Argon2id implements [account.Evaluator].
func (h *Hasher) Argon2id(password, salt []byte, cost account.HashCost, size int) []byte {
	if c := h.current(); c != nil {
		if key := c.ask(request{cost: cost, size: size, salt: salt}, password, answerTime); key != nil {
			return key
		}
	}
	return account.Argon2id(password, salt, cost, size)
}

// run keeps a process running.
func (h *Hasher) run(ctx context.Context) {
	defer close(h.ended)
	pause := minPause
	for {
		began := time.Now()
		err := h.runOne(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxPause {
			pause = minPause
		}
		level := slog.LevelWarn
		if pause > minPause {
			level = slog.LevelDebug // it has been said
		}
		h.log.Log(ctx, level, "no process to hash passwords in, the node itself does so meanwhile", "cause", err, "pause", pause)
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// runOne runs one process to its end and returns why it has ended.
func (h *Hasher) runOne(ctx context.Context) error {
	path, err := executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, h.args...)
	c, err := start(cmd, h.stderr)
	if err != nil {
		return err
	}
	h.set(c)
	defer h.set(nil)
	return c.run(func(gentle bool) {
		if !gentle {
			h.log.Warn("the process that hashes passwords cannot give way to others: its priority could not be lowered")
		}
	})
}

// current returns the process that runs, or nil.
func (h *Hasher) current() *child {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.child
}

func (h *Hasher) set(c *child) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.child = c
}
