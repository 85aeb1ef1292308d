package tipt_test

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/msgpack"
)

// checkAllocation fails where parsing n bytes, well formed or not, allocates
// more than it may in all.
func checkAllocation(t *testing.T, n int, parse func()) {
	t.Helper()
	limit := 4*uint64(n) + 1<<10
	got := allocated(parse)
	for range 3 {
		if got <= limit {
			return
		}
		// The rest of the process allocates now and then: the least counts.
		got = min(got, allocated(parse))
	}
	t.Errorf("parsing %d bytes allocates %d, more than %d", n, got, limit)
}

// allocated returns how many bytes the process allocates during f.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzParsePacket(f *testing.F) {
	for _, v := range packetVectors(f) {
		form, _ := v.form(f)
		f.Add([]byte(v.Bytes), form.Revision == tipt.RevisionDraft, form.Open, form.Version)
	}
	f.Fuzz(func(t *testing.T, b []byte, draft, open bool, version string) {
		form := tipt.Form{Open: open, Version: version}
		if draft {
			form.Revision = tipt.RevisionDraft
		}
		input := bytes.Clone(b)
		p, _, err := form.ParsePacket(b)
		if !bytes.Equal(b, input) {
			t.Error("the input was changed")
		}
		if err != nil {
			if !isMalformed(err) {
				t.Errorf("error %v is no *MalformedError", err)
			}
			if p.Body != nil || p.Err != nil || p.Version != "" {
				t.Errorf("%+v beside %v", p, err)
			}
		} else if p.Type > tipt.PacketEvent || (p.Err != nil && (p.Body != nil || p.Type != tipt.PacketResponse)) {
			t.Errorf("parsed as %+v", p)
		} else if k := msgpack.SkimBytes(b); k != (msgpack.Skimmed{ID: p.ID, Type: uint8(p.Type), Readable: true}) {
			t.Errorf("skimmed as %+v, parsed as %+v", k, p)
		}
		checkAllocation(t, len(b)+len(version), func() { _, _, _ = form.ParsePacket(b) })
	})
}

// FuzzParseBody parses as the body that which chooses.
func FuzzParseBody(f *testing.F) {
	names := slices.Sorted(maps.Keys(codecs))
	for _, v := range bodyVectors(f) {
		if len(v.Bytes) < 10_000 {
			f.Add([]byte(v.Bytes), uint8(slices.Index(names, v.Type)), v.Newer)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, which uint8, newer bool) {
		name := names[int(which)%len(names)]
		input := bytes.Clone(b)
		_, err := codecs[name](b, newer)
		if !bytes.Equal(b, input) {
			t.Errorf("%s: the input was changed", name)
		}
		if err != nil && !isMalformed(err) && !errors.Is(err, tipt.ErrTooLarge) && !errors.Is(err, tipt.ErrForwardUnsupported) {
			t.Errorf("%s: error %v", name, err)
		}
		checkAllocation(t, len(b), func() { _, _ = codecs[name](b, newer) })
	})
}

// FuzzRoundTrip encodes what was parsed and expects it to come back equal.
func FuzzRoundTrip(f *testing.F) {
	for _, v := range packetVectors(f) {
		f.Add([]byte(v.Bytes), v.Revision == "draft")
	}
	for _, v := range bodyVectors(f) {
		if len(v.Bytes) < 10_000 {
			f.Add([]byte(v.Bytes), false)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, draft bool) {
		rev := tipt.RevisionSeed
		if draft {
			rev = tipt.RevisionDraft
		}
		if p, err := tipt.ParsePacket(b, rev); err == nil {
			encoded := tipt.AppendPacket(nil, rev, &p)
			again, err := tipt.ParsePacket(encoded, rev)
			if err != nil {
				t.Fatalf("%x does not parse: %v", encoded, err)
			}
			if diff := cmp.Diff(p, again); diff != "" {
				t.Errorf("packet (-parsed +parsed again):\n%s", diff)
			}
			if len(encoded) > len(b) {
				t.Errorf("%x of %d bytes, longer than the %d it came in", encoded, len(encoded), len(b))
			}
		}
		for name, c := range codecs {
			x, err := c(b, false)
			if err != nil {
				continue
			}
			encoded := x.Append(nil)
			again, err := c(encoded, false)
			if err != nil {
				t.Fatalf("%s: %x does not parse: %v", name, encoded, err)
			}
			if !reflect.DeepEqual(x, again) {
				t.Errorf("%s (-parsed +parsed again):\n%s", name, cmp.Diff(x, again))
			}
		}
	})
}
