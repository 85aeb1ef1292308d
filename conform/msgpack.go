package conform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// raw is an encoded value.
type raw []byte

// bin is encoded as a binary.
type bin []byte

// pack encodes v in the smallest form. It takes nil, bool, int, uint64, string, bin, raw and
// []any of these.
func pack(v any) raw {
	switch v := v.(type) {
	case nil:
		return raw{0xc0}
	case raw:
		return v
	case bool:
		if v {
			return raw{0xc3}
		}
		return raw{0xc2}
	case int:
		return pack(uint64(v))
	case uint8:
		return pack(uint64(v))
	case uint64:
		switch {
		case v < 0x80:
			return raw{byte(v)}
		case v <= 0xff:
			return packAs(0xcc, v)
		case v <= 0xffff:
			return packAs(0xcd, v)
		case v <= 0xffffffff:
			return packAs(0xce, v)
		}
		return packAs(0xcf, v)
	case string:
		switch n := len(v); {
		case n < 32:
			return append(raw{0xa0 | byte(n)}, v...)
		case n <= 0xff:
			return packAs(0xd9, v)
		case n <= 0xffff:
			return packAs(0xda, v)
		}
		return packAs(0xdb, v)
	case bin:
		switch n := len(v); {
		case n <= 0xff:
			return packAs(0xc4, v)
		case n <= 0xffff:
			return packAs(0xc5, v)
		}
		return packAs(0xc6, v)
	case []any:
		b := raw{0x90 | byte(len(v))}
		for _, item := range v {
			b = append(b, pack(item)...)
		}
		return b
	}
	panic(fmt.Sprintf("conform: cannot encode a %T", v))
}

// widths are how many bytes follow a marker: a number or a length.
var widths = map[byte]int{
	0xc4: 1, 0xc5: 2, 0xc6: 4, 0xc7: 1, 0xc8: 2, 0xc9: 4,
	0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8,
	0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4,
}

// packAs encodes a number, string or bin with a marker that need not be its smallest.
func packAs(marker byte, v any) raw {
	var n uint64
	var content []byte
	switch v := v.(type) {
	case uint64:
		n = v
	case int:
		n = uint64(v)
	case uint8:
		n = uint64(v)
	case string:
		n, content = uint64(len(v)), []byte(v)
	case bin:
		n, content = uint64(len(v)), v
	default:
		panic(fmt.Sprintf("conform: cannot encode a %T with a marker", v))
	}
	return append(head(marker, n), content...)
}

// head is a marker with the number or length behind it.
func head(marker byte, n uint64) raw {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return append(raw{marker}, b[8-widths[marker]:]...)
}

// fields are alternately keys and values; a key is a string or raw.
type fields []any

// without returns the fields less one key.
func (f fields) without(key string) fields {
	rest := fields{}
	for i := 0; i < len(f); i += 2 {
		if f[i] != key {
			rest = append(rest, f[i], f[i+1])
		}
	}
	return rest
}

// with returns the fields with a key's value replaced, or added.
func (f fields) with(key string, v any) fields {
	changed := append(fields(nil), f...)
	for i := 0; i < len(f); i += 2 {
		if f[i] == key {
			changed[i+1] = v
			return changed
		}
	}
	return append(changed, key, v)
}

func (f fields) get(key string) any {
	for i := 0; i < len(f); i += 2 {
		if f[i] == key {
			return f[i+1]
		}
	}
	return nil
}

// pack encodes a map.
func (f fields) pack() raw {
	n := len(f) / 2
	if n < 16 {
		return append(raw{0x80 | byte(n)}, f.content()...)
	}
	return f.packAs(0xde)
}

// packAs encodes a map with a marker of a length that follows it.
func (f fields) packAs(marker byte) raw {
	return append(head(marker, uint64(len(f)/2)), f.content()...)
}

func (f fields) content() raw {
	var b raw
	for _, v := range f {
		if inner, ok := v.(fields); ok {
			v = inner.pack()
		}
		b = append(b, pack(v)...)
	}
	return b
}

// A kind is what a value is, whatever its width.
type kind uint8

const (
	kindNil kind = iota
	kindBool
	kindUint
	kindInt
	kindFloat
	kindStr
	kindBin
	kindArray
	kindMap
	kindExt
)

var kindNames = [...]string{"nil", "bool", "uint", "int", "float", "str", "bin", "array", "map", "extension"}

func (k kind) String() string { return kindNames[k] }

// A value is a decoded value and where it stands.
type value struct {
	kind    kind
	marker  byte
	n       uint64 // of a uint, or how many bytes or items there are; of a bool 1 for true
	content []byte // of str, bin and ext
	items   []*value
	head    int // where it begins
	body    int // where its head ends
	end     int
}

// get returns what a map has under a key, or nil.
func (v *value) get(key string) *value {
	if v == nil || v.kind != kindMap {
		return nil
	}
	for i := 0; i < len(v.items); i += 2 {
		if v.items[i].kind == kindStr && string(v.items[i].content) == key {
			return v.items[i+1]
		}
	}
	return nil
}

// list returns an array's items, none for what is none.
func (v *value) list() []*value {
	if v == nil || v.kind != kindArray {
		return nil
	}
	return v.items
}

// is reports whether v is that bool.
func (v *value) is(want bool) bool { return v != nil && v.kind == kindBool && (v.n == 1) == want }

func (v *value) isNil() bool { return v == nil || v.kind == kindNil }

// str returns a string's text, "" for what is none.
func (v *value) str() string {
	if v == nil || v.kind != kindStr {
		return ""
	}
	return string(v.content)
}

// bytes returns a binary's bytes, nil for what is none.
func (v *value) bytes() []byte {
	if v == nil || v.kind != kindBin {
		return nil
	}
	return v.content
}

// num returns a number, or -1 for what is none.
func (v *value) num() int64 {
	if v == nil || v.kind != kindUint {
		return -1
	}
	return int64(v.n)
}

var (
	errEnd    = errors.New("the bytes end inside a value")
	errUnused = errors.New("the marker c1 occurs")
	errDeep   = errors.New("nested too deep to read")
)

// unpack decodes the value at the start of b. It takes more than the protocol does; the
// differences are found by [value.faults].
func unpack(b []byte) (*value, error) { return unpackAt(b, 0, 0) }

func unpackAt(b []byte, at, depth int) (*value, error) {
	if at >= len(b) {
		return nil, errEnd
	}
	if depth > 32 {
		return nil, errDeep
	}
	m := b[at]
	v := &value{marker: m, head: at}
	width := widths[m]
	if at+1+width > len(b) {
		return nil, errEnd
	}
	for _, c := range b[at+1 : at+1+width] {
		v.n = v.n<<8 | uint64(c)
	}
	v.body = at + 1 + width
	v.end = v.body
	length, items := 0, 0
	switch {
	case m < 0x80:
		v.kind, v.n = kindUint, uint64(m)
	case m < 0x90:
		v.kind, v.n, items = kindMap, uint64(m&15), int(m&15)*2
	case m < 0xa0:
		v.kind, v.n, items = kindArray, uint64(m&15), int(m&15)
	case m < 0xc0:
		v.kind, v.n, length = kindStr, uint64(m&31), int(m&31)
	case m == 0xc0:
		v.kind = kindNil
	case m == 0xc1:
		return nil, errUnused
	case m == 0xc2, m == 0xc3:
		v.kind, v.n = kindBool, uint64(m&1)
	case m <= 0xc6:
		v.kind, length = kindBin, int(v.n)
	case m <= 0xc9:
		v.kind, length = kindExt, int(v.n)+1
	case m <= 0xcb:
		v.kind, length = kindFloat, 4<<(m-0xca)
	case m <= 0xcf:
		v.kind = kindUint
	case m <= 0xd3:
		v.kind = kindInt
	case m <= 0xd8:
		v.kind, length = kindExt, 1+1<<(m-0xd4)
	case m <= 0xdb:
		v.kind, length = kindStr, int(v.n)
	case m <= 0xdd:
		v.kind, items = kindArray, int(v.n)
	case m <= 0xdf:
		v.kind, items = kindMap, int(v.n)*2
	default:
		v.kind = kindInt
	}
	if length > len(b)-v.body || items > len(b)-v.body {
		return nil, errEnd
	}
	v.content = b[v.body : v.body+length]
	v.end += length
	for range items {
		item, err := unpackAt(b, v.end, depth+1)
		if err != nil {
			return nil, err
		}
		v.items = append(v.items, item)
		v.end = item.end
	}
	return v, nil
}

// smallest reports whether no smaller marker holds the value.
func (v *value) smallest() bool {
	switch v.kind {
	case kindUint:
		return v.marker == pack(v.n)[0]
	case kindStr:
		return v.marker == pack(string(v.content))[0]
	case kindBin:
		return v.marker == pack(bin(v.content))[0]
	case kindMap, kindArray:
		return v.n < 16 && v.marker < 0xa0 || v.n >= 16 && (v.marker == 0xdc || v.marker == 0xde)
	}
	return true
}

// faults returns what breaks section 2 in v, whatever the keys are.
func (v *value) faults(depth int) []fault {
	if v == nil {
		return nil
	}
	var found []fault
	if !v.smallest() {
		found = append(found, fault{"T-2.10", fmt.Sprintf("marker %02x for %s %d, which has a smaller one", v.marker, v.kind, v.n)})
	}
	switch v.kind {
	case kindInt, kindFloat, kindExt:
		found = append(found, fault{"T-2.1", fmt.Sprintf("a value of type %s", v.kind)})
	case kindStr:
		if !utf8.Valid(v.content) {
			found = append(found, fault{"T-2.1", "a string that is no UTF-8"})
		}
	case kindMap, kindArray:
		if v.marker == 0xdd || v.marker == 0xdf {
			found = append(found, fault{"T-2.210", fmt.Sprintf("marker %02x for %s", v.marker, v.kind)})
		}
		if depth > 4 {
			found = append(found, fault{"T-2.1", "nested deeper than 4"})
		}
		seen := make(map[string]bool)
		for i, item := range v.items {
			found = append(found, item.faults(depth+1)...)
			if v.kind == kindMap && i%2 == 0 {
				found = append(found, item.wide("a key", "str8")...)
				if item.kind != kindStr || item.n > 255 {
					found = append(found, fault{"T-2.1", "a key that is no short string"})
				}
				if seen[string(item.content)] {
					found = append(found, fault{"T-2.1", "the key " + string(item.content) + " twice"})
				}
				seen[string(item.content)] = true
			}
		}
	}
	return found
}

// wide returns what is wrong with v's marker for what is declared as that type. v may be nil.
func (v *value) wide(what, declared string) []fault {
	if v == nil || !slices.Contains(wider[declared], v.marker) {
		return nil
	}
	return []fault{{"T-2.210", fmt.Sprintf("marker %02x for %s, a %s", v.marker, what, declared)}}
}

// A fault is what breaks a clause.
type fault struct{ clause, what string }
