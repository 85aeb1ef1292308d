package msgpack

import (
	"errors"
	"io"
)

// A Skimmed is what could be read of a packet by section 3.1 of
// docs/protocol.md: nothing, or both its id and its type, which may be one that
// the protocol does not have.
type Skimmed struct {
	ID       uint8 // `id`
	Type     uint8 // `pakt`
	Readable bool
}

// Skim reads r to its end and returns what it can of the packet there,
// keeping nothing of it: it takes the same few KiB for every packet. The
// error is r's, other than io.EOF.
func Skim(r io.Reader) (Skimmed, error) {
	s := source{r: r, buf: make([]byte, 4<<10)}
	k := s.packet()
	for s.err == nil {
		s.b = nil
		s.fill()
	}
	if !errors.Is(s.err, io.EOF) {
		return Skimmed{}, s.err
	}
	return k, nil
}

// SkimBytes is Skim for a packet in memory. It allocates nothing.
func SkimBytes(b []byte) Skimmed {
	s := source{b: b, err: io.EOF}
	return s.packet()
}

// A source gives bytes, of memory or of a reader.
type source struct {
	b   []byte    // to be taken next
	r   io.Reader // gives more, into buf, until err is set
	buf []byte
	err error
}

// fill waits for a byte of b and reports whether there is one.
func (s *source) fill() bool {
	for len(s.b) == 0 {
		if s.err != nil {
			return false
		}
		var n int
		n, s.err = s.r.Read(s.buf)
		s.b = s.buf[:n]
	}
	return true
}

// bytes takes len(p) bytes into p.
func (s *source) bytes(p []byte) bool {
	for len(p) > 0 {
		if !s.fill() {
			return false
		}
		n := copy(p, s.b)
		p, s.b = p[n:], s.b[n:]
	}
	return true
}

// discard takes n bytes.
func (s *source) discard(n uint64) bool {
	for n > 0 {
		if !s.fill() {
			return false
		}
		k := min(n, uint64(len(s.b)))
		n, s.b = n-k, s.b[k:]
	}
	return true
}

// head takes the head of a value. It is false at the end and at 0xc1.
func (s *source) head() (head, bool) {
	if !s.fill() {
		return head{}, false
	}
	if h, ok := readHead(s.b); ok {
		s.b = s.b[h.size:]
		return h, h.family != invalid
	}
	// What is in memory ends within the head.
	var p [maxHead]byte
	size := 1 + int(markers[s.b[0]].length)
	if !s.bytes(p[:size]) {
		return head{}, false
	}
	return readHead(p[:size])
}

// skip takes a value of any form, the level of which is depth if it nests. It
// is false where the bytes end, hold 0xc1 or nest too deep.
func (s *source) skip(depth int) bool {
	h, ok := s.head()
	return ok && s.skipBehind(h, depth)
}

func (s *source) skipBehind(h head, depth int) bool {
	if h.family != array && h.family != object {
		return s.discard(h.n)
	}
	if depth > MaxDepth {
		return false
	}
	n := h.n
	if h.family == object {
		n *= 2
	}
	for range n {
		if !s.skip(depth + 1) {
			return false
		}
	}
	return true
}

// packet walks the root map.
func (s *source) packet() Skimmed {
	h, ok := s.head()
	if !ok || h.family != object || h.bits > 16 {
		return Skimmed{}
	}
	var id, pakt field
	for range h.n {
		var key [len("pakt")]byte
		n, ok := s.key(key[:])
		if !ok {
			break
		}
		switch string(key[:n]) {
		case "id":
			ok = s.field(&id, 8)
		case "pakt":
			ok = s.field(&pakt, 0)
		default:
			ok = s.skip(2)
		}
		if !ok {
			break
		}
	}
	if !id.once() || !pakt.once() {
		return Skimmed{}
	}
	return Skimmed{ID: id.value, Type: pakt.value, Readable: true}
}

// key takes a key into p and returns its length: 0 for one that is longer or no
// str8, for it names nothing that is looked for.
func (s *source) key(p []byte) (n int, ok bool) {
	h, ok := s.head()
	if !ok {
		return 0, false
	}
	if h.family != str || h.bits > 8 || int(h.n) > len(p) {
		return 0, s.skipBehind(h, 2)
	}
	return int(h.n), s.bytes(p[:h.n])
}

// A field is a key of the root that is looked for.
type field struct {
	met   int // how often the key occurred
	typed int // how often with a value of its type
	value uint8
}

// once reports whether the field occurred exactly once, in its type.
func (f *field) once() bool { return f.met == 1 && f.typed == 1 }

// field takes the value of f, an unsigned integer of at most the given width, or steps
// over one of another type.
func (s *source) field(f *field, bits uint8) bool {
	f.met++
	h, ok := s.head()
	if !ok {
		return false
	}
	if h.family != posint || h.bits > bits {
		return s.skipBehind(h, 2)
	}
	f.value = h.first // a positive fixint is its own value
	if h.n > 0 {
		if !s.fill() {
			return false
		}
		f.value, s.b = s.b[0], s.b[1:]
	}
	f.typed++
	return true
}
