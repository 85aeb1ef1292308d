// Package msgpack reads msgpack as strictly as section 2 of docs/protocol.md
// asks: [Map] reads the entries of one map under a list of declared keys,
// [Skip] checks a value that nobody reads, and [Skim] takes from a packet that
// is not kept, or not well formed, only what an answer needs.
//
// It stands on the runtime of github.com/tinylib/msgp, whose Append functions
// write the smallest encodings as they are.
package msgpack

import (
	"encoding/binary"
	"strconv"
)

// MaxDepth is how deep maps and arrays may nest; the root is 1.
const MaxDepth = 4

// An Error says which key broke the rules, what was found there and what was
// expected. Key is a path such as `err.wait` or `devs[2].seen`; it is empty for
// the value as a whole.
type Error struct {
	Key, Found, Want string
}

func (e *Error) Error() string {
	key := e.Key
	if key == "" {
		key = "root"
	}
	return key + ": found " + e.Found + ", want " + e.Want
}

// At returns e with key put before its path.
func (e *Error) At(key string) *Error {
	if key != "" {
		switch {
		case e.Key == "":
			e.Key = key
		case e.Key[0] == '[':
			e.Key = key + e.Key
		default:
			e.Key = key + "." + e.Key
		}
	}
	return e
}

// maxShownKey is how many bytes of a peer's key an Error repeats.
const maxShownKey = 32

// showKey is a peer's key as an Error repeats it: short, and in ASCII.
func showKey(key []byte) string {
	if len(key) == 0 {
		return `""`
	}
	var shown [maxShownKey + len("...")]byte
	n := copy(shown[:maxShownKey], key)
	for i, c := range shown[:n] {
		if !isKeyByte(c) {
			shown[i] = '?'
		}
	}
	if len(key) > n {
		n += copy(shown[n:], "...")
	}
	return string(shown[:n])
}

func isKeyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// A family is what a marker says of its value, its width apart.
type family uint8

const (
	invalid family = iota // 0xc1
	null
	boolean
	posint // positive fixint, uint
	negint // negative fixint, int
	float
	str
	bin
	ext
	array
	object // "map" is taken
)

// A marker is what the first byte of a value says.
type marker struct {
	family family
	bits   uint8 // of the number or of the length; 0: in the first byte itself
	length uint8 // bytes of the length behind the first byte: 0, 1, 2 or 4
	n      uint8 // what head.n is apart from that length
}

// markers are all markers by their byte.
var markers = func() (ms [256]marker) {
	for c := range 256 {
		ms[c] = newMarker(byte(c))
	}
	return ms
}()

func newMarker(c byte) marker {
	switch {
	case c <= 0x7f:
		return marker{family: posint}
	case c <= 0x8f:
		return marker{family: object, n: c & 0x0f}
	case c <= 0x9f:
		return marker{family: array, n: c & 0x0f}
	case c <= 0xbf:
		return marker{family: str, n: c & 0x1f}
	case c >= 0xe0:
		return marker{family: negint}
	}
	switch c {
	case 0xc0:
		return marker{family: null}
	case 0xc2, 0xc3:
		return marker{family: boolean}
	case 0xc4, 0xc5, 0xc6:
		return marker{family: bin, bits: 8 << (c - 0xc4), length: 1 << (c - 0xc4)}
	case 0xc7, 0xc8, 0xc9: // behind the length stands the extension's type
		return marker{family: ext, bits: 8 << (c - 0xc7), length: 1 << (c - 0xc7), n: 1}
	case 0xca, 0xcb:
		return marker{family: float, bits: 32 << (c - 0xca), n: 4 << (c - 0xca)}
	case 0xcc, 0xcd, 0xce, 0xcf:
		return marker{family: posint, bits: 8 << (c - 0xcc), n: 1 << (c - 0xcc)}
	case 0xd0, 0xd1, 0xd2, 0xd3:
		return marker{family: negint, bits: 8 << (c - 0xd0), n: 1 << (c - 0xd0)}
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return marker{family: ext, n: 1 + 1<<(c-0xd4)}
	case 0xd9, 0xda, 0xdb:
		return marker{family: str, bits: 8 << (c - 0xd9), length: 1 << (c - 0xd9)}
	case 0xdc, 0xdd:
		return marker{family: array, bits: 16 << (c - 0xdc), length: 2 << (c - 0xdc)}
	case 0xde, 0xdf:
		return marker{family: object, bits: 16 << (c - 0xde), length: 2 << (c - 0xde)}
	}
	return marker{family: invalid}
}

// A head is what the first bytes of a value say.
type head struct {
	first  byte // the marker
	family family
	bits   uint8  // as of the marker
	size   int    // bytes of the marker and the length
	n      uint64 // array: its elements; map: its entries; else the bytes behind the head
}

// maxHead is the size of the longest head, which has a 32-bit length.
const maxHead = 5

// readHead reads the head at the start of b; ok is false where b ends
// within it.
func readHead(b []byte) (h head, ok bool) {
	if len(b) == 0 {
		return head{}, false
	}
	m := markers[b[0]]
	h = head{first: b[0], family: m.family, bits: m.bits, size: 1 + int(m.length), n: uint64(m.n)}
	if len(b) < h.size {
		return head{}, false
	}
	switch m.length {
	case 1:
		h.n += uint64(b[1])
	case 2:
		h.n += uint64(binary.BigEndian.Uint16(b[1:]))
	case 4:
		h.n += uint64(binary.BigEndian.Uint32(b[1:]))
	}
	return h, true
}

// Describe names the marker that a value starts with as the msgpack
// specification does.
func Describe(c byte) string {
	m := markers[c]
	var fix, bits string
	if m.bits == 0 {
		fix = "fix"
	} else {
		bits = " " + strconv.Itoa(int(m.bits))
	}
	switch m.family {
	case null:
		return "nil"
	case boolean:
		return "bool"
	case posint:
		if m.bits == 0 {
			return "positive fixint"
		}
		return "uint" + bits
	case negint:
		if m.bits == 0 {
			return "negative fixint"
		}
		return "int" + bits
	case float:
		return "float" + bits
	case str:
		return fix + "str" + bits
	case bin:
		return "bin" + bits
	case ext:
		return fix + "ext" + bits
	case array:
		return fix + "array" + bits
	case object:
		return fix + "map" + bits
	}
	return "0x" + strconv.FormatUint(uint64(c), 16)
}
