package msgpack

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Unknown says what a [Map] does with keys that are not declared.
type Unknown bool

const (
	Refuse Unknown = false // they are an error
	Step   Unknown = true  // they are stepped over, with their values
)

// Keys are the keys that a map may have.
type Keys []declaration

type declaration struct {
	name     string
	optional bool
}

// Declare declares at most 64 keys; those written with a final "?" are optional.
func Declare(keys ...string) Keys {
	ks := make(Keys, len(keys))
	for i, k := range keys {
		ks[i].name, ks[i].optional = strings.CutSuffix(k, "?")
	}
	return ks
}

// A Map reads the entries of one map. Next goes from one to the next; of each
// the value is to be read, once, by the method for its declared type. The first error
// sticks: after it Next returns false and the readers return zero values.
//
//	m := msgpack.ReadMap(b, 1, msgpack.Refuse, keys)
//	for m.Next() {
//		switch m.Key() {
//		case "name":
//			x.Name = m.Str(8)
//		case "wait":
//			x.Wait = m.Uint(32)
//		}
//	}
//	return m.Err()
type Map struct {
	b       []byte // what is not yet read
	left    int    // entries in it
	depth   int    // of the map itself
	keys    Keys
	seen    uint64 // bit i: keys[i] was met
	cur     int    // the key at hand, in keys
	unknown Unknown
	others  keySet // undeclared keys, made with the first
	first   string // of them
	err     *Error
}

// ReadMap starts reading b, which must hold exactly one map, at the given
// depth.
func ReadMap(b []byte, depth int, unknown Unknown, keys Keys) Map {
	m := Map{depth: depth, keys: keys, cur: -1, unknown: unknown}
	h, ok := readHead(b)
	switch {
	case !ok:
		m.err = errEnd("map")
	case h.family != object:
		m.err = &Error{Found: Describe(h.first), Want: "map"}
	default:
		m.b, m.left = b[h.size:], int(h.n)
		m.err = checkContainer(h, m.b, depth, 0)
	}
	return m
}

// Next goes to the next declared key and reports whether there is one. At the
// end it fails when a key was missing or bytes are left.
func (m *Map) Next() bool {
	for m.err == nil && m.left > 0 {
		m.left--
		at := m.b
		key, rest, err := readKey(at)
		if err != nil {
			m.err = err
			return false
		}
		m.b = rest
		i := m.index(key)
		if i < 0 {
			m.other(key, at)
			continue
		}
		if m.seen&(1<<i) != 0 {
			m.err = errTwice().At(m.keys[i].name)
			return false
		}
		m.seen |= 1 << i
		m.cur = i
		return true
	}
	if m.err == nil {
		m.end()
	}
	return false
}

// index finds a key among those declared, and first where it usually is: after the last one.
func (m *Map) index(key []byte) int {
	if i := m.cur + 1; i < len(m.keys) && m.keys[i].name == string(key) {
		return i
	}
	for i := range m.keys {
		if m.keys[i].name == string(key) {
			return i
		}
	}
	return -1
}

// other takes an undeclared key, which is encoded at the start of at, and its value.
func (m *Map) other(key, at []byte) {
	if m.unknown == Refuse {
		m.err = &Error{Key: showKey(key), Found: "an unknown key", Want: "none in this version"}
		return
	}
	if m.others.base == nil {
		m.others.init(at, m.left+1) // at most all that are left
		m.first = showKey(key)
	}
	if !m.others.add(len(m.others.base)-len(at), key) {
		m.err = errTwice().At(showKey(key))
		return
	}
	rest, err := skip(m.b, m.depth+1, 2*m.left)
	if err != nil {
		m.err = err.At(showKey(key))
		return
	}
	m.b = rest
}

func (m *Map) end() {
	if len(m.b) > 0 {
		m.err = &Error{Found: strconv.Itoa(len(m.b)) + " bytes after the map", Want: "none"}
		return
	}
	for i, k := range m.keys {
		if m.seen&(1<<i) == 0 && !k.optional {
			m.err = &Error{Key: k.name, Found: "no such key", Want: "it once"}
			return
		}
	}
}

// Key is the key that Next went to.
func (m *Map) Key() string { return m.keys[m.cur].name }

// Err is the first error, or nil. It is complete once Next has returned false.
func (m *Map) Err() *Error { return m.err }

// Other is the first undeclared key that was stepped over, as an Error shows it, or "".
func (m *Map) Other() string { return m.first }

// Fail makes the entry at hand an error: what was found, and what was wanted.
func (m *Map) Fail(found, want string) {
	if m.err == nil {
		m.err = &Error{Key: m.Key(), Found: found, Want: want}
	}
}

// take checks that the value at hand is whole, of family f and at most of
// the given width. It leaves the value to be read.
func (m *Map) take(f family, bits uint8, want string) bool {
	if m.err != nil {
		return false
	}
	h, ok := readHead(m.b)
	switch {
	case !ok:
		m.err = errEnd(want).At(m.Key())
	case h.family != f || h.bits > bits:
		m.Fail(Describe(h.first), want)
	case uint64(len(m.b)-h.size) < h.n:
		m.err = errLength(h, len(m.b)-h.size).At(m.Key())
	default:
		return true
	}
	return false
}

// read notes the outcome of msgp's reader, which cannot fail after take.
func (m *Map) read(rest []byte, err error) {
	if err != nil {
		m.Fail(err.Error(), "a value")
		return
	}
	m.b = rest
}

// Enum reads a positive fixint.
func (m *Map) Enum() uint8 {
	if !m.take(posint, 0, "positive fixint") {
		return 0
	}
	v, rest, err := msgp.ReadUint8Bytes(m.b)
	m.read(rest, err)
	return v
}

// Uint reads an unsigned integer of at most the given width: 8, 16, 32 or 64 bits.
func (m *Map) Uint(bits uint8) uint64 {
	if !m.take(posint, bits, wantUint(bits)) {
		return 0
	}
	v, rest, err := msgp.ReadUint64Bytes(m.b)
	m.read(rest, err)
	return v
}

// Str reads a string with a length of at most the given width: 8, 16 or 32
// bits. The string is a copy.
func (m *Map) Str(bits uint8) string { return string(m.StrBytes(bits)) }

// StrBytes is Str without a copy: the bytes alias the input.
func (m *Map) StrBytes(bits uint8) []byte {
	if !m.take(str, bits, wantStr(bits)) {
		return nil
	}
	v, rest, err := msgp.ReadStringZC(m.b)
	m.read(rest, err)
	if !utf8.Valid(v) {
		m.err = errUTF8().At(m.Key())
		return nil
	}
	return v
}

// Bin reads bytes with a length of at most the given width: 8, 16 or 32 bits.
// They alias the input, cannot be appended to in place, and are never nil without an error.
func (m *Map) Bin(bits uint8) []byte {
	if !m.take(bin, bits, wantBin(bits)) {
		return nil
	}
	v, rest, err := msgp.ReadBytesZC(m.b)
	m.read(rest, err)
	return v[:len(v):len(v)]
}

// Bool reads a boolean.
func (m *Map) Bool() bool {
	if !m.take(boolean, 0, "bool") {
		return false
	}
	v, rest, err := msgp.ReadBoolBytes(m.b)
	m.read(rest, err)
	return v
}

// Nil reports whether the value at hand is nil, and then takes it.
func (m *Map) Nil() bool {
	if m.err != nil || !msgp.IsNil(m.b) {
		return false
	}
	m.b = m.b[1:]
	return true
}

// IsBin reports whether the value at hand is bytes of some width. It takes nothing.
func (m *Map) IsBin() bool {
	h, ok := readHead(m.b)
	return m.err == nil && ok && h.family == bin
}

// Map takes a whole map, checked as by [Skip], to be read by a [ReadMap] of
// its own one level deeper. It aliases the input.
func (m *Map) Map() []byte { return m.container(object, "map") }

// Array takes a whole array likewise, to be read by [ReadArray].
func (m *Map) Array() []byte { return m.container(array, "array") }

func (m *Map) container(f family, want string) []byte {
	if m.err != nil {
		return nil
	}
	if h, ok := readHead(m.b); ok && h.family != f {
		m.Fail(Describe(h.first), want)
		return nil
	}
	return m.Any()
}

// Any takes a value of any type, checked as by [Skip]. It aliases the input.
func (m *Map) Any() []byte {
	if m.err != nil {
		return nil
	}
	rest, err := skip(m.b, m.depth+1, 2*m.left)
	if err != nil {
		m.err = err.At(m.Key())
		return nil
	}
	n := len(m.b) - len(rest)
	v := m.b[:n:n]
	m.b = rest
	return v
}

// ReadArray returns how many elements the array b has and, to be given to
// [Element], where they begin. b comes from [Map.Array].
func ReadArray(b []byte) (n int, elements []byte) {
	h, ok := readHead(b)
	if !ok || h.family != array {
		return 0, nil
	}
	return int(h.n), b[h.size:]
}

// Element cuts the first element, at the given depth, from what [ReadArray]
// or Element returned.
func Element(b []byte, depth int) (element, rest []byte, err *Error) {
	rest, err = skip(b, depth, 0)
	if err != nil {
		return nil, nil, err
	}
	n := len(b) - len(rest)
	return b[:n:n], rest, nil
}

func wantUint(bits uint8) string {
	switch bits {
	case 8:
		return "uint up to 8 bits"
	case 16:
		return "uint up to 16 bits"
	case 32:
		return "uint up to 32 bits"
	}
	return "uint up to 64 bits"
}

func wantStr(bits uint8) string {
	switch bits {
	case 8:
		return "str up to 8-bit length"
	case 16:
		return "str up to 16-bit length"
	}
	return "str up to 32-bit length"
}

func wantBin(bits uint8) string {
	switch bits {
	case 8:
		return "bin up to 8-bit length"
	case 16:
		return "bin up to 16-bit length"
	}
	return "bin up to 32-bit length"
}
