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
	body := b[h.size:]
	switch h.family {
	case invalid, ext:
		return nil, &Error{Found: describe(b[0]), Want: "a type that the protocol has"}
	case array:
		if err := checkContainer(h, body, b[0], depth, owed+int(h.n)); err != nil {
			return nil, err
		}
		for i := range int(h.n) {
			var err *Error
			if body, err = skip(body, depth+1, owed+int(h.n)-i-1); err != nil {
				return nil, err.At("[" + strconv.Itoa(i) + "]")
			}
		}
		return body, nil
	case object:
		if err := checkContainer(h, body, b[0], depth, owed+2*int(h.n)); err != nil {
			return nil, err
		}
		var keys keySet
		keys.init(body, int(h.n))
		for i := range int(h.n) {
			key, value, err := readKey(body)
			if err != nil {
				return nil, err
			}
			if !keys.add(len(keys.base)-len(body), key) {
				return nil, errTwice().At(showKey(key))
			}
			if body, err = skip(value, depth+1, owed+2*(int(h.n)-i-1)); err != nil {
				return nil, err.At(showKey(key))
			}
		}
		return body, nil
	}
	if uint64(len(body)) < h.n {
		return nil, errLength(b[0], h, len(body))
	}
	if h.family == str && !utf8.Valid(body[:h.n]) {
		return nil, errUTF8()
	}
	return body[h.n:], nil
}

// checkContainer judges the head of a map or an array whose entries,
// together with what is owed after them, need at least need bytes of body.
func checkContainer(h head, body []byte, marker byte, depth, need int) *Error {
	switch {
	case h.bits > 16:
		return &Error{Found: describe(marker), Want: "a length of at most 16 bits"}
	case depth > MaxDepth:
		return &Error{Found: describe(marker) + " at depth " + strconv.Itoa(depth), Want: "depth " + strconv.Itoa(MaxDepth) + " at most"}
	case len(body) < need:
		return errLength(marker, h, len(body))
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
		return nil, nil, &Error{Found: "a key of type " + describe(b[0]), Want: "str up to 8-bit length"}
	case uint64(len(b)-h.size) < h.n:
		return nil, nil, errLength(b[0], h, len(b)-h.size)
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

func errLength(marker byte, h head, left int) *Error {
	return &Error{
		Found: describe(marker) + " of length " + strconv.FormatUint(h.n, 10),
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
