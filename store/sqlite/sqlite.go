// Package sqlite is the store of one machine: a SQLite database in a data
// folder, in write-ahead mode, every commit synced. Long bodies are files beside it.
//
// All writes go through one connection, one batch at a time; reads have a few
// connections of their own and never wait for it.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

// readerCount is how many reads go on at the same time.
const readerCount = 4

// cacheSize is of the connection that writes, in KiB. SQLite's allocator takes twice as much for it: 8 KiB
// for each page of 4 and what SQLite knows of it.
const cacheSize = "PRAGMA cache_size = -32768"

// defaultReserve is what the longest log may have to put into the database, twice.
const defaultReserve = 2 * checkpointPages * pageSize

// Options of a store. The zero value works.
type Options struct {
	// Reserve is how many bytes of the disk are kept free: while fewer are, a
	// batch that makes the store grow is refused with [store.ErrDiskFull], so that
	// users can still sign in and take messages. Zero is 128 MiB,
	// negative none. Space within the database that can be used again counts as free, but
	// not for bodies that become files.
	Reserve int64
	// Logger, where not nil, is told of what no caller learns.
	Logger *slog.Logger
}

// A Store is a [store.Store] in one folder.
type Store struct {
	dir     string
	reserve int64
	log     *slog.Logger
	lock    *os.File

	failed  atomic.Pointer[error] // wraps store.ErrFailed; once set it stays
	readers chan *sqlite3.Conn    // those idle
	writer  chan *writer          // the one writer, while nobody commits
	freeing chan struct{}         // holds a value while FreeMemory runs

	closeOnce sync.Once
	closed    chan struct{} // closed by Close
	closeErr  error         // to be read when closeOnce is done
}

// Open opens the store in the folder dir and makes both where they are
// not there. The folder is then this store's alone until Close: another Open of it
// fails with [ErrInUse] and the name of the process.
//
// It has SQLite sync with fdatasync where there is that call, in the whole process.
func Open(dir string, o Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := prepareDir(dir); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	conns, blobs, err := openDatabase(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store in %s: %w", dir, err), lock.Close())
	}
	s := &Store{
		dir:     dir,
		reserve: o.Reserve,
		log:     o.Logger,
		lock:    lock,
		readers: make(chan *sqlite3.Conn, readerCount),
		writer:  make(chan *writer, 1),
		freeing: make(chan struct{}, 1),
		closed:  make(chan struct{}),
	}
	if s.reserve == 0 {
		s.reserve = defaultReserve
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.writer <- newWriter(s, conns[0], blobs)
	for _, c := range conns[1:] {
		s.readers <- c
	}
	return s, nil
}

// openDatabase connects to the database of a data folder and brings all to the
// present schema. The first connection is the writer's, the others read.
func openDatabase(dir string) (conns []*sqlite3.Conn, b *blobs, err error) {
	path := filepath.Join(dir, "tipt.db")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would let all read it
	if err != nil {
		return nil, nil, err
	}
	if err := f.Close(); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(conns))
		}
	}()
	c, err := openConn(path, cacheSize, "PRAGMA journal_size_limit = 134217728")
	if err != nil {
		return nil, nil, err
	}
	conns = append(conns, c)
	if err := migrate(c, migrations); err != nil {
		return conns, nil, err
	}
	if b, err = openBlobs(c, dir); err != nil {
		return conns, nil, err
	}
	for range readerCount {
		c, err := openConn(path, "PRAGMA query_only = 1")
		if err != nil {
			return conns, nil, err
		}
		conns = append(conns, c)
	}
	return conns, b, syncDir(dir)
}

func closeAll(conns []*sqlite3.Conn) error {
	var errs []error
	for _, c := range conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Close waits for what is going on and releases the store. What comes later
// fails with an error that wraps [os.ErrClosed].
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		var conns []*sqlite3.Conn
		for range readerCount {
			conns = append(conns, <-s.readers)
		}
		conns = append(conns, (<-s.writer).c) // last: it cleans up
		s.closeErr = errors.Join(closeAll(conns), s.lock.Close())
	})
	return s.closeErr
}

var errClosed = fmt.Errorf("store: %w", os.ErrClosed)

// Commit implements [store.Store].
func (s *Store) Commit(ctx context.Context, batch []store.Op) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	select {
	case w := <-s.writer:
		err := s.result("committing", w.commit(batch))
		s.writer <- w
		return err
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read runs f on a connection of its own.
func (s *Store) read(ctx context.Context, doing string, f func(c *sqlite3.Conn) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	select {
	case c := <-s.readers:
		err := s.result(doing, f(c))
		s.readers <- c
		return err
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// usable is nil, or why there is no use in going on.
func (s *Store) usable(ctx context.Context) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// result is the error of work on a connection as callers get it. A failure
// of the store sticks.
func (s *Store) result(doing string, err error) error {
	if err == nil {
		return nil
	}
	failure := fmt.Errorf("%s: %w", doing, classify(err))
	if errors.Is(failure, store.ErrFailed) {
		s.failed.CompareAndSwap(nil, &failure)
	}
	return failure
}
