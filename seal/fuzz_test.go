package seal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	tipt "github.com/tipt/tipt-go"
)

// fuzzKey is always the same, so that inputs found by fuzzing keep their meaning.
func fuzzKey(f *testing.F) *NodeKey {
	f.Helper()
	b, err := os.ReadFile("testdata/node.key")
	if err != nil {
		f.Fatal(err)
	}
	k, err := ParseNodeKey(b)
	if err != nil {
		f.Fatal(err)
	}
	return k
}

func FuzzOpen(f *testing.F) {
	k := fuzzKey(f)
	for _, msg := range testMessages(f, k) {
		f.Add(msg)
	}
	for _, r := range refusals(f, k) {
		if len(r.msg) < 4096 {
			f.Add(r.msg)
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		var got []byte
		var err error
		n := allocated(func() { got, err = k.Open(msg, testTime) })
		if limit := openLimit(msg); n > limit {
			t.Errorf("allocated %d bytes for a message of %d", n, len(msg))
		}
		if err != nil {
			if errors.Is(err, ErrMessage) == errors.Is(err, ErrCannotOpen) {
				t.Errorf("error %v", err)
			}
			if got != nil {
				t.Errorf("got %d bytes along with error %v", len(got), err)
			}
		}
	})
}

// FuzzOpenInside is about what an honest integrity check lets through.
func FuzzOpenInside(f *testing.F) {
	k := fuzzKey(f)
	literal := makeLiteral("hello")
	f.Add(literal)
	f.Add(slices.Concat(literal, literal))
	f.Add(slices.Concat(makePacket(typePadding, []byte{0}), literal, makePacket(typeMarker, []byte("PGP"))))
	f.Add(slices.Concat([]byte{0xc0 | typeLiteral, 0xe9}, makeLiteral(string(make([]byte, 502)))[6:], []byte{0xe1, 1, 2, 3, 4, 5, 6}))
	f.Add(makePacket(typeCompressed, []byte{0}, literal))
	f.Add(makePadded(9, string(literal[:5]), string(literal[5:])))
	wrapped := makeSessionKey(f, k, 6, testSessionKey, false)
	f.Fuzz(func(t *testing.T, packets []byte) {
		msg := slices.Concat(wrapped, makeEncrypted(t, 2, testSessionKey, packets))
		got, err := k.Open(msg, testTime)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Errorf("error %v", err)
			}
			return
		}
		// The library, which takes more, must read the same out of what we take.
		reader := packet.NewReader(bytes.NewReader(packets))
		for {
			p, err := reader.Next()
			if err != nil {
				t.Fatalf("the library finds no literal packet: %v", err)
			}
			if stored, ok := p.(*packet.Compressed); ok {
				if err := reader.Push(stored.Body); err != nil {
					t.Fatal(err)
				}
			}
			literal, ok := p.(*packet.LiteralData)
			if !ok {
				continue
			}
			if want, err := io.ReadAll(literal.Body); err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %q, the library %q, %v", got, want, err)
			}
			return
		}
	})
}

func FuzzParseCertificate(f *testing.F) {
	k := fuzzKey(f)
	f.Add(k.Certificate())
	f.Add(withoutAEAD(f, k).Certificate())
	f.Add(k.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCertificate(b)
		if err != nil {
			return
		}
		if len(b) > tipt.MaxKeySize || !bytes.Equal(c.Bytes(), b) {
			t.Errorf("certificate of %d bytes is one of %d", len(b), len(c.Bytes()))
		}
		if msg, err := c.Seal([]byte("hello"), testTime); err == nil {
			if _, err := parseEnvelope(msg); err != nil {
				t.Errorf("sealed to something else than a message: %v", err)
			}
		}
	})
}
