package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

// A body too long for its message's row is a row of the table bodies or, from
// fileSize on, a file in DIR/blobs with a row in the table files; its id, which is the
// file's name, is from one counter for both. A file is on the disk before the transaction that
// needs it commits, and goes after the one that does not need it any more; what a
// crash leaves in between goes at the next Open. No id is used twice in
// the life of a process, so that a reader never finds another body under it.

const (
	// fileSize is where a file is as fast as the log, which writes a body twice: measured with 32
	// callers, and twice as fast at twice the size, five times at 1 MB. What is larger would push all
	// else out of SQLite's cache, and be in its memory once more while it is written.
	fileSize = 64 << 10
	// unlinkLimit bounds the files that are removed with one batch. The next batches go on.
	unlinkLimit = 128
	// syncLimit is how many files are synced at the same time.
	syncLimit = 16
)

// blobs are what a batch does to files.
type blobs struct {
	dir     string
	lastID  int64      // used in bodies and files
	created []*os.File // by this batch
	dropped []int64    // by this batch
	garbage []int64    // dropped by batches before
}

func blobDir(dir string) string { return filepath.Join(dir, "blobs") }

func blobPath(dir string, id int64) string {
	return filepath.Join(blobDir(dir), strconv.FormatInt(id, 10))
}

// addBody keeps a body and returns its id.
func (w *writer) addBody(body []byte) (id int64, err error) {
	w.blobs.lastID++
	id = w.blobs.lastID
	if len(body) < fileSize {
		if body == nil {
			body = []byte{}
		}
		err = w.c.Exec("INSERT INTO bodies (id, body) VALUES (?, ?)", id, body)
		return id, err
	}
	if err := w.blobs.create(id, body); err != nil {
		return 0, err
	}
	err = w.c.Exec("INSERT INTO files (id) VALUES (?)", id)
	return id, err
}

func (b *blobs) create(id int64, body []byte) error {
	f, err := os.OpenFile(blobPath(b.dir, id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	b.created = append(b.created, f)
	_, err = f.Write(body)
	return err
}

// dropBodies deletes the bodies whose ids a SELECT returns.
func (w *writer) dropBodies(selectIDs string, args ...any) error {
	if err := w.c.Exec("DELETE FROM bodies WHERE id IN ("+selectIDs+")", args...); err != nil {
		return err
	}
	return w.c.Query(1, func(v []sqlite3.Value) bool {
		w.blobs.dropped = append(w.blobs.dropped, v[0].Integer)
		return true
	}, "DELETE FROM files WHERE id IN ("+selectIDs+") RETURNING id", args...)
}

// dropBody deletes one body. It is dropBodies without the table that SQLite makes of the ids.
func (w *writer) dropBody(id int64) error {
	n, err := w.c.Change("DELETE FROM bodies WHERE id = ?", id)
	if err != nil || n > 0 {
		return err
	}
	if n, err = w.c.Change("DELETE FROM files WHERE id = ?", id); n > 0 {
		w.blobs.dropped = append(w.blobs.dropped, id)
	}
	return err
}

// sync puts the files of a batch on the disk.
func (b *blobs) sync() error {
	if len(b.created) == 0 {
		return nil
	}
	var g errgroup.Group
	g.SetLimit(syncLimit)
	for _, f := range b.created {
		g.Go(f.Sync)
	}
	err := g.Wait()
	if err == nil {
		err = syncDir(blobDir(b.dir))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrFailed, err)
	}
	return nil
}

// committed follows a batch that was committed: files that it dropped can go.
func (b *blobs) committed() error {
	err := b.close()
	b.garbage = append(b.garbage, b.dropped...)
	b.dropped = b.dropped[:0]
	return errors.Join(err, b.collect())
}

// rolledBack follows a batch that was rolled back: files that it made go.
func (b *blobs) rolledBack() error {
	var errs []error
	for _, f := range b.created {
		errs = append(errs, os.Remove(f.Name()))
	}
	b.dropped = b.dropped[:0]
	return errors.Join(append(errs, b.close(), b.collect())...)
}

// collect removes a bounded number of the files that batches have dropped.
func (b *blobs) collect() error {
	n := min(unlinkLimit, len(b.garbage))
	var errs []error
	for _, id := range b.garbage[:n] {
		errs = append(errs, os.Remove(blobPath(b.dir, id)))
	}
	b.garbage = b.garbage[:copy(b.garbage, b.garbage[n:])]
	return errors.Join(errs...)
}

func (b *blobs) close() error {
	var errs []error
	for _, f := range b.created {
		errs = append(errs, f.Close())
	}
	clear(b.created)
	b.created = b.created[:0]
	return errors.Join(errs...)
}

// openBlobs removes the files that are of no use to anybody and makes sure that the others are there.
func openBlobs(c *sqlite3.Conn, dir string) (*blobs, error) {
	if err := os.Mkdir(blobDir(dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	entries, err := os.ReadDir(blobDir(dir))
	if err != nil {
		return nil, err
	}
	found := make(map[int64]bool, len(entries))
	for _, e := range entries {
		if id, err := strconv.ParseInt(e.Name(), 10, 64); err == nil {
			found[id] = true
		}
	}
	var missing error
	if err := c.Query(1, func(v []sqlite3.Value) bool {
		id := v[0].Integer
		if !found[id] {
			missing = fmt.Errorf("the body of a message is missing: %s; put it back from a backup, or an empty file in its place to give it up", blobPath(dir, id))
		}
		delete(found, id)
		return missing == nil
	}, "SELECT id FROM files"); err != nil {
		return nil, err
	}
	if missing != nil {
		return nil, missing
	}
	for id := range found {
		if err := os.Remove(blobPath(dir, id)); err != nil {
			return nil, err
		}
	}
	v := make([]sqlite3.Value, 1)
	_, err = c.One(v, "SELECT max(ifnull((SELECT max(id) FROM bodies), 0), ifnull((SELECT max(id) FROM files), 0))")
	return &blobs{dir: dir, lastID: v[0].Integer}, err
}

// readBlob returns the body of a row that a reader has found. It is gone when the row was
// deleted since.
func readBlob(c *sqlite3.Conn, dir string, id int64) (body []byte, gone bool, err error) {
	body, err = os.ReadFile(blobPath(dir, id))
	if !errors.Is(err, fs.ErrNotExist) {
		return body, false, err
	}
	found, rerr := c.One(make([]sqlite3.Value, 1), "SELECT 1 FROM files WHERE id = ?", id)
	if rerr != nil || !found {
		return nil, !found, rerr
	}
	return nil, false, fmt.Errorf("%w: the body of a message is missing: %w", store.ErrFailed, err)
}
