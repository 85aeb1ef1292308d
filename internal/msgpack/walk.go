package msgpack

import (
	"hash/maphash"
	"strconv"
	"unicode/utf8"
)

// Skip returns what follows the first value of b. It fails with an [*Error]
// unless that value obeys what section 2 says of every value, whatever its
// key: whole, of a family the protocol has or could have, strings in
// UTF-8, keys as str8 and each once, maps and arrays in at most 16 bits of
// length, and no deeper than [MaxDepth], where depth is the value's own.
func Skip(b []byte, depth int) (rest []byte, err error) {
	rest, e := skip(b, depth, 0)
	if e != nil {
		return nil, e
	}
	return rest, nil
}

// skip is Skip within containers that need at least owed bytes after the
// value. Counting them keeps the tables of all the maps around one value
// smaller than the input, whatever lengths they claim.
func skip(b []byte, depth, owed int) ([]byte, *Error) {
	h, ok := readHead(b)
	if !ok {
		return nil, errEnd("a value")
	}
	b = b[h.size:]
	switch h.family {
	case invalid, ext:
		return nil, &Error{Found: Describe(h.first), Want: "a type that the protocol has"}
	case array:
		return skipArray(h, b, depth, owed)
	case object:
		return skipMap(h, b, depth, owed)
	}
	if uint64(len(b)) < h.n {
		return nil, errLength(h, len(b))
	}
	if h.family == str && !utf8.Valid(b[:h.n]) {
		return nil, errUTF8()
	}
	return b[h.n:], nil
}

// skipArray is skip behind the head of an array.
func skipArray(h head, b []byte, depth, owed int) ([]byte, *Error) {
	if err := checkContainer(h, b, depth, owed); err != nil {
		return nil, err
	}
	n := int(h.n)
	for i := range n {
		var err *Error
		if b, err = skip(b, depth+1, owed+n-i-1); err != nil {
			return nil, err.At("[" + strconv.Itoa(i) + "]")
		}
	}
	return b, nil
}

// skipMap is skip behind the head of a map.
func skipMap(h head, b []byte, depth, owed int) ([]byte, *Error) {
	if err := checkContainer(h, b, depth, owed); err != nil || h.n == 0 {
		return b, err
	}
	n := int(h.n)
	var keys keySet
	keys.init(b, n)
	for i := range n {
		key, value, err := readKey(b)
		if err != nil {
			return nil, err
		}
		if !keys.add(len(keys.base)-len(b), key) {
			return nil, errTwice().At(showKey(key))
		}
		if b, err = skip(value, depth+1, owed+2*(n-i-1)); err != nil {
			return nil, err.At(showKey(key))
		}
	}
	return b, nil
}

// checkContainer judges the head of a map or an array, of which b holds the entries
// and after them at least owed bytes more.
func checkContainer(h head, b []byte, depth, owed int) *Error {
	if h.bits > 16 {
		return &Error{Found: Describe(h.first), Want: "a length of at most 16 bits"}
	}
	if depth > MaxDepth {
		return &Error{Found: Describe(h.first) + " at depth " + strconv.Itoa(depth), Want: "depth " + strconv.Itoa(MaxDepth) + " at most"}
	}
	need := int(h.n) + owed
	if h.family == object {
		need += int(h.n)
	}
	if len(b) < need {
		return errLength(h, len(b))
	}
	return nil
}

// readKey reads a map's key: a str8 in UTF-8.
func readKey(b []byte) (key, rest []byte, err *Error) {
	h, ok := readHead(b)
	switch {
	case !ok:
		return nil, nil, errEnd("a key")
	case h.family != str || h.bits > 8:
		return nil, nil, &Error{Found: "a key of type " + Describe(h.first), Want: "str up to 8-bit length"}
	case uint64(len(b)-h.size) < h.n:
		return nil, nil, errLength(h, len(b)-h.size)
	}
	key, rest = b[h.size:h.size+int(h.n)], b[h.size+int(h.n):]
	if !utf8.Valid(key) {
		return nil, nil, errUTF8().At(showKey(key))
	}
	return key, rest, nil
}

func errEnd(want string) *Error {
	return &Error{Found: "the end of the bytes", Want: want}
}

func errLength(h head, left int) *Error {
	return &Error{
		Found: Describe(h.first) + " of length " + strconv.FormatUint(h.n, 10),
		Want:  "what fits the " + strconv.Itoa(left) + " bytes left",
	}
}

func errUTF8() *Error {
	return &Error{Found: "str with other bytes", Want: "UTF-8"}
}

func errTwice() *Error {
	return &Error{Found: "the key twice", Want: "it once"}
}

// fewKeys is how many keys are compared one by one before a table pays.
const fewKeys = 8

// A keySet finds a map's doubled keys: with a table of six bytes an entry,
// where an entry takes at least two bytes of input.
type keySet struct {
	base  []byte // the map's entries; keys are kept as offsets into it
	few   [fewKeys]uint32
	n     int      // used of few
	table []uint32 // open addressing, offset + 1; nil where few is enough
	seed  maphash.Seed
}

// init makes room for count keys. The caller has seen that base is long enough for them.
func (s *keySet) init(base []byte, count int) {
	s.base = base
	if count > fewKeys {
		s.table = make([]uint32, count+count/2)
		s.seed = maphash.MakeSeed()
	}
}

// add adds the key encoded at base[off:], unless it is there: then it
// returns false.
func (s *keySet) add(off int, key []byte) bool {
	if s.table == nil {
		for _, o := range s.few[:s.n] {
			if string(s.at(o)) == string(key) {
				return false
			}
		}
		s.few[s.n] = uint32(off)
		s.n++
		return true
	}
	i := int(maphash.Bytes(s.seed, key) % uint64(len(s.table)))
	for s.table[i] != 0 {
		if string(s.at(s.table[i]-1)) == string(key) {
			return false
		}
		if i++; i == len(s.table) {
			i = 0
		}
	}
	s.table[i] = uint32(off) + 1
	return true
}

func (s *keySet) at(off uint32) []byte {
	h, _ := readHead(s.base[off:])
	return s.base[int(off)+h.size:][:h.n]
}
