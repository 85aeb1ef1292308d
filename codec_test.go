package tipt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go"
)

// declared are the keys of every body and their types, as the tables of
// sections 2 and 4 have them; "?" marks an optional key.
var declared = map[string]map[string]string{
	"HANDSHAKE request":      {"ver": "str8"},
	"HANDSHAKE response":     {"ver": "str8", "comp": "bool"},
	"REGISTER request":       {"user": "str8", "pass": "str8", "inv": "str8?"},
	"SIGN_IN request":        {"user": "str8", "dev": "str8?", "pass": "str8", "tok": "bin8", "recv": "bool?"},
	"SIGN_IN response":       {"addr": "str16", "tok": "bin8?"},
	"GET_INFO response":      {"node": "str8", "soft": "str8", "reg": "enum", "time": "uint64"},
	"FORWARD request":        {"node": "str16", "wait": "bool", "msg": "bin32", "ref": "bin8?"},
	"FORWARD response":       {"resp": "bin32"},
	"GET_NODE_KEY request":   {"node": "str16", "new": "bool?"},
	"GET_NODE_KEY response":  {"key": "bin16"},
	"SET_PASSWORD request":   {"old": "str8", "new": "str8"},
	"LIST_DEVICES response":  {"devs": "array"},
	"REMOVE_DEVICE request":  {"dev": "str8"},
	"DELETE_ACCOUNT request": {"pass": "str8"},
	"SET_KEY request":        {"key": "bin16/nil"},
	"DELIVER request":        {"mid": "bin8", "from": "str16?", "time": "uint64", "msg": "bin32"},
	"RETURN request":         {"mid": "bin8", "ref": "bin8?", "node": "str8", "time": "uint64", "resp": "bin32", "code": "enum"},
	"GOING_AWAY event":       {"wait": "uint16"},
	"CNNodeForwardRequest":   {"type": "enum", "body": "map"},
	"CNNodeForwardResponse":  {"body": "map?/nil", "err": "map?"},
	"GET_USER_KEY answer":    {"key": "bin16/nil"},
	"content":                {"type": "enum", "body": "map/bin32"},
}

// rootDeclared is the same for a packet's root.
var rootDeclared = map[string]string{
	"ver": "str8", "id": "uint8", "pakt": "enum", "reqt": "enum?/nil", "body": "map?/nil", "err": "map?",
}

// An entry of a map, both parts encoded.
type entry struct{ key, value []byte }

func (e entry) name(t testing.TB) string {
	s, _, err := msgp.ReadStringBytes(e.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// split takes a map apart, with msgp's reader and not ours.
func split(t testing.TB, b []byte) []entry {
	t.Helper()
	n, b, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	var es []entry
	for range n {
		value, err := msgp.Skip(b)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := msgp.Skip(value)
		if err != nil {
			t.Fatal(err)
		}
		es = append(es, entry{b[:len(b)-len(value)], value[:len(value)-len(rest)]})
		b = rest
	}
	return es
}

func join(es []entry) []byte {
	b := msgp.AppendMapHeader(nil, uint32(len(es)))
	for _, e := range es {
		b = append(append(b, e.key...), e.value...)
	}
	return b
}

// with is es with the value of entry i replaced.
func with(es []entry, i int, value []byte) []byte {
	return join(append(append(append([]entry{}, es[:i]...), entry{es[i].key, value}), es[i+1:]...))
}

// A form is one way to write a value.
type form struct {
	name  string // family and width: "str16"; "str0" is a fixstr
	bytes []byte
}

// forms are all ways to write the value b that mean the same.
func forms(t testing.TB, b []byte) []form {
	t.Helper()
	var fs []form
	lengths := func(family string, payload []byte, fix int, fixMark byte, marks ...byte) {
		if len(payload) <= fix {
			fs = append(fs, form{family + "0", append([]byte{fixMark | byte(len(payload))}, payload...)})
		}
		for i, mark := range marks {
			if bits := 8 << i; len(payload) < 1<<bits {
				fs = append(fs, form{fmt.Sprint(family, bits), append(appendUint([]byte{mark}, bits, uint64(len(payload))), payload...)})
			}
		}
	}
	switch msgp.NextType(b) {
	case msgp.StrType:
		s, _, _ := msgp.ReadStringZC(b)
		lengths("str", s, 31, 0xa0, 0xd9, 0xda, 0xdb)
	case msgp.BinType:
		s, _, _ := msgp.ReadBytesZC(b)
		lengths("bin", s, -1, 0, 0xc4, 0xc5, 0xc6)
	case msgp.UintType, msgp.IntType:
		v, _, err := msgp.ReadUint64Bytes(b)
		if err != nil {
			t.Fatal(err)
		}
		if v < 128 {
			fs = append(fs, form{"uint0", []byte{byte(v)}})
		}
		for i, mark := range []byte{0xcc, 0xcd, 0xce, 0xcf} {
			if bits := 8 << i; bits == 64 || v < 1<<bits {
				fs = append(fs, form{fmt.Sprint("uint", bits), appendUint([]byte{mark}, bits, v)})
			}
		}
		fs = append(fs, form{"int64", appendUint([]byte{0xd3}, 64, v)})
	case msgp.MapType:
		n, rest, _ := msgp.ReadMapHeaderBytes(b)
		fs = append(fs,
			form{"map0", append([]byte{0x80 | byte(n)}, rest...)},
			form{"map16", append(appendUint([]byte{0xde}, 16, uint64(n)), rest...)},
			form{"map32", append(appendUint([]byte{0xdf}, 32, uint64(n)), rest...)})
	case msgp.ArrayType:
		n, rest, _ := msgp.ReadArrayHeaderBytes(b)
		fs = append(fs,
			form{"array0", append([]byte{0x90 | byte(n)}, rest...)},
			form{"array16", append(appendUint([]byte{0xdc}, 16, uint64(n)), rest...)},
			form{"array32", append(appendUint([]byte{0xdd}, 32, uint64(n)), rest...)})
	case msgp.BoolType:
		fs = append(fs, form{"bool", b})
	case msgp.NilType:
		fs = append(fs, form{"nil", b})
	default:
		t.Fatalf("no forms of %s", msgp.NextType(b))
	}
	return fs
}

func appendUint(b []byte, bits int, v uint64) []byte {
	var be [8]byte
	binary.BigEndian.PutUint64(be[:], v)
	return append(b, be[8-bits/8:]...)
}

// others are values that the field of no body has.
var others = []form{
	{"float32", []byte{0xca, 0, 0, 0, 0}},
	{"float64", []byte{0xcb, 0, 0, 0, 0, 0, 0, 0, 0}},
	{"negative fixint", []byte{0xff}},
	{"int8", []byte{0xd0, 1}},
	{"fixext1", []byte{0xd4, 5, 0}},
	{"timestamp", []byte{0xd6, 0xff, 0, 0, 0, 0}},
	{"ext8", []byte{0xc7, 0, 5}},
	{"ext32 past the end", []byte{0xc9, 0xff, 0xff, 0xff, 0xff, 5}},
	{"str32 past the end", []byte{0xdb, 0xff, 0xff, 0xff, 0xff}},
	{"bin32 past the end", []byte{0xc6, 0xff, 0xff, 0xff, 0xff}},
	{"array16 past the end", []byte{0xdc, 0xff, 0xff}},
	{"map16 past the end", []byte{0xde, 0xff, 0xff}},
	{"str no UTF-8", []byte{0xa2, 0xc3, 0x28}},
	{"0xc1", []byte{0xc1}},
	{"nil", []byte{0xc0}},
}

// accepted reports whether a declared type takes a form.
func accepted(declaredType, formName string) bool {
	for want := range strings.SplitSeq(declaredType, "/") {
		want = strings.TrimSuffix(want, "?")
		if want == "enum" {
			want = "uint0"
		}
		family := strings.TrimRight(want, "0123456789")
		if family != strings.TrimRight(formName, "0123456789") {
			continue
		}
		width, _ := strconv.Atoi(formName[len(family):]) // none: 0
		limit, err := strconv.Atoi(want[len(family):])
		if err != nil {
			limit = 16 // maps and arrays
		}
		if width <= limit {
			return true
		}
	}
	return false
}

// A subject is something with keys to be broken: a body of some type or a
// packet.
type subject struct {
	keys   map[string]string
	prefix string // of its keys in errors
	bytes  []byte
	step   bool // unknown keys are always stepped over
	parse  func(b []byte, newer bool) (any, error)
}

func subjects(t *testing.T) map[string]subject {
	all := map[string]subject{}
	for _, v := range bodyVectors(t) {
		if v.Error != nil || v.Newer || (v.Canonical != nil && !*v.Canonical) || len(v.Bytes) == 0 || len(v.Bytes) > 1000 {
			continue
		}
		c := codecs[v.Type]
		s := subject{keys: declared[v.Type], prefix: "body.", bytes: v.Bytes, parse: func(b []byte, newer bool) (any, error) {
			return c(b, newer)
		}}
		switch v.Type {
		case "CNNodeForwardRequest", "CNNodeForwardResponse", "content":
			s.prefix, s.step = "", true
		case "GET_USER_KEY answer":
			s.step = true
		}
		if s.keys == nil {
			t.Fatalf("keys of %s are not declared", v.Type)
		}
		all[v.Type+"/"+v.Name] = s
	}
	for _, v := range packetVectors(t) {
		if v.Error != nil || v.Packet.Ver != tipt.Version || v.Revision != "" || (v.Canonical != nil && !*v.Canonical) {
			continue
		}
		all["packet/"+v.Name] = subject{keys: rootDeclared, bytes: v.Bytes, parse: func(b []byte, newer bool) (any, error) {
			if newer {
				b = newerVersion(b)
			}
			p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
			if newer {
				p.Version, p.Newer = v.Packet.Ver, false
			}
			return p, err
		}}
	}
	if len(all) < 60 {
		t.Fatalf("only %d subjects", len(all))
	}
	return all
}

// newerVersion is a packet with a `ver` that is newer than ours.
func newerVersion(b []byte) []byte {
	return bytes.Replace(b, []byte("\xa3ver\xa51.0.0"), []byte("\xa3ver\xa51.7.0"), 1)
}

// wantMalformed fails unless err is about the given key or one within it.
func wantMalformed(t *testing.T, what string, err error, key string) {
	t.Helper()
	var bad *tipt.MalformedError
	if !errors.As(err, &bad) {
		t.Errorf("%s: error %v, want a *MalformedError", what, err)
		return
	}
	if bad.Key != key && !strings.HasPrefix(bad.Key, key+".") && !strings.HasPrefix(bad.Key, key+"[") {
		t.Errorf("%s: error %q, want one about %s", what, err, key)
	}
	if bad.Found == "" || bad.Want == "" {
		t.Errorf("%s: error %q does not say what was found or wanted", what, err)
	}
}

// TestForms writes each value in every way msgpack has: the declared width and
// smaller ones mean the same, and all else is refused by the name of its key.
func TestForms(t *testing.T) {
	for name, s := range subjects(t) {
		t.Run(name, func(t *testing.T) {
			want, err := s.parse(s.bytes, false)
			if err != nil {
				t.Fatal(err)
			}
			es := split(t, s.bytes)
			for i, e := range es {
				key := e.name(t)
				typ := s.keys[key]
				if typ == "" {
					t.Fatalf("key %s is not declared", key)
				}
				for _, f := range forms(t, e.value) {
					got, err := s.parse(with(es, i, f.bytes), false)
					what := key + " as " + f.name
					switch {
					case !accepted(typ, f.name):
						wantMalformed(t, what, err, s.prefix+key)
					case err != nil:
						t.Errorf("%s: %v", what, err)
					default:
						if diff := cmp.Diff(want, got, bodyForms(f)...); diff != "" {
							t.Errorf("%s means something else (-want +got):\n%s", what, diff)
						}
					}
				}
				for _, f := range others {
					if f.name == "nil" && strings.Contains(typ, "nil") {
						continue
					}
					_, err := s.parse(with(es, i, f.bytes), false)
					wantMalformed(t, key+" as "+f.name, err, s.prefix+key)
				}
			}
		})
	}
}

// bodyForms ignores Packet.Body where a map itself was written otherwise.
func bodyForms(f form) []cmp.Option {
	if !strings.HasPrefix(f.name, "map") {
		return nil
	}
	return []cmp.Option{cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Body" }, cmp.Ignore())}
}

// TestKeys leaves keys out, doubles them and adds unknown ones.
func TestKeys(t *testing.T) {
	for name, s := range subjects(t) {
		t.Run(name, func(t *testing.T) {
			want, err := s.parse(s.bytes, false)
			if err != nil {
				t.Fatal(err)
			}
			es := split(t, s.bytes)
			for i, e := range es {
				key := e.name(t)
				for at := range len(es) + 1 {
					doubled := append(append(append([]entry{}, es[:at]...), e), es[at:]...)
					_, err = s.parse(join(doubled), false)
					wantMalformed(t, key+" twice", err, s.prefix+key)
				}
				_, err = s.parse(join(append(append([]entry{}, es[:i]...), es[i+1:]...)), false)
				switch {
				case strings.HasSuffix(strings.Split(s.keys[key], "/")[0], "?"):
					// Its absence means something, which may be wrong with the rest.
				case key == "tok":
					wantMalformed(t, "no "+key, err, s.prefix+"pass")
				case key == "code":
					wantMalformed(t, "no "+key, err, s.prefix+"resp")
				default:
					wantMalformed(t, "no "+key, err, s.prefix+key)
				}

				for _, wide := range forms(t, e.key)[2:] {
					es := split(t, s.bytes)
					es[i].key = wide.bytes
					if _, err := s.parse(join(es), true); !isMalformed(err) {
						t.Errorf("key %s as %s: error %v", key, wide.name, err)
					}
				}
			}

			for _, unknown := range []struct {
				value []byte
				ok    bool // when the version is newer
			}{
				{[]byte{0xc0}, true},
				{[]byte{0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true},
				{[]byte{0xdb, 0, 0, 0, 1, 'x'}, true},
				{[]byte{0x81, 0xa1, 'k', 0x90}, true},
				{[]byte{0x82, 0xa1, 'k', 0x90, 0xa1, 'k', 0xc0}, false},
				{[]byte{0x81, 0x05, 0x90}, false},
				{[]byte{0xdd, 0, 0, 0, 0}, false},
				{[]byte{0xd4, 5, 0}, false},
				{[]byte{0x91, 0x91, 0x91, 0x90}, false},
				{[]byte{0xa1, 0xff}, false},
				{[]byte{0xc1}, false},
			} {
				u := entry{msgp.AppendString(nil, "later"), unknown.value}
				for at := range len(es) + 1 {
					b := join(append(append(append([]entry{}, es[:at]...), u), es[at:]...))
					what := fmt.Sprintf("unknown key with %x", unknown.value)
					got, err := s.parse(b, true)
					switch {
					case !unknown.ok:
						wantMalformed(t, what+" of a newer version", err, s.prefix+"later")
					case err != nil:
						t.Errorf("%s of a newer version: %v", what, err)
					default:
						if diff := cmp.Diff(want, got); diff != "" {
							t.Errorf("%s changes the rest (-want +got):\n%s", what, diff)
						}
					}
					if _, err = s.parse(b, false); !s.step {
						wantMalformed(t, what, err, s.prefix+"later")
					}
				}
				twice := join(append(append([]entry{}, es...), u, u))
				_, err := s.parse(twice, true)
				wantMalformed(t, "unknown key twice", err, s.prefix+"later")
			}

			for _, more := range []string{"\x00", "\xc0", "\x80"} {
				if _, err := s.parse(append(append([]byte{}, s.bytes...), more...), false); !isMalformed(err) {
					t.Errorf("%x behind the map: error %v", more, err)
				}
			}
		})
	}
}
