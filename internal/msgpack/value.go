package msgpack

import (
	"encoding/binary"
	"errors"
)

// A Family is what a value is, its width apart.
type Family = family

// The families of [Value].
const (
	Null   Family = null
	Bool   Family = boolean
	Uint   Family = posint
	NegInt Family = negint
	Float  Family = float
	Str    Family = str
	Bin    Family = bin
	Ext    Family = ext
	Array  Family = array
	Object Family = object
)

// A Value is a value as it stands among other bytes, whatever section 2 says of it: for
// those who show or compare what somebody sent. Bodies are read by [Map].
type Value struct {
	Family Family
	First  byte   // its marker
	N      uint64 // of a Uint: the number; of a Bool: 1 for true; of an Array or Object: the items or entries announced; else the bytes behind the head
	Start  int    // where the marker stands
	Body   int    // where what follows the marker and the length begins
	End    int    // where the value ends, or the bytes do
	Items  []Value
}

var (
	errShort  = errors.New("the bytes end within a value")
	errUnused = errors.New("the marker 0xc1 occurs, which msgpack does not use")
	errNested = errors.New("maps and arrays are nested deeper than can be shown")
	errMany   = errors.New("there are more values than can be shown")
)

// maxShownDepth is how deep Dissect looks.
const maxShownDepth = 32

// Dissect reads the first value of b, with at most so many values inside. The Value
// has as much of it as there is also with an error, which says why that is not all.
// It keeps no reference to b.
func Dissect(b []byte, values int) (Value, error) {
	d := dissection{b: b, left: values}
	return d.value(0, 1)
}

type dissection struct {
	b    []byte
	left int
}

func (d *dissection) value(at, depth int) (Value, error) {
	v := Value{Start: at, Body: len(d.b), End: len(d.b)}
	if d.left--; d.left < 0 {
		v.Body, v.End = at, at
		return v, errMany
	}
	b := d.b[at:]
	if len(b) > 0 {
		v.First, v.Family = b[0], markers[b[0]].family
	}
	h, ok := readHead(b)
	switch {
	case !ok:
		return v, errShort
	case h.family == invalid:
		v.Body, v.End = at+1, at+1
		return v, errUnused
	}
	v.Body, v.N = at+h.size, h.n
	if h.family == array || h.family == object {
		return d.container(v, depth)
	}
	if h.n > uint64(len(d.b)-v.Body) {
		return v, errShort
	}
	v.End = v.Body + int(h.n)
	switch h.family {
	case posint:
		v.N = number(d.b[at:v.End])
	case boolean:
		v.N = uint64(h.first & 1)
	}
	return v, nil
}

// number is the value of an unsigned integer in b.
func number(b []byte) uint64 {
	var wide [8]byte
	if len(b) > 1 {
		b = b[1:] // behind the marker
	}
	copy(wide[8-len(b):], b)
	return binary.BigEndian.Uint64(wide[:])
}

func (d *dissection) container(v Value, depth int) (Value, error) {
	v.End = v.Body
	if depth > maxShownDepth {
		return v, errNested
	}
	count := v.N
	if v.Family == object {
		count *= 2
	}
	for range count {
		item, err := d.value(v.End, depth+1)
		if item.End > item.Start {
			v.Items = append(v.Items, item)
			v.End = item.End
		}
		if err != nil {
			return v, err
		}
	}
	return v, nil
}

// Text returns the bytes of a Str, Bin or Ext of b, from which v was dissected.
func (v *Value) Text(b []byte) []byte {
	if v.Family != str && v.Family != bin && v.Family != ext {
		return nil
	}
	return b[v.Body:v.End]
}

// Get returns what an Object of b has under a key, or nil; where it has it twice, the first.
func (v *Value) Get(b []byte, key string) *Value {
	if v == nil || v.Family != object {
		return nil
	}
	for i := 0; i+1 < len(v.Items); i += 2 {
		if k := &v.Items[i]; k.Family == str && string(k.Text(b)) == key {
			return &v.Items[i+1]
		}
	}
	return nil
}

// Heads returns how many bytes the marker and the number or length behind it take, and how
// many they could take.
func (v *Value) Heads() (is, could int) {
	width := func(one, two, four uint64) int {
		switch {
		case v.N <= one:
			return 1
		case v.N <= two:
			return 2
		case v.N <= four:
			return 3
		}
		return 5
	}
	is = v.Body - v.Start
	switch v.Family {
	case posint:
		is = v.End - v.Start
		if could = width(0x7f, 0xff, 0xffff); v.N > 0xffffffff {
			could = 9
		}
	case str:
		could = width(31, 0xff, 0xffff)
	case bin:
		could = max(2, width(0, 0xff, 0xffff))
	case array, object:
		if could = width(15, 15, 0xffff); could == 2 {
			could = 3
		}
	default:
		could = is
	}
	return is, could
}
