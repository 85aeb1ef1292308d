package msgpack

import (
	"bytes"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

func TestDissect(t *testing.T) {
	b := msgp.AppendMapHeader(nil, 4)
	b = msgp.AppendUint64(msgp.AppendString(b, "n"), 70_000)
	b = msgp.AppendBytes(msgp.AppendString(b, "b"), bytes.Repeat([]byte{7}, 300))
	b = msgp.AppendArrayHeader(msgp.AppendString(b, "a"), 2)
	b = msgp.AppendNil(msgp.AppendBool(b, true))
	b = msgp.AppendString(msgp.AppendString(b, "s"), "text")
	v, err := Dissect(b, 100)
	if err != nil || v.End != len(b) {
		t.Fatalf("ends at %d of %d, %v", v.End, len(b), err)
	}
	if n := v.Get(b, "n"); n == nil || n.Family != Uint || n.N != 70_000 {
		t.Errorf("n is %+v", n)
	}
	if bin := v.Get(b, "b"); bin == nil || bin.Family != Bin || len(bin.Text(b)) != 300 {
		t.Errorf("b is %+v", bin)
	}
	if a := v.Get(b, "a"); a == nil || len(a.Items) != 2 || a.Items[0].N != 1 || a.Items[1].Family != Null {
		t.Errorf("a is %+v", a)
	}
	if s := v.Get(b, "s"); s == nil || string(s.Text(b)) != "text" {
		t.Errorf("s is %+v", s)
	}
	if v.Get(b, "x") != nil || v.Get(b, "n").Get(b, "x") != nil {
		t.Error("there is what is not there")
	}
	for n := range b {
		v, err := Dissect(b[:n], 100)
		if err == nil || v.End > n {
			t.Errorf("of the first %d bytes: ends at %d, %v", n, v.End, err)
		}
	}
	if v, err := Dissect(b, 5); err == nil || len(v.Items) != 4 {
		t.Errorf("5 values: %d items, %v", len(v.Items), err)
	}
}

func TestDissectHostile(t *testing.T) {
	for _, tt := range []struct {
		name  string
		b     []byte
		items int
	}{
		{"nothing", nil, 0},
		{"unused", []byte{0x82, 0xa1, 'k', 0xc1, 0x00}, 2},
		{"deep", bytes.Repeat([]byte{0x91}, 1000), 1},
		{"map of 2^32", []byte{0xdf, 0xff, 0xff, 0xff, 0xff, 0x01, 0x02}, 2},
		{"str of 2^32", []byte{0xdb, 0xff, 0xff, 0xff, 0xff, 'x'}, 0},
		{"cut head", []byte{0xce, 0x00}, 0},
	} {
		v, err := Dissect(tt.b, 100)
		if err == nil || len(v.Items) != tt.items || v.End > len(tt.b) {
			t.Errorf("%s: %d items, ends at %d, %v", tt.name, len(v.Items), v.End, err)
		}
	}
}

func TestHeads(t *testing.T) {
	for _, tt := range []struct {
		b         []byte
		is, could int
	}{
		{[]byte{0x7f}, 1, 1},
		{[]byte{0xcc, 0x7f}, 2, 1},
		{[]byte{0xcd, 0x00, 0x01}, 3, 1},
		{[]byte{0xcd, 0x00, 0xff}, 3, 2},
		{[]byte{0xcf, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, 9, 5},
		{[]byte{0xcf, 0, 0, 0, 1, 0, 0, 0, 0}, 9, 9},
		{[]byte{0xd9, 1, 'x'}, 2, 1},
		{[]byte{0xda, 0, 1, 'x'}, 3, 1},
		{[]byte{0xc4, 0}, 2, 2},
		{[]byte{0xc6, 0, 0, 0, 1, 'x'}, 5, 2},
		{[]byte{0x90}, 1, 1},
		{[]byte{0xde, 0, 0}, 3, 1},
		{append([]byte{0xdc, 0, 16}, make([]byte, 16)...), 3, 3},
		{append([]byte{0xdd, 0, 0, 0, 16}, make([]byte, 16)...), 5, 3},
		{[]byte{0xc3}, 1, 1},
		{[]byte{0xd0, 0x01}, 1, 1},
	} {
		v, err := Dissect(tt.b, 100)
		if err != nil {
			t.Fatal(err)
		}
		if is, could := v.Heads(); is != tt.is || could != tt.could {
			t.Errorf("% x: %d bytes could be %d, want %d and %d", tt.b[:min(len(tt.b), 5)], is, could, tt.is, tt.could)
		}
	}
}
