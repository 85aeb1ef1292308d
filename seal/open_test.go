package seal

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

var testSessionKey = bytes.Repeat([]byte{0x5a}, 32)

// What may be said in two ways is said here in each: every message opens.
func TestOpen(t *testing.T) {
	k := newTestKey(t)
	other := newTestKey(t)
	ours := map[int][]byte{
		1: makeSessionKey(t, k, 3, testSessionKey, false),
		2: makeSessionKey(t, k, 6, testSessionKey, false),
	}
	theirs := map[int][]byte{
		1: makeSessionKey(t, other, 3, testSessionKey, false),
		2: makeSessionKey(t, other, 6, testSessionKey, false),
	}
	hidden := map[int][]byte{
		1: makeSessionKey(t, k, 3, testSessionKey, true),
		2: makeSessionKey(t, k, 6, testSessionKey, true),
	}
	padding := makePacket(typePadding, make([]byte, 100))
	marker := makePacket(typeMarker, []byte("PGP"))
	text := strings.Repeat("0123456789", 200)

	for version := 1; version <= 2; version++ {
		sealed := func(packets ...[]byte) []byte {
			return makeEncrypted(t, version, testSessionKey, bytes.Join(packets, nil))
		}
		data := sealed(makeLiteral(text))
		body := makeLiteral(text)[6:]
		for _, tt := range []struct {
			name string
			msg  [][]byte
		}{
			{"plain", [][]byte{ours[version], data}},
			{"hidden recipient", [][]byte{hidden[version], data}},
			{"the last of 8 session keys", slices.Concat(slices.Repeat([][]byte{theirs[version]}, 7), [][]byte{ours[version], data})},
			{"padding and markers outside", [][]byte{padding, marker, ours[version], padding, data, marker, padding}},
			{"padding and markers inside", [][]byte{ours[version], sealed(marker, padding, makeLiteral(text), padding, marker)}},
			{"stored and padded, as by sq", [][]byte{ours[version], sealed(padding, makePadded(100, string(makeLiteral(text))), marker)}},
			{"stored in many blocks", [][]byte{ours[version], sealed(makePadded(0, strings.SplitAfter(string(makeLiteral(text)), "0")...))}},
			{"stored, with padding inside", [][]byte{ours[version], sealed(makePadded(1, string(marker), string(makeLiteral(text)), string(padding)))}},
			{"legacy lengths", [][]byte{ours[version], sealed([]byte{0x80 | typeLiteral<<2 | 1, byte(len(body) >> 8), byte(len(body))}, body)}},
			{"two-byte length", [][]byte{ours[version], sealed([]byte{0xc0 | typeLiteral, byte((len(body)-192)>>8 + 192), byte(len(body) - 192)}, body)}},
			{"pieces", [][]byte{ours[version], sealed(
				[]byte{0xc0 | typeLiteral, 0xe9}, body[:512], []byte{0xe0}, body[512:513], []byte{0xea}, body[513:1537],
				[]byte{byte((len(body)-1537-192)>>8 + 192), byte(len(body) - 1537 - 192)}, body[1537:])}},
			{"pieces with an empty last one", [][]byte{ours[version], sealed(
				[]byte{0xc0 | typeLiteral, 0xe9}, body[:512], []byte{0xe0}, body[512:513], []byte{0xea}, body[513:1537],
				[]byte{0xe8}, body[1537:1793], []byte{0xe7}, body[1793:1921], []byte{0xe6}, body[1921:1985],
				[]byte{0xe4}, body[1985:2001], []byte{0xe3}, body[2001:2009], []byte{0xe0}, body[2009:], []byte{0})}},
		} {
			t.Run(fmt.Sprintf("version %d/%s", version, tt.name), func(t *testing.T) {
				msg := bytes.Join(tt.msg, nil)
				before := bytes.Clone(msg)
				got, err := k.Open(msg, testTime)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != text {
					t.Errorf("got %q, want %q", got, text)
				}
				if cap(got) != len(got) {
					t.Errorf("capacity %d, want the length, %d", cap(got), len(got))
				}
				if !bytes.Equal(msg, before) {
					t.Error("Open changed the message")
				}
			})
		}
	}
}

// A refusal is a message that Open must refuse, and how.
type refusal struct {
	name string
	msg  []byte
	want error
	text string // part of the error's text
}

// makePadded makes a compressed packet of stored blocks with padding behind.
func makePadded(padding int, blocks ...string) []byte {
	const zip = 1
	body := []byte{zip}
	for i, b := range blocks {
		last := byte(0)
		if i == len(blocks)-1 {
			last = 1
		}
		body = append(body, storedBlock(last, []byte(b))...)
	}
	return makePacket(typeCompressed, body, bytes.Repeat([]byte{0x55}, padding))
}

func storedBlock(head byte, b []byte) []byte {
	n := uint16(len(b))
	return slices.Concat([]byte{head, byte(n), byte(n >> 8), byte(^n), byte(^n >> 8)}, b)
}

// makeBomb makes the body of a compressed packet that grows to 200 MiB.
func makeBomb(t testing.TB) []byte {
	t.Helper()
	var block bytes.Buffer
	w, err := flate.NewWriter(&block, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, make([]byte, 1<<20))
	if err := w.Flush(); err != nil { // ends on a byte, so that blocks can follow each other
		t.Fatal(err)
	}
	const zip = 1
	lastBlock := []byte{0x03, 0x00}
	return slices.Concat([]byte{zip}, bytes.Repeat(block.Bytes(), 200), lastBlock)
}

func TestBomb(t *testing.T) {
	n, err := io.Copy(io.Discard, io.LimitReader(flate.NewReader(bytes.NewReader(makeBomb(t)[1:])), 3<<20))
	if n != 3<<20 || err != nil {
		t.Errorf("decompressed to %d bytes, %v", n, err)
	}
}

func refusals(t testing.TB, k *NodeKey) []refusal {
	t.Helper()
	other := newTestKey(t)
	ours3 := makeSessionKey(t, k, 3, testSessionKey, false)
	ours6 := makeSessionKey(t, k, 6, testSessionKey, false)
	theirs3 := makeSessionKey(t, other, 3, testSessionKey, false)
	theirs6 := makeSessionKey(t, other, 6, testSessionKey, false)
	literal := makeLiteral("hello")
	data1 := makeEncrypted(t, 1, testSessionKey, literal)
	data2 := makeEncrypted(t, 2, testSessionKey, literal)
	good1, good2 := slices.Concat(ours3, data1), slices.Concat(ours6, data2)

	inside := func(packets ...[]byte) []byte {
		return slices.Concat(ours6, makeEncrypted(t, 2, testSessionKey, bytes.Join(packets, nil)))
	}
	withHeader := func(at int, b byte) []byte { // of the encrypted packet of version 2
		p, _, err := nextPacket(data2)
		if err != nil {
			t.Fatal(err)
		}
		body := p.appendBody(nil)
		body[at] = b
		return slices.Concat(ours6, makePacket(typeEncrypted, body))
	}
	bomb := makeBomb(t)

	return []refusal{
		{"nothing", nil, ErrMessage, "no encrypted packet"},
		{"no OpenPGP", []byte("hello"), ErrMessage, "not an OpenPGP packet"},
		{"armor", []byte("-----BEGIN PGP MESSAGE-----\n"), ErrMessage, "not an OpenPGP packet"},
		{"certificate", k.Certificate(), ErrMessage, "packet of type 6"},
		{"secret key", k.Append(nil), ErrMessage, "secret key"},
		{"not encrypted", literal, ErrMessage, "packet of type 11"},

		{"compressed inside", inside(makePacket(typeCompressed, []byte{0}, literal)), ErrMessage, "compressed"},
		{"compression bomb inside", inside(makePacket(typeCompressed, bomb)), ErrMessage, "compressed"},
		{"compression bomb after padding", inside(makePacket(typePadding, []byte{1}), makePacket(typeCompressed, bomb)), ErrMessage, "compressed"},
		{"stored, then compressed", inside(makePacket(typeCompressed, slices.Concat([]byte{1}, storedBlock(0, literal), []byte{0x03, 0x00}))), ErrMessage, "compressed"},
		{"stored under another algorithm", inside(makePacket(typeCompressed, slices.Concat([]byte{2}, storedBlock(1, literal)))), ErrMessage, "compressed"},
		{"stored without a last block", inside(makePacket(typeCompressed, slices.Concat([]byte{1}, storedBlock(0, literal)))), ErrMessage, "truncated"},
		{"stored block cut off", inside(makePacket(typeCompressed, slices.Concat([]byte{1}, storedBlock(1, literal)[:9]))), ErrMessage, "truncated"},
		{"stored block without its length", inside(makePacket(typeCompressed, []byte{1, 1, 0, 0, 0xff})), ErrMessage, "truncated"},
		{"stored block whose lengths differ", inside(makePacket(typeCompressed, slices.Concat([]byte{1, 1, 8, 0, 0, 0}, literal))), ErrMessage, "lengths differ"},
		{"stored twice", inside(makePadded(0, string(makePadded(0, string(literal))))), ErrMessage, "compressed"},
		{"stored nothing", inside(makePadded(0, "")), ErrMessage, "no literal packet"},
		{"stored two literals", inside(makePadded(0, string(literal)+string(literal))), ErrMessage, "second literal packet"},
		{"stored signature", inside(makePadded(0, string(makePacket(typeSignature, make([]byte, 60))))), ErrMessage, "signature"},
		{"stored, then a literal", inside(makePadded(0, string(literal)), literal), ErrMessage, "second literal packet"},
		{"a literal, then stored", inside(literal, makePadded(0, string(literal))), ErrMessage, "compressed"},
		{"compressed outside", makePacket(typeCompressed, []byte{0}, good2), ErrMessage, "compressed"},
		{"compressed between", slices.Concat(ours6, makePacket(typeCompressed, []byte{0}), data2), ErrMessage, "compressed"},

		{"signed inside", inside(makePacket(typeOnePassSignature, make([]byte, 13)), literal, makePacket(typeSignature, make([]byte, 60))), ErrMessage, "signature"},
		{"signed the old way", inside(makePacket(typeSignature, make([]byte, 60)), literal), ErrMessage, "signature"},
		{"signature behind", inside(literal, makePacket(typeSignature, make([]byte, 60))), ErrMessage, "signature"},
		{"signed outside", slices.Concat(makePacket(typeOnePassSignature, make([]byte, 13)), good2), ErrMessage, "signature"},

		{"chunks of 512 KiB", slices.Concat(ours6, makeEncrypted(t, 2, testSessionKey, literal, 1<<19)), ErrMessage, "chunks of 2^19 bytes"},
		{"chunks of 4 MiB", slices.Concat(ours6, makeEncrypted(t, 2, testSessionKey, literal, 1<<22)), ErrMessage, "chunks of 2^22 bytes"},
		{"chunks of 4 EiB", withHeader(3, 56), ErrMessage, "chunks of 2^62 bytes"},
		{"largest chunk octet", withHeader(3, 255), ErrMessage, "chunks of 2^261 bytes"},
		{"another chunk size than encrypted with", withHeader(3, 3), ErrMessage, "integrity"},
		{"another mode than encrypted with", withHeader(2, 2), ErrMessage, "integrity"},
		{"unknown mode", withHeader(2, 4), ErrMessage, "AEAD mode 4"},
		{"unknown cipher", withHeader(1, 10), ErrMessage, "cipher 10 is not AES"},
		{"CAST5", withHeader(1, 3), ErrMessage, "cipher 3 is not AES"},
		{"AES-128 with a key of AES-256", withHeader(1, 7), ErrMessage, "differ in size"},
		{"unknown version", withHeader(0, 3), ErrMessage, "encrypted packet of version 3"},

		{"9 session keys", slices.Concat(bytes.Repeat(ours6, 9), data2), ErrMessage, "more than 8"},
		{"9 session keys for others", slices.Concat(bytes.Repeat(theirs6, 9), data2), ErrMessage, "more than 8"},
		{"session key by password", slices.Concat(makePacket(typePasswordSessionKey, []byte{4, 9, 0, 8}), ours6, data2), ErrMessage, "password"},
		{"session key by password alone", slices.Concat(makePacket(typePasswordSessionKey, []byte{4, 9, 0, 8}), data2), ErrMessage, "password"},
		{"session key by password behind", slices.Concat(ours6, data2, makePacket(typePasswordSessionKey, []byte{4, 9, 0, 8})), ErrMessage, "password"},
		{"no session key", data2, ErrMessage, "no session key"},
		{"session keys alone", slices.Concat(ours6, ours6), ErrMessage, "no encrypted packet"},
		{"session key behind", slices.Concat(ours6, data2, ours6), ErrMessage, "packet of type 1"},
		{"session key of version 3 with version 2", slices.Concat(ours3, data2), ErrMessage, "session key of version 3 with an encrypted packet of version 2"},
		{"session key of version 6 with version 1", slices.Concat(ours6, data1), ErrMessage, "session key of version 6 with an encrypted packet of version 1"},
		{"session keys of both versions", slices.Concat(ours6, theirs3, data2), ErrMessage, "session key of version 3 with"},
		{"session key of version 2", slices.Concat(makePacket(typeSessionKey, []byte{2}, ours3[3:]), data1), ErrMessage, "session key of version 2"},
		{"empty session key", slices.Concat(makePacket(typeSessionKey), data1), ErrMessage, "truncated"},
		{"short session key", slices.Concat(makePacket(typeSessionKey, []byte{3, 0, 0, 0, 0, 0, 0, 0}), data1), ErrMessage, "truncated"},
		{"short session key of version 6", slices.Concat(makePacket(typeSessionKey, []byte{6, 21, 4}), data2), ErrMessage, "truncated"},
		{"session key in pieces", slices.Concat([]byte{0xc0 | typeSessionKey, 0xe9}, make([]byte, 512), []byte{0}, data2), ErrMessage, "session key in pieces"},
		{"longer session key", slices.Concat(makePacket(typeSessionKey, ours6[2:], []byte{0}), data2), ErrMessage, "fields of a wrong length"},
		{"session key of 16 bytes", slices.Concat(makeSessionKey(t, k, 6, testSessionKey[:16], false), data2), ErrMessage, "differ in size"},
		{"session key of 16 bytes, version 1", slices.Concat(makeSessionKey(t, k, 3, testSessionKey[:16], false), data1), ErrMessage, "differ in size"},

		{"wrong recipient", slices.Concat(theirs6, data2), ErrCannotOpen, ""},
		{"wrong recipient, version 1", slices.Concat(theirs3, data1), ErrCannotOpen, ""},
		{"8 wrong recipients", slices.Concat(bytes.Repeat(theirs6, 8), data2), ErrCannotOpen, ""},
		{"hidden wrong recipient", slices.Concat(makeSessionKey(t, other, 6, testSessionKey, true), data2), ErrCannotOpen, ""},
		{"hidden wrong recipient, version 1", slices.Concat(makeSessionKey(t, other, 3, testSessionKey, true), data1), ErrCannotOpen, ""},
		{"wrong recipient and a fault of form", slices.Concat(theirs6, data2, literal), ErrMessage, "packet of type 11"},

		{"wrong session key", slices.Concat(makeSessionKey(t, k, 6, make([]byte, 32), false), data2), ErrMessage, "integrity"},
		{"wrong session key, version 1", slices.Concat(makeSessionKey(t, k, 3, make([]byte, 32), false), data1), ErrMessage, "integrity"},
		{"no integrity protection", slices.Concat(ours3, makePacket(9, data1[2:])), ErrMessage, "packet of type 9"},
		{"draft of AEAD", slices.Concat(ours3, makePacket(20, data1[2:])), ErrMessage, "packet of type 20"},
		{"empty encrypted packet", slices.Concat(ours6, makePacket(typeEncrypted)), ErrMessage, "truncated"},
		{"encrypted header alone", slices.Concat(ours6, makePacket(typeEncrypted, make([]byte, 35))), ErrMessage, ""},
		{"two messages", slices.Concat(good2, good2), ErrMessage, "packet of type 1"},
		{"two encrypted packets", slices.Concat(good2, data2), ErrMessage, "packet of type 18"},
		{"data behind", slices.Concat(good2, []byte{0}), ErrMessage, "not an OpenPGP packet"},
		{"data behind, version 1", slices.Concat(good1, []byte{0xff}), ErrMessage, "truncated"},
		{"literal behind", slices.Concat(good2, literal), ErrMessage, "packet of type 11"},
		{"unknown packet outside", slices.Concat(makePacket(60, []byte{1}), good2), ErrMessage, "packet of type 60"},
		{"encrypted packet of indeterminate length", slices.Concat(ours6, []byte{0x80 | 9<<2 | 3}, data2[2:]), ErrMessage, "indeterminate"},

		{"nothing inside", inside(), ErrMessage, "no literal packet"},
		{"padding alone inside", inside(makePacket(typePadding, []byte{1})), ErrMessage, "no literal packet"},
		{"two literals", inside(literal, literal), ErrMessage, "second literal packet"},
		{"data behind the literal", inside(literal, []byte{0}), ErrMessage, "not an OpenPGP packet"},
		{"encrypted again", inside(good2), ErrMessage, "packet of type 1"},
		{"unknown packet inside", inside(literal, makePacket(60, []byte{1})), ErrMessage, "packet of type 60"},
		{"MDC packet of its own", inside(literal, makePacket(19, make([]byte, 20))), ErrMessage, "packet of type 19"},
		{"literal longer than what is there", inside([]byte{0xc0 | typeLiteral, 0xff, 0xff, 0xff, 0xff, 0xff, 'b'}), ErrMessage, "truncated"},
		{"literal of indeterminate length", inside([]byte{0x80 | typeLiteral<<2 | 3}, literal[6:]), ErrMessage, "indeterminate"},
		{"literal without a head", inside(makePacket(typeLiteral, []byte{'b'})), ErrMessage, "truncated"},
		{"literal with a name too long", inside(makePacket(typeLiteral, []byte{'b', 255, 0, 0, 0, 0})), ErrMessage, "truncated"},
		{"literal without its date", inside(makePacket(typeLiteral, []byte{'b', 1, 'x', 0, 0, 0})), ErrMessage, "truncated"},
		{"literal in small pieces", inside([]byte{0xc0 | typeLiteral, 0xe8}, literal[6:], make([]byte, 256-len(literal[6:])), []byte{0}), ErrMessage, "first partial length"},
		{"literal in pieces without a last one", inside([]byte{0xc0 | typeLiteral, 0xe9}, make([]byte, 512), []byte{0xe0, 1}), ErrMessage, "truncated"},

		{"a million empty paddings", slices.Concat(bytes.Repeat([]byte{0xc0 | typePadding, 0}, 1_000_000), theirs6, data2), ErrCannotOpen, ""},
		{"a million pieces", slices.Concat(ours6, []byte{0xc0 | typeEncrypted, 0xe9}, make([]byte, 512), bytes.Repeat([]byte{0xe0, 0}, 1_000_000), []byte{0}), ErrMessage, "encrypted packet of version 0"},
		{"a million paddings inside", inside(bytes.Repeat([]byte{0xc0 | typePadding, 0}, 1_000_000), literal, literal), ErrMessage, "second literal packet"},
	}
}

func TestOpenRefuses(t *testing.T) {
	k := newTestKey(t)
	for _, tt := range refusals(t, k) {
		t.Run(tt.name, func(t *testing.T) {
			var got []byte
			var err error
			n := allocated(func() { got, err = k.Open(tt.msg, testTime) })
			checkRefused(t, got, err, tt.want)
			if err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %q does not say %q", err, tt.text)
			}
			if limit := openLimit(tt.msg); n > limit {
				t.Errorf("allocated %d bytes for a message of %d, at most %d are allowed", n, len(tt.msg), limit)
			}
		})
	}
}

// openLimit is what Open may allocate for msg: one copy, and what eight session
// keys take.
func openLimit(msg []byte) uint64 { return uint64(len(msg))*9/8 + 64<<10 }

// checkRefused checks that err wraps want and not the other sentinel.
func checkRefused(t *testing.T, got []byte, err, want error) {
	t.Helper()
	not := ErrMessage
	if errors.Is(want, ErrMessage) {
		not = ErrCannotOpen
	}
	if !errors.Is(err, want) || errors.Is(err, not) {
		t.Errorf("got error %v, want %v", err, want)
	}
	if got != nil {
		t.Errorf("got %d bytes along with error %v", len(got), err)
	}
}

// testMessages are a sealed message of each kind.
func testMessages(t testing.TB, k *NodeKey) map[string][]byte {
	t.Helper()
	plaintext := []byte(strings.Repeat("no byte of this may be used ", 25))
	return map[string][]byte{
		"version 1": slices.Concat(makeSessionKey(t, k, 3, testSessionKey, false), makeEncrypted(t, 1, testSessionKey, makeLiteral(string(plaintext)))),
		"version 2": slices.Concat(makeSessionKey(t, k, 6, testSessionKey, false), makeEncrypted(t, 2, testSessionKey, makeLiteral(string(plaintext)))),
		"sealed":    mustSeal(t, certificateOf(t, k), plaintext),
		"sealed 1":  mustSeal(t, certificateOf(t, withoutAEAD(t, k)), plaintext),
		"ML-KEM":    mustSeal(t, certificateOf(t, withMLKEM(t, k)), plaintext[:100]),
	}
}

func TestOpenTruncated(t *testing.T) {
	k := withMLKEM(t, newTestKey(t))
	for name, msg := range testMessages(t, k) {
		t.Run(name, func(t *testing.T) {
			if _, err := k.Open(msg, testTime); err != nil {
				t.Fatal(err)
			}
			for n := range msg {
				got, err := k.Open(msg[:n], testTime)
				checkRefused(t, got, err, ErrMessage)
			}
		})
	}
}

func TestOpenTampered(t *testing.T) {
	k := withMLKEM(t, newTestKey(t))
	for name, msg := range testMessages(t, k) {
		t.Run(name, func(t *testing.T) {
			sessionKey, _, err := nextPacket(msg)
			if err != nil {
				t.Fatal(err)
			}
			for i := range msg {
				flips := []byte{0x01, 0x80}
				if i < 200 { // headers, and what has no tag over it
					flips = []byte{0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff}
				}
				for _, flip := range flips {
					msg[i] ^= flip
					got, err := k.Open(msg, testTime)
					msg[i] ^= flip
					want := ErrMessage
					if errors.Is(err, ErrCannotOpen) && i < len(sessionKey.raw) {
						want = ErrCannotOpen // for somebody else now
					}
					checkRefused(t, got, err, want)
					if t.Failed() {
						t.Fatalf("byte %d of %d, flipped by %#02x", i, len(msg), flip)
					}
				}
			}
			if _, err := k.Open(msg, testTime); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Section 5.1: old subkeys are still opened for 30 days.
func TestOpenWithOldSubkey(t *testing.T) {
	old := newTestKey(t)
	msg := mustSeal(t, certificateOf(t, old), []byte("hello"))
	const day = 24 * time.Hour
	revoked := changeKey(t, old, func(e *openpgp.Entity, c *packet.Config) error {
		c.Time = func() time.Time { return testTime.Add(5 * day) }
		return e.Subkeys[0].Revoke(packet.KeySuperseded, "", c)
	})
	expire := func(after time.Duration) func(*openpgp.Entity, *packet.Config) error {
		return func(e *openpgp.Entity, c *packet.Config) error {
			binding := e.Subkeys[0].Bindings[0].Packet
			lifetime := uint32(after / time.Second)
			binding.KeyLifetimeSecs = &lifetime
			return binding.SignKey(e.Subkeys[0].PublicKey, e.PrivateKey, c)
		}
	}
	expired := changeKey(t, old, expire(5*day))
	both := changeKey(t, revoked, expire(10*day))
	for _, tt := range []struct {
		name  string
		key   *NodeKey
		after time.Duration
		want  error
	}{
		{"kept", old, 1000 * day, nil},
		{"revoked, before", revoked, 4 * day, nil},
		{"revoked, 30 days less a second", revoked, 35*day - time.Second, nil},
		{"revoked, 30 days", revoked, 35 * day, ErrCannotOpen},
		{"expired, before", expired, 4 * day, nil},
		{"expired, 30 days less a second", expired, 35*day - time.Second, nil},
		{"expired, 30 days", expired, 35 * day, ErrCannotOpen},
		{"revoked before it expires, 30 days less a second", both, 35*day - time.Second, nil},
		{"revoked before it expires, 30 days", both, 35 * day, ErrCannotOpen},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.key.Open(msg, testTime.Add(tt.after))
			if !errors.Is(err, tt.want) {
				t.Fatalf("got error %v, want %v", err, tt.want)
			}
			if tt.want == nil && string(got) != "hello" {
				t.Errorf("got %q", got)
			}
		})
	}
}
