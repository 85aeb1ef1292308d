package msgpack

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	id   = " a26964 "
	pakt = " a470616b74 "
	x    = " a178 " // some other key
)

// readable is the rule of section 3.1, clause by clause.
var readable = []struct {
	name string
	hex  string
	want Skimmed
}{
	{"id, then pakt", "82" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"pakt, then id", "82" + pakt + "02" + id + "ccff", Skimmed{255, 2, true}},
	{"a pakt that the protocol does not have", "82" + id + "07" + pakt + "7f", Skimmed{7, 0x7f, true}},
	{"bytes behind the map", "82" + id + "07" + pakt + "00 c1ffff", Skimmed{7, 0, true}},
	{"keys in str 8", "82 d9026964 07 d90470616b74 00", Skimmed{7, 0, true}},

	{"map 16", "de0002" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"map 32", "df00000002" + id + "07" + pakt + "00", Skimmed{}},
	{"array", "94" + id + "07" + pakt + "00", Skimmed{}},
	{"nothing", "", Skimmed{}},
	{"0xc1", "c1", Skimmed{}},
	{"empty map", "80", Skimmed{}},
	{"map 16 without its length", "de00", Skimmed{}},

	{"no id", "81" + pakt + "00", Skimmed{}},
	{"no pakt", "81" + id + "07", Skimmed{}},
	{"id twice", "83" + id + "07" + pakt + "00" + id + "07", Skimmed{}},
	{"pakt twice", "83" + id + "07" + pakt + "00" + pakt + "00", Skimmed{}},
	{"id twice, once in another type", "83" + id + "c0" + pakt + "00" + id + "07", Skimmed{}},
	{"id twice, the second time at the end", "83" + id + "07" + pakt + "00" + id, Skimmed{}},
	{"id behind the map", "81" + pakt + "00" + id + "07", Skimmed{}},
	{"id in another map", "82" + x + "81" + id + "07" + pakt + "00", Skimmed{}},

	{"id uint 16", "82" + id + "cd0007" + pakt + "00", Skimmed{}},
	{"id int 8", "82" + id + "d007" + pakt + "00", Skimmed{}},
	{"id negative fixint", "82" + id + "ff" + pakt + "00", Skimmed{}},
	{"id nil", "82" + id + "c0" + pakt + "00", Skimmed{}},
	{"id a map", "82" + id + "80" + pakt + "00", Skimmed{}},
	{"pakt uint 8", "82" + id + "07" + pakt + "cc00", Skimmed{}},
	{"pakt bool", "82" + id + "07" + pakt + "c2", Skimmed{}},
	{"key id in str 16", "82 da00026964 07" + pakt + "00", Skimmed{}},
	{"key id in bin 8", "82 c4026964 07" + pakt + "00", Skimmed{}},

	{"the bytes end behind both", "8f" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"the bytes end in a later value", "83" + id + "07" + pakt + "00" + x + "daffff61", Skimmed{7, 0, true}},
	{"the bytes end in a later key", "83" + id + "07" + pakt + "00 d9ff61", Skimmed{7, 0, true}},
	{"the bytes end in a value between", "83" + id + "07" + x + "daffff" + pakt + "00", Skimmed{}},
	{"the bytes end in id", "82" + pakt + "00" + id + "cc", Skimmed{}},
	{"the bytes end before the value of id", "82" + pakt + "00" + id, Skimmed{}},
	{"0xc1 behind both", "83" + id + "07" + pakt + "00" + x + "c1", Skimmed{7, 0, true}},
	{"0xc1 between", "83" + id + "07" + x + "c1" + pakt + "00", Skimmed{}},
	{"0xc1 as a key between", "83" + id + "07 c1 00" + pakt + "00", Skimmed{}},
	{"0xc1 as the value of id", "83" + pakt + "00" + id + "c1", Skimmed{}},
	{"0xc1 deep between", "83" + id + "07" + x + "91 81 c0 c1" + pakt + "00", Skimmed{}},
	{"0xc1 in a string", "83" + id + "07" + x + "a1c1" + pakt + "00", Skimmed{7, 0, true}},

	{"depth 4", "83" + x + "91 91 90" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"depth 4 by maps", "83" + x + "81 c0 81 c0 80" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"depth 5", "83" + x + "91 91 91 90" + id + "07" + pakt + "00", Skimmed{}},
	{"depth 5 by maps", "83" + x + "81 c0 81 c0 81 c0 80" + id + "07" + pakt + "00", Skimmed{}},
	{"depth 5 behind both", "83" + id + "07" + pakt + "00" + x + "91 91 91 90", Skimmed{7, 0, true}},
	{"depth 5 as id", "83" + pakt + "00" + id + "91 91 91 90", Skimmed{}},
	{"depth 5 in a key", "83 91 91 91 90 00" + id + "07" + pakt + "00", Skimmed{}},

	{"str 32 is stepped over", "83" + x + "db0000000161" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"bin 32 is stepped over", "83" + x + "c60000000161" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"array 32 is stepped over", "83" + x + "dd00000002c0c0" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"map 32 is stepped over", "83" + x + "df00000001c0c0" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"ext is stepped over", "83" + x + "c7030501c103" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"ext 8 of no length is stepped over", "83" + x + "c70005" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"fixext is stepped over", "83" + x + "d8 05 00000000000000000000000000000000" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"floats and ints are stepped over", "84" + x + "ca00000000" + x + "d3ffffffffffffffff" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"strings no UTF-8 are stepped over", "83 a1ff a1ff" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"keys of any type are stepped over", "84 05 c0 91c0 c0" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"other doubled keys are stepped over", "84" + x + "c0" + x + "c0" + id + "07" + pakt + "00", Skimmed{7, 0, true}},
	{"array 32 of 2^32-1", "83" + x + "ddffffffff" + id + "07" + pakt + "00", Skimmed{}},
	{"map 32 of 2^32-1", "83" + id + "07" + pakt + "00" + x + "dfffffffff c0", Skimmed{7, 0, true}},
	{"ext 32 of 2^32-1", "83" + x + "c9ffffffff05" + id + "07" + pakt + "00", Skimmed{}},
}

func TestSkim(t *testing.T) {
	for _, c := range readable {
		b := unhex(t, c.hex)
		got := SkimBytes(b)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		for name, r := range map[string]io.Reader{
			"at once":        bytes.NewReader(b),
			"byte by byte":   iotest.OneByteReader(bytes.NewReader(b)),
			"with its end":   iotest.DataErrReader(bytes.NewReader(b)),
			"halves":         iotest.HalfReader(bytes.NewReader(b)),
			"nothing at all": io.MultiReader(iotest.DataErrReader(bytes.NewReader(b[:len(b)/2])), bytes.NewReader(b[len(b)/2:])),
		} {
			got, err := Skim(r)
			if err != nil || got != c.want {
				t.Errorf("%s, read %s: %+v, %v, want %+v", c.name, name, got, err, c.want)
			}
		}
	}
}

// TestSkimReadsToTheEnd checks that nothing of a packet is left in its reader,
// wherever the walk stopped.
func TestSkimReadsToTheEnd(t *testing.T) {
	for _, head := range []string{"c1", "82" + id + "07" + pakt + "00", "81" + x + "c6ffffffff"} {
		r := bytes.NewReader(append(unhex(t, head), make([]byte, 100_000)...))
		if _, err := Skim(r); err != nil {
			t.Fatal(err)
		}
		if r.Len() != 0 {
			t.Errorf("%s: %d bytes are left", head, r.Len())
		}
	}
}

func TestSkimError(t *testing.T) {
	broken := errors.New("connection lost")
	b := unhex(t, "82"+id+"07"+pakt+"00")
	for n := range len(b) + 1 {
		got, err := Skim(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || got != (Skimmed{}) {
			t.Errorf("after %d bytes: %+v, %v", n, got, err)
		}
	}
}

// TestSkimMemory skims packets of very different sizes.
func TestSkimMemory(t *testing.T) {
	for _, size := range []int{10, 200_000} {
		b := append(unhex(t, "83"+x+"dd001e8480"), bytes.Repeat([]byte{0x80}, size)...)
		r := bytes.NewReader(b)
		if got := testing.AllocsPerRun(5, func() {
			r.Reset(b)
			if _, err := Skim(r); err != nil {
				t.Error(err)
			}
		}); got > 1 {
			t.Errorf("%d bytes: %v allocations, want the buffer alone", size, got)
		}
		if got := testing.AllocsPerRun(5, func() { SkimBytes(b) }); got > 0 {
			t.Errorf("%d bytes in memory: %v allocations", size, got)
		}
	}
}

func FuzzSkim(f *testing.F) {
	for _, c := range readable {
		f.Add(unhex(f, c.hex), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, chunk int) {
		want := SkimBytes(b)
		got, err := Skim(&chunks{b, max(1, chunk%64)})
		if err != nil || got != want {
			t.Errorf("a stream gives %+v, %v; the bytes %+v", got, err, want)
		}
		// More bytes may make a packet unreadable, but never mean another.
		for n := range b {
			if k := SkimBytes(b[:n]); k.Readable && want.Readable && k != want {
				t.Errorf("the first %d bytes give %+v, all %+v", n, k, want)
			}
		}
	})
}

// chunks reads b in pieces of n bytes.
type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(c.n, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}
