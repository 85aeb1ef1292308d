package tipt

import (
	"fmt"
	"math"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// bodyDepth is the depth of a packet's body: the root is 1.
const bodyDepth = 2

// readBody starts reading a packet's body under the given keys, of which
// those written with "?" are optional.
func readBody(body []byte, newer bool, keys msgpack.Keys) msgpack.Map {
	return msgpack.ReadMap(orNil(body), bodyDepth, msgpack.Unknown(newer), keys)
}

// orNil is the body as bytes where it may have been left out.
func orNil(body []byte) []byte {
	if len(body) == 0 {
		return encodedNil
	}
	return body
}

var encodedNil = []byte{0xc0}

// bodyError is the error of a body's Parse.
func bodyError(err *msgpack.Error) error {
	if err == nil {
		return nil
	}
	return malformed(err.At("body"))
}

// malformed is err as callers know it.
func malformed(err *msgpack.Error) error {
	return &MalformedError{Key: err.Key, Found: err.Found, Want: err.Want}
}

// ParseNil checks the body of a packet that must have none (section 2).
func ParseNil(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	return &MalformedError{Key: "body", Found: msgpack.Describe(body[0]), Want: "nil or no such key"}
}

// checkSize fails the entry at hand where it has more than limit bytes.
func checkSize(m *msgpack.Map, size, limit int) {
	if size > limit {
		m.Fail(fmt.Sprintf("%d bytes", size), fmt.Sprintf("at most %d", limit))
	}
}

// readStr reads a string of at most limit bytes.
func readStr(m *msgpack.Map, bits uint8, limit int) string {
	b := m.StrBytes(bits)
	checkSize(m, len(b), limit)
	return string(b)
}

// readBin reads at most limit bytes, which alias the input.
func readBin(m *msgpack.Map, bits uint8, limit int) []byte {
	b := m.Bin(bits)
	checkSize(m, len(b), limit)
	return b
}

// checkExact fails the entry at hand unless it has exactly size bytes.
func checkExact(m *msgpack.Map, n, size int) {
	if m.Err() == nil && n != size {
		m.Fail(fmt.Sprintf("%d bytes", n), fmt.Sprintf("exactly %d", size))
	}
}

// readExact reads as many bytes as dst has into it.
func readExact(m *msgpack.Map, dst []byte) {
	b := m.Bin(8)
	checkExact(m, len(b), len(dst))
	copy(dst, b)
}

// readRef reads a `ref`.
func readRef(m *msgpack.Map) *MessageID {
	var id MessageID
	readExact(m, id[:])
	return &id
}

// checkTooLarge is the error of a `msg` or a `key` over its limit (section 4).
func checkTooLarge(key string, size, limit int) error {
	if size <= limit {
		return nil
	}
	return &Error{Code: ErrTooLarge, Message: fmt.Sprintf("%s has %d bytes, at most %d are taken", key, size, limit)}
}

// readTime reads a time in milliseconds.
func readTime(m *msgpack.Map) time.Time {
	ms := m.Uint(64)
	if m.Err() == nil && ms > math.MaxInt64 {
		m.Fail(fmt.Sprintf("%d", ms), "milliseconds since 1970 below 2^63")
	}
	if m.Err() != nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// appendTime appends a time in milliseconds; one before 1970 becomes 1970.
func appendTime(b []byte, t time.Time) []byte {
	return msgp.AppendUint64(b, uint64(max(t.UnixMilli(), 0)))
}
