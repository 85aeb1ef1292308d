package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	lib "modernc.org/sqlite/lib"

	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

// classify tells which of the store's errors an error of SQLite or of the
// file system is, and wraps it as that.
func classify(err error) error {
	if err == nil || errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrDiskFull) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", store.ErrDiskFull, err)
	}
	var se *sqlite3.Error
	if !errors.As(err, &se) {
		return err
	}
	if se.Code == lib.SQLITE_IOERR_NOMEM {
		return err
	}
	switch se.Code & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: %w", store.ErrDiskFull, err)
	case lib.SQLITE_IOERR, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_READONLY, lib.SQLITE_PROTOCOL:
		return fmt.Errorf("%w: %w", store.ErrFailed, err)
	}
	return err
}

var errUnknown = errors.New("unknown operation")

// impossible wraps the error of an operation where the operation itself is to blame.
func impossible(op store.Op, err error) error {
	var se *sqlite3.Error
	if errors.As(err, &se) {
		switch se.Code & 0xff {
		case lib.SQLITE_CONSTRAINT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH:
		default:
			return err
		}
	} else if !errors.Is(err, errUnknown) {
		return err
	}
	return fmt.Errorf("%w: %T: %w", store.ErrImpossible, op, err)
}
