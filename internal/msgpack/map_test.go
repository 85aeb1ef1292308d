package msgpack

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

func TestSkip(t *testing.T) {
	for _, c := range []struct {
		name string
		hex  string
		err  string // "": the value is taken, all but a last byte ff
	}{
		{"nil", "c0 ff", ""},
		{"fixints", "92 7f ff ff", ""},
		{"every number", "9a cc01 cd0001 ce00000001 cf0000000000000001 d001 d10001 d200000001 d30000000000000001 ca00000000 cb0000000000000000 ff", ""},
		{"every string", "94 a161 d90161 da000161 db0000000161 ff", ""},
		{"every bin", "93 c401ff c50001ff c600000001ff ff", ""},
		{"maps and arrays", "93 80 de0000 dc0000 ff", ""},
		{"depth 4", "91 91 91 90 ff", ""},

		{"nothing", "", "root: found the end of the bytes, want a value"},
		{"an element missing", "92 c0", "root: found fixarray of length 2, want what fits the 1 bytes left"},
		{"an element missing behind one that is nested", "92 91 c0", "[0]: found fixarray of length 1, want what fits the 1 bytes left"},
		{"depth 5", "91 91 91 91 90", "[0][0][0][0]: found fixarray at depth 5, want depth 4 at most"},
		{"depth 5 by maps", "81a161 81a162 81a163 81a164 80", "a.b.c.d: found fixmap at depth 5, want depth 4 at most"},
		{"0xc1", "91 c1", "[0]: found 0xc1, want a type that the protocol has"},
		{"fixext", "81 a161 d40500", "a: found fixext, want a type that the protocol has"},
		{"ext 8", "91 c7 00 05", "[0]: found ext 8, want a type that the protocol has"},
		{"array 32", "dd00000000", "root: found array 32, want a length of at most 16 bits"},
		{"map 32", "81 a161 df00000000", "a: found map 32, want a length of at most 16 bits"},
		{"a key doubled", "82 a161 c0 a161 c0", "a: found the key twice, want it once"},
		{"a key doubled deep", "91 81 a161 82 a162 c0 d90162 c0", "[0].a.b: found the key twice, want it once"},
		{"a key that is a number", "81 01 c0", "root: found a key of type positive fixint, want str up to 8-bit length"},
		{"a key in str 16", "81 da000161 c0", "root: found a key of type str 16, want str up to 8-bit length"},
		{"a key past the end", "81 d9ff61", "root: found str 8 of length 255, want what fits the 1 bytes left"},
		{"a key no UTF-8", "81 a2ff61 c0", "?a: found str with other bytes, want UTF-8"},
		{"a string no UTF-8", "81 a161 a1ff", "a: found str with other bytes, want UTF-8"},
		{"a string past the end", "81 a161 dbffffffff 61", "a: found str 32 of length 4294967295, want what fits the 1 bytes left"},
		{"a number past the end", "81 a161 cd00", "a: found uint 16 of length 2, want what fits the 1 bytes left"},
		{"a long hostile key", "81 d928 " + strings.Repeat("0a", 40) + " c1", strings.Repeat("?", 32) + "...: found 0xc1, want a type that the protocol has"},
		{"an empty key", "81 a0 c1", `"": found 0xc1, want a type that the protocol has`},
	} {
		b := unhex(t, c.hex)
		rest, err := Skip(b, 1)
		if c.err == "" {
			if err != nil || !bytes.Equal(rest, []byte{0xff}) {
				t.Errorf("%s: %x, %v", c.name, rest, err)
			}
			if end, err := msgp.Skip(b); err != nil || len(end) != len(rest) {
				t.Errorf("%s: msgp leaves %x, %v", c.name, end, err)
			}
			continue
		}
		if err == nil || err.Error() != c.err {
			t.Errorf("%s: error %v, want %s", c.name, err, c.err)
		}
	}
}

// TestDoubledKeys looks for a key twice in maps of all sizes: with and without a table.
func TestDoubledKeys(t *testing.T) {
	for _, n := range []int{1, 2, fewKeys - 1, fewKeys, fewKeys + 1, 16, 100, 5_000, 65_534} {
		var entries []byte
		for i := range n {
			entries = msgp.AppendNil(msgp.AppendString(entries, fmt.Sprintf("key %d", i)))
		}
		header := func(n int) []byte { return msgp.AppendMapHeader(nil, uint32(n)) }
		if _, err := Skip(append(header(n), entries...), 1); err != nil {
			t.Errorf("%d keys: %v", n, err)
		}
		for _, twice := range []int{0, n / 2, n - 1} {
			b := append(header(n+1), entries...)
			b = msgp.AppendNil(msgp.AppendString(b, fmt.Sprintf("key %d", twice)))
			if _, err := Skip(b, 1); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("key?%d: found the key twice", twice)) {
				t.Errorf("%d keys and the key %d again: error %v", n, twice, err)
			}
		}
	}
}

// TestFirstErrorSticks reads on after an error, as the bodies' parsers do.
func TestFirstErrorSticks(t *testing.T) {
	b := unhex(t, "83 a161 c0 a162 07 a163 90")
	m := ReadMap(b, 1, Refuse, Declare("a", "b", "c"))
	for m.Next() {
		switch m.Key() {
		case "a":
			if got := m.Str(8); got != "" {
				t.Errorf("a is %q", got)
			}
			m.Fail("something else", "that it is not noted")
			for name, zero := range map[string]bool{
				"Enum": m.Enum() == 0, "Uint": m.Uint(64) == 0, "Bin": m.Bin(32) == nil, "Bool": !m.Bool(), "Nil": !m.Nil(),
				"IsBin": !m.IsBin(), "Map": m.Map() == nil, "Array": m.Array() == nil, "Any": m.Any() == nil,
			} {
				if !zero {
					t.Errorf("%s gives a value after an error", name)
				}
			}
		default:
			t.Errorf("went on to %s", m.Key())
		}
	}
	if err := m.Err(); err == nil || err.Error() != "a: found nil, want str up to 8-bit length" {
		t.Errorf("error %v", err)
	}
}

func FuzzSkip(f *testing.F) {
	for _, c := range readable {
		f.Add(unhex(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rest, err := Skip(b, 1)
		if err != nil {
			if len(err.Error()) > 300 {
				t.Errorf("an error of %d bytes: %v", len(err.Error()), err)
			}
			return
		}
		// What is strict takes no more than what is not.
		end, err := msgp.Skip(b)
		if err != nil || len(end) != len(rest) {
			t.Errorf("%d bytes are left; msgp leaves %d, %v", len(rest), len(end), err)
		}
	})
}
