package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/store"
)

const (
	// With each tick places go to the disk, and the readers of one shard look again.
	tick = time.Second

	// Places that are stored at once.
	flushStep = 256

	// How often what is too old is looked for, and how much of a kind is removed at once.
	expireEvery = time.Hour
	expireStep  = 1000
)

// Run moves places on the disk within about a second, removes what is too old and makes
// readers look again. It returns nil when ctx is done and the last places are on
// the disk, for which the committer must still run, or the error of a store that failed.
// A node that is killed sends the messages taken in the last second again, and loses
// none. Call it once.
func (m *Mailboxes) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error {
		return every(running, tick, func(i int) error {
			m.lookAgain(&m.shards[i%shards])
			return m.try("store the places of devices", m.flush(running))
		})
	})
	g.Go(func() error {
		return every(running, expireEvery, func(int) error {
			return m.try("remove what is too old", m.expire(running))
		})
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := m.flush(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("store the places of devices: %w", err)
	}
	return nil
}

// every calls f at once and then with each period until ctx is done or f fails.
func every(ctx context.Context, period time.Duration, f func(i int) error) error {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for i := 0; ; i++ {
		if err := f(i); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// try logs the error of what will be tried again, and returns one after which nothing is.
func (m *Mailboxes) try(what string, err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, store.ErrFailed):
		return fmt.Errorf("%s: %w", what, err)
	}
	m.log.Error("failed, will be tried again", "what", what, "error", err)
	return nil
}

// flush stores the places that moved.
func (m *Mailboxes) flush(ctx context.Context) error {
	var first error
	for some := range slices.Chunk(m.moved(), flushStep) {
		if err := m.committer.Do(ctx, some.addOps(nil)...); err != nil {
			some.keep()
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// expire removes what is too old, step by step, and between the steps leaves the store
// to others for as long as each took.
func (m *Mailboxes) expire(ctx context.Context) error {
	for ctx.Err() == nil {
		began, now := time.Now(), fault.Now()
		op := &store.Expire{
			Messages:   now.Add(-m.options.Messages),
			Duplicates: now.Add(-m.options.Duplicates),
			Devices:    now.Add(-m.options.Devices),
			Online:     m.options.Online,
			Limit:      expireStep,
		}
		if err := m.committer.Do(ctx, op); err != nil {
			return err
		}
		if !op.More {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Since(began)):
		}
	}
	return nil
}
