package tipt_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
)

// The vectors are the codec's table: bytes and their meaning, in a form that
// implementations in other languages read too. testdata/vectors/README.md
// describes them.

// notation is a vector's bytes: hex digits with spaces between, where XX*N is a byte N times.
type notation []byte

func (n *notation) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*n = notation{}
	for _, word := range strings.Fields(s) {
		digits, times, repeated := strings.Cut(word, "*")
		part, err := hex.DecodeString(digits)
		if err != nil {
			return err
		}
		if repeated {
			count, err := strconv.Atoi(times)
			if err != nil {
				return err
			}
			part = bytes.Repeat(part, count)
		}
		*n = append(*n, part...)
	}
	return nil
}

type packetVector struct {
	Name      string
	Revision  string
	Version   string
	Chooses   string
	Bytes     notation
	Canonical *bool
	Packet    *struct {
		Ver   string
		ID    uint8
		Pakt  uint8
		Reqt  uint8
		Body  notation
		Err   *failure
		Newer bool
	}
	Error *struct {
		Clause   string
		Key      string
		Readable *struct{ ID, Pakt uint8 }
	}
}

type failure struct {
	Code uint8  `json:"code"`
	Msg  string `json:"msg,omitempty"`
	Wait int64  `json:"wait,omitempty"`
}

func revision(t testing.TB, name string) tipt.Revision {
	switch name {
	case "", "seed":
		return tipt.RevisionSeed
	case "draft":
		return tipt.RevisionDraft
	}
	t.Fatalf("unknown revision %q", name)
	return 0
}

// form is how the vector is read, and the revision in which it comes.
func (v packetVector) form(t testing.TB) (tipt.Form, tipt.Revision) {
	if v.Revision == "open" {
		return tipt.Form{Open: true}, revision(t, v.Chooses)
	}
	rev := revision(t, v.Revision)
	return tipt.Form{Revision: rev, Version: v.Version}, rev
}

// packet is the vector's meaning as ParsePacket gives it.
func (v packetVector) packet() tipt.Packet {
	p := tipt.Packet{
		Version: v.Packet.Ver,
		ID:      v.Packet.ID,
		Type:    tipt.PacketType(v.Packet.Pakt),
		Code:    v.Packet.Reqt,
		Body:    v.Packet.Body,
		Newer:   v.Packet.Newer,
	}
	if e := v.Packet.Err; e != nil {
		p.Err = &tipt.Error{Code: tipt.ErrorCode(e.Code), Message: e.Msg, Wait: time.Duration(e.Wait) * time.Millisecond}
	}
	return p
}

func readVectors[T any](t testing.TB, file string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}

func packetVectors(t testing.TB) []packetVector {
	return readVectors[[]packetVector](t, "packets.json")
}

func TestPacketVectors(t *testing.T) {
	for _, v := range packetVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			form, rev := v.form(t)
			got, came, err := form.ParsePacket(v.Bytes)
			if came != rev {
				t.Errorf("it came as %v, want %v", came, rev)
			}
			if v.Error != nil {
				var bad *tipt.MalformedError
				if !errors.As(err, &bad) {
					t.Fatalf("error %v, want a *MalformedError", err)
				}
				if bad.Key != v.Error.Key {
					t.Errorf("error %q names the key %q, want %q", err, bad.Key, v.Error.Key)
				}
				want := tipt.Packet{}
				if r := v.Error.Readable; r != nil {
					want = tipt.Packet{ID: r.ID, Type: tipt.PacketType(r.Pakt)}
				}
				if bad.Readable != (v.Error.Readable != nil) {
					t.Errorf("error %q: readable %v, want %v", err, bad.Readable, !bad.Readable)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("what could be read (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := v.packet()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("packet (-want +got):\n%s", diff)
			}
			checkEncoding(t, tipt.AppendPacket(nil, rev, &want), v.Bytes, v.Canonical)
			for n := range v.Bytes {
				if _, _, err := form.ParsePacket(v.Bytes[:n]); err == nil {
					t.Errorf("the first %d bytes are taken for a packet", n)
				}
			}
		})
	}
}

// checkEncoding compares an encoding with a vector's bytes, which are what an
// encoder writes unless the vector says otherwise.
func checkEncoding(t *testing.T, got, want []byte, canonical *bool) {
	t.Helper()
	if same := canonical == nil || *canonical; same != bytes.Equal(got, want) {
		t.Errorf("encoded %x, vector %x, want the same: %v", short(got), short(want), same)
	}
}

func short(b []byte) []byte { return b[:min(len(b), 200)] }

type bodyVector struct {
	Name      string
	Type      string
	Bytes     notation
	Newer     bool
	Canonical *bool
	Value     map[string]any
	Error     *struct {
		Clause string
		Code   string
		Key    *string
	}
	Seal notation // the seal that could be read of a malformed GET_USER_KEY
}

func bodyVectors(t testing.TB) []bodyVector {
	return readVectors[[]bodyVector](t, "bodies.json")
}

// body is the vector's bytes as a Packet has them: nil where there are none.
func (v bodyVector) body() []byte {
	if len(v.Bytes) == 0 {
		return nil
	}
	return v.Bytes
}

func TestBodyVectors(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range bodyVectors(t) {
		seen[v.Type] = true
		t.Run(v.Type+"/"+v.Name, func(t *testing.T) {
			c := codecs[v.Type]
			if c == nil {
				t.Fatalf("unknown type %q", v.Type)
			}
			got, err := c(v.body(), v.Newer)
			if v.Error != nil {
				checkBodyError(t, v, got, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(expand(v.Value), jsonValue(t, got)); diff != "" {
				t.Errorf("value (-want +got):\n%.2000s", diff)
			}
			checkEncoding(t, got.Append(nil), v.Bytes, v.Canonical)
			if len(v.Bytes) > 10_000 {
				return // truncated often enough below
			}
			for n := range v.Bytes {
				if n == 0 {
					continue // no body at all, which some may be
				}
				if _, err := c(v.Bytes[:n:n], v.Newer); err == nil {
					t.Errorf("the first %d bytes are taken for a body", n)
				}
			}
		})
	}
	for name := range codecs {
		if !seen[name] {
			t.Errorf("no vector for %s", name)
		}
	}
}

func checkBodyError(t *testing.T, v bodyVector, got value, err error) {
	t.Helper()
	switch v.Error.Code {
	case "MALFORMED":
		var bad *tipt.MalformedError
		if !errors.As(err, &bad) || !errors.Is(err, tipt.ErrMalformed) {
			t.Fatalf("error %v, want a *MalformedError", err)
		}
		if bad.Key != *v.Error.Key {
			t.Errorf("error %q names the key %q, want %q", err, bad.Key, *v.Error.Key)
		}
	case "TOO_LARGE":
		var coded *tipt.Error
		if !errors.As(err, &coded) || coded.Code != tipt.ErrTooLarge {
			t.Fatalf("error %v, want TOO_LARGE", err)
		}
	case "UNSUPPORTED":
		var coded *tipt.ForwardError
		if !errors.As(err, &coded) || coded.Code != tipt.ErrForwardUnsupported {
			t.Fatalf("error %v, want UNSUPPORTED", err)
		}
	default:
		t.Fatalf("unknown code %q", v.Error.Code)
	}
	if r, ok := got.(*tipt.SealedRequest); ok {
		var seal []byte
		if r.GetUserKey != nil {
			seal = r.GetUserKey.Seal[:]
		}
		if !bytes.Equal(seal, v.Seal) {
			t.Errorf("seal %x, want %x", seal, []byte(v.Seal))
		}
	}
}

// Each hostile vector names the clause that it breaks, and no other vector does.
func TestClausesOfVectors(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(name, clause string, hostile bool) {
		t.Helper()
		if hostile != bytes.Contains(page, []byte("\n- **"+clause+"** ")) {
			t.Errorf("%s: hostile %v, clause %q", name, hostile, clause)
		}
	}
	for _, v := range packetVectors(t) {
		if v.Error != nil {
			check(v.Name, v.Error.Clause, true)
		}
	}
	for _, v := range bodyVectors(t) {
		if v.Error != nil {
			check(v.Type+"/"+v.Name, v.Error.Clause, true)
		}
	}
	names := readVectors[nameVectors](t, "names.json")
	for _, v := range append(names.Nodes, names.Users...) {
		check(v.In, v.Clause, v.Out == nil)
	}
	for _, v := range names.Versions {
		check(v.In, v.Clause, !v.Valid)
	}
}

// expand replaces XX*N in a vector's value by the hex digits it stands for.
func expand(v map[string]any) map[string]any {
	for k, x := range v {
		s, ok := x.(string)
		if digits, times, repeated := strings.Cut(s, "*"); ok && repeated && len(digits) == 2 {
			if n, err := strconv.Atoi(times); err == nil {
				v[k] = strings.Repeat(digits, n)
			}
		}
	}
	return v
}

// jsonValue is x as JSON has it.
func jsonValue(t *testing.T, x value) map[string]any {
	t.Helper()
	b, err := json.Marshal(describe(t, x))
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
