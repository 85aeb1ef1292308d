package conform

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The vectors of testdata/vectors are read here a second time, by the suite's own codec and by rules
// that are written down here again: none of this imports a package of the project.

// vectorHex is hex with spaces, where XX*N is a byte N times.
type vectorHex []byte

func (h *vectorHex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*h = nil
	for word := range strings.FieldsSeq(s) {
		digits, times, _ := strings.Cut(word, "*")
		part, err := hex.DecodeString(digits)
		if err != nil {
			return err
		}
		if n, err := strconv.Atoi(times); err == nil {
			part = bytes.Repeat(part, n)
		}
		*h = append(*h, part...)
	}
	return nil
}

func readVectors[T any](t *testing.T, file string) T {
	t.Helper()
	var v T
	b, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}

type packetVector struct {
	Name, Revision, Version, Chooses string
	Bytes                            vectorHex
	Packet                           *struct {
		Ver            string
		ID, Pakt, Reqt int64
		Body           vectorHex
		Err            *struct {
			Code, Wait int64
			Msg        string
		}
		Newer bool
	}
	Error *struct {
		Clause   string
		Readable *struct{ ID, Pakt int64 }
	}
}

func TestVectorsOfPackets(t *testing.T) {
	for _, v := range readVectors[[]packetVector](t, "packets.json") {
		drafts := v.Revision == "draft"
		version := "" // what stands for `ver`
		if drafts {
			version = v.Version
		}
		if v.Revision == "open" {
			if version, drafts = chosen(v.Bytes); drafts != (v.Chooses == "draft") {
				t.Errorf("%s: read in the drafts' form: %v, want %q", v.Name, drafts, v.Chooses)
			}
		}
		r := readStrictly(v.Bytes, drafts, version)
		if v.Error != nil {
			if !slices.Contains(r.clauses, v.Error.Clause) {
				t.Errorf("%s: it breaks %v, want %s", v.Name, r.clauses, v.Error.Clause)
			}
			if want := v.Error.Readable; r.readable != (want != nil) || want != nil && (want.ID != r.id || want.Pakt != r.pakt) {
				t.Errorf("%s: readable %v with id %d and pakt %d, want %+v", v.Name, r.readable, r.id, r.pakt, want)
			}
			continue
		}
		if len(r.clauses) > 0 {
			t.Errorf("%s: it breaks %v", v.Name, r.clauses)
			continue
		}
		var body []byte
		if b := r.root.get("body"); !b.isNil() {
			body = v.Bytes[b.head:b.end]
		}
		p := v.Packet
		reqt := max(0, r.root.get("reqt").num())
		if r.id != p.ID || r.pakt != p.Pakt || reqt != p.Reqt || !bytes.Equal(body, p.Body) || r.newer != p.Newer || !drafts && r.root.get("ver").str() != p.Ver {
			t.Errorf("%s: it means id %d, pakt %d, reqt %d, body % x, newer %v", v.Name, r.id, r.pakt, reqt, body, r.newer)
		}
		e := r.root.get("err")
		if (e == nil) != (p.Err == nil) {
			t.Errorf("%s: err is there %v", v.Name, e != nil)
		} else if e != nil {
			code := e.get("code").num()
			if drafts {
				code = e.num()
			}
			if code != p.Err.Code || max(0, e.get("wait").num()) != p.Err.Wait || e.get("msg").str() != p.Err.Msg {
				t.Errorf("%s: err has code %d", v.Name, code)
			}
		}
	}
}

// declarations are the bodies of section 4, and what is sealed: `key?:type:lengths`. "nil" is a body
// that must not be there.
var declarations = map[string]string{
	"nil":                    "nil",
	"HANDSHAKE request":      "absent ver:str8",
	"HANDSHAKE response":     "ver:str8 comp:bool",
	"REGISTER request":       "user:str8 pass:str8 inv?:str8",
	"SIGN_IN request":        "user:str8 dev?:str8:1-64 pass/:str8 tok/:bin8 recv?:bool",
	"SIGN_IN response":       "addr:str16:0-318 tok?:bin8:32-32",
	"GET_INFO response":      "node:str8:0-253 soft:str8 reg:enum time:uint64",
	"FORWARD request":        "node:str16 wait:bool msg:bin32:0-2000000 ref?:bin8:16-16",
	"FORWARD event":          "node:str16 wait?:any msg:bin32:0-2000000 ref?:bin8:16-16",
	"FORWARD response":       "resp:bin32:0-2000000",
	"GET_NODE_KEY request":   "node:str16 new?:bool",
	"GET_NODE_KEY response":  "key:bin16:0-8192",
	"SET_PASSWORD request":   "old:str8 new:str8",
	"LIST_DEVICES response":  "devs:array",
	"REMOVE_DEVICE request":  "dev:str8:0-64",
	"DELETE_ACCOUNT request": "pass:str8",
	"SET_KEY request":        "key:bin16|nil:0-8192",
	"DELIVER request":        "mid:bin8:16-16 from?:str16:0-318 time:uint64 msg:bin32:0-1990000",
	"RETURN request":         "mid:bin8:16-16 ref?:bin8:16-16 node:str8:0-253 time:uint64 resp/:bin32:0-4096 code/:enum",
	"GOING_AWAY event":       "wait:uint16",
	"CNNodeForwardRequest":   "type:enum body:map",
	"CNNodeForwardResponse":  "body?:map|nil err?:map",
	"GET_USER_KEY answer":    "key:bin16|nil:0-8192",
	"content":                "type:enum body:map|bin32",

	"a device":     "dev:str8:0-64 seen:uint64 on:bool",
	"MESSAGE":      "to:str8 mid:bin8:16-16 msg:bin32:0-1990000",
	"GET_USER_KEY": "user:str8 seal:bin8:32-32",
	"an err":       "code:enum msg?:str8 wait?:uint32",
	"TEXT":         "text:str32 time:uint64",
}

// senders are the clauses for what a node sends, or for what stands inside something else.
var senders = map[string]string{
	"HANDSHAKE response": "T-4.8", "SIGN_IN response": "T-4.19", "GET_INFO response": "T-4.37", "FORWARD response": "T-4.60",
	"GET_NODE_KEY response": "T-4.70", "LIST_DEVICES response": "T-4.42", "DELIVER request": "T-4.74", "RETURN request": "T-4.95",
	"GOING_AWAY event": "T-4.98", "CNNodeForwardResponse": "T-5.34", "GET_USER_KEY answer": "T-5.30", "content": "T-8.2",
	"FORWARD event": "T-2.34", "HANDSHAKE request": "T-4.7",
}

type bodyVector struct {
	Name, Type string
	Bytes      vectorHex
	Newer      bool
	Value      map[string]any
	Error      *struct{ Code, Clause string }
}

func TestVectorsOfBodies(t *testing.T) {
	for _, v := range readVectors[[]bodyVector](t, "bodies.json") {
		name := v.Type + "/" + v.Name
		root, clauses := readBody(v.Type, v.Bytes, v.Newer)
		if v.Error == nil {
			if len(clauses) > 0 {
				t.Errorf("%s: it breaks %v", name, clauses)
			}
			for key, want := range v.Value {
				if got := root.get(key); got != nil && !strings.Contains(declarations[v.Type], key+"?:any") && !got.means(want) {
					t.Errorf("%s: %s is not %v", name, key, want)
				}
			}
			continue
		}
		if !slices.Contains(clauses, v.Error.Clause) {
			t.Errorf("%s: it breaks %v, want %s", name, clauses, v.Error.Clause)
		}
		tooLarge := len(clauses) == 1 && slices.Contains([]string{"T-4.51", "T-4.64"}, clauses[0])
		if tooLarge != (v.Error.Code == "TOO_LARGE") {
			t.Errorf("%s: it breaks %v, which is not %s", name, clauses, v.Error.Code)
		}
	}
}

// means compares a value with how JSON has it, where that is a plain one.
func (v *value) means(want any) bool {
	switch want := want.(type) {
	case bool:
		return v.is(want)
	case float64:
		return v.kind == kindUint && float64(v.n) == want
	case string:
		if v.kind == kindStr {
			return v.str() == want || strings.Contains(want, "*")
		}
		var b vectorHex
		return v.kind != kindBin || b.UnmarshalJSON([]byte(strconv.Quote(want))) != nil || bytes.Equal(b, v.content)
	}
	return true
}

// readBody reads a body and returns the clauses that it breaks.
func readBody(kind string, b []byte, newer bool) (*value, []string) {
	s := &judge{newer: newer}
	root := s.body(kind, b)
	if clause := senders[kind]; clause != "" && len(s.clauses) > 0 && !slices.Equal(s.clauses, []string{"T-4.64"}) {
		return root, append(s.clauses, clause)
	}
	return root, s.clauses
}

func (s *judge) body(kind string, b []byte) *value {
	declared := declarations[kind]
	if declared == "nil" || strings.HasPrefix(declared, "absent ") && len(b) == 0 {
		if len(b) > 0 {
			s.breaks("T-2.7")
		}
		return nil
	}
	inside := kind == "content" || strings.HasPrefix(kind, "CNNode") || kind == "GET_USER_KEY answer"
	s.newer = s.newer || inside // unknown keys are skipped there always
	depth := 2
	if inside {
		depth = 1
	}
	if len(b) == 0 {
		b = []byte{0xc0} // what is absent, is nil
	}
	root, err := unpack(b)
	if err != nil {
		s.breaks(clauseOf(err), "T-5.21")
		return nil
	}
	if s.all(root, depth); root.end != len(b) {
		s.breaks("T-2.18", "T-5.21")
	}
	s.fields(kind, strings.TrimPrefix(declared, "absent "), root)
	switch kind {
	case "HANDSHAKE request":
		if !semver.MatchString(root.get("ver").str()) {
			s.breaks("T-2.3")
		}
	case "LIST_DEVICES response":
		for _, d := range root.get("devs").list() {
			s.fields("a device", declarations["a device"], d)
		}
	case "CNNodeForwardRequest":
		switch root.get("type").num() {
		case 0:
			s.fields(kind, declarations["MESSAGE"], root.get("body"))
		case 1:
			s.fields(kind, declarations["GET_USER_KEY"], root.get("body"))
		default:
			s.breaks("T-5.22")
		}
		if len(s.clauses) > 0 && !slices.Equal(s.clauses, []string{"T-5.22"}) {
			s.breaks("T-5.21")
		}
	case "CNNodeForwardResponse":
		if e := root.get("err"); e != nil {
			s.fields("an err", declarations["an err"], e)
			if !root.get("body").isNil() {
				s.breaks("T-5.34")
			}
		}
	case "content":
		switch body := root.get("body"); {
		case root.get("type").num() == 0:
			s.fields("TEXT", declarations["TEXT"], body)
		case root.get("type").num() != 1 || body == nil || body.kind != kindBin:
			s.breaks("T-8.2")
		}
	}
	return root
}

// None of this leans on what it checks.
func TestVectorsAreReadAnew(t *testing.T) {
	files, err := filepath.Glob("vectors*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, b, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			if strings.Contains(spec.Path.Value, "github.com/tipt/") {
				t.Errorf("%s imports %s", name, spec.Path.Value)
			}
		}
	}
}

type nameVectors struct {
	Nodes, Users []struct {
		In  string
		Out *string
	}
	Versions []struct {
		In           string
		Valid, Newer bool
	}
}

func TestVectorsOfVersions(t *testing.T) {
	for _, v := range readVectors[nameVectors](t, "names.json").Versions {
		if valid := len(v.In) <= 64 && semver.MatchString(v.In); valid != v.Valid || valid && newerThanOne(v.In) != v.Newer {
			t.Errorf("%q: a version %v, newer %v", v.In, valid, valid && newerThanOne(v.In))
		}
	}
}
