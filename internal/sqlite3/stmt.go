package sqlite3

import (
	"bytes"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	lib "modernc.org/sqlite/lib"
)

// A stmt is a prepared statement of a Conn.
type stmt struct {
	c      *Conn
	handle uintptr // *sqlite3_stmt
	params int     // arguments that it takes

	// memory has the texts and blobs among the arguments, until the next ones: what SQLite is
	// given must not be Go's, which may move it.
	memory uintptr
	size   int // of memory, in bytes
}

// firstSize is the size of a statement's memory at first. It is not 0: a text without a place is NULL.
const firstSize = 64

// bind gives the statement its arguments.
func (s *stmt) bind(args []any) error {
	if len(args) != s.params {
		panic("sqlite3: too many arguments for a statement, or too few")
	}
	size := 0
	for _, arg := range args {
		switch a := arg.(type) {
		case string:
			size += len(a)
		case []byte:
			size += len(a)
		}
	}
	if err := s.reserve(size); err != nil {
		return err
	}
	free, p := libc.GoBytes(s.memory, s.size), s.memory
	tls := s.c.tls
	for i, arg := range args {
		index := int32(i + 1)
		var rc int32
		var n int
		switch a := arg.(type) {
		case int64:
			rc = lib.Xsqlite3_bind_int64(tls, s.handle, index, a)
		case string:
			n = copy(free, a)
			rc = lib.Xsqlite3_bind_text(tls, s.handle, index, p, int32(n), lib.SQLITE_STATIC)
		case []byte:
			if a == nil {
				rc = lib.Xsqlite3_bind_null(tls, s.handle, index)
				break
			}
			n = copy(free, a)
			rc = lib.Xsqlite3_bind_blob(tls, s.handle, index, p, int32(n), lib.SQLITE_STATIC)
		case nil:
			rc = lib.Xsqlite3_bind_null(tls, s.handle, index)
		default:
			panic("sqlite3: an argument that is no int64, string, []byte or nil")
		}
		if rc != lib.SQLITE_OK {
			return s.c.failure(rc)
		}
		free, p = free[n:], p+uintptr(n)
	}
	return nil
}

// reserve makes room for so many bytes of arguments.
func (s *stmt) reserve(size int) error {
	if s.memory != 0 && size <= s.size {
		return nil
	}
	size = max(size, 2*s.size, firstSize)
	libc.Xfree(s.c.tls, s.memory) // SQLite does not look at what it was given before it has the new arguments
	s.memory, s.size = libc.Xmalloc(s.c.tls, types.Size_t(size)), size
	if s.memory == 0 {
		s.size = 0
		return errMemory
	}
	return nil
}

// A Value is one of a row. NULL is 0, "" and nil.
type Value struct {
	Null    bool
	Integer int64
	Text    string
	Blob    []byte
}

// column returns a value of the row at hand.
func (s *stmt) column(i int) Value {
	tls, at := s.c.tls, int32(i)
	switch lib.Xsqlite3_column_type(tls, s.handle, at) {
	case lib.SQLITE_INTEGER:
		return Value{Integer: lib.Xsqlite3_column_int64(tls, s.handle, at)}
	case lib.SQLITE_TEXT:
		p := lib.Xsqlite3_column_text(tls, s.handle, at)
		return Value{Text: string(libc.GoBytes(p, int(lib.Xsqlite3_column_bytes(tls, s.handle, at))))}
	case lib.SQLITE_BLOB:
		p := lib.Xsqlite3_column_blob(tls, s.handle, at)
		return Value{Blob: bytes.Clone(libc.GoBytes(p, int(lib.Xsqlite3_column_bytes(tls, s.handle, at))))}
	case lib.SQLITE_NULL:
		return Value{Null: true}
	}
	panic("sqlite3: a column that is no integer, text, blob or NULL")
}
