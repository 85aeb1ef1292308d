package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// A Sealed is a vector of sealed.json: Plain is what is in it, or Error why not.
type Sealed struct {
	Name  string `json:"name"`
	Key   string `json:"key"`
	Clock int64  `json:"clock"` // seconds
	Msg   Bytes  `json:"msg"`
	Plain Bytes  `json:"plain,omitempty"`

	Error  string `json:"error,omitempty"` // REFUSED or CANNOT_OPEN
	Clause string `json:"clause,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Packet types of RFC 9580.
const (
	typeSignature          = 2
	typePasswordSessionKey = 3
	typeOnePass            = 4
	typeCompressed         = 8
	typeUnprotected        = 9
	typeMarker             = 10
	typeLiteral            = 11
	typeEncrypted          = 18
	typePadding            = 21
)

// pgp is a packet with a length of five bytes.
func pgp(kind byte, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	return append(binary.BigEndian.AppendUint32([]byte{0xc0 | kind, 0xff}, uint32(len(b))), b...)
}

func literal(plain []byte) []byte { return pgp(typeLiteral, []byte{'b', 0, 0, 0, 0, 0}, plain) }

// stored is a packet of stored blocks, as sq pads with.
func stored(b []byte, padding int) []byte {
	n := uint16(len(b))
	return pgp(typeCompressed, []byte{1, 1, byte(n), byte(n >> 8), byte(^n), byte(^n >> 8)}, b, make([]byte, padding))
}

// A sealer makes the parts of sealed messages, all with one session key.
type sealer struct {
	*maker
	session []byte
}

// pkesk is a session key packet of version 3 or 6 to a key.
func (s *sealer) pkesk(to *packet.PublicKey, version int, hidden bool) []byte {
	var b bytes.Buffer
	s.must(packet.SerializeEncryptedKeyAEADwithHiddenOption(&b, to, packet.CipherAES256, version == 6, s.session, hidden, s.config(clock)))
	return b.Bytes()
}

// seipd encrypts packets, in one piece.
func (s *sealer) seipd(version int, mode packet.AEADMode, chunk uint64, packets ...[]byte) []byte {
	config := s.config(clock)
	config.AEADConfig = &packet.AEADConfig{ChunkSize: chunk}
	var b bytes.Buffer
	w, err := packet.SerializeSymmetricallyEncrypted(&b, packet.CipherAES256, version == 2, packet.CipherSuite{Cipher: packet.CipherAES256, Mode: mode}, s.session, config)
	s.must(err)
	_, err = w.Write(bytes.Join(packets, nil))
	s.must(err)
	s.must(w.Close())
	p, err := packet.NewOpaqueReader(&b).Next()
	s.must(err)
	return pgp(typeEncrypted, p.Contents)
}

// sealedRequest is what is sealed.
var sealedRequest = (tipt.SealedRequest{
	Type: tipt.ForwardMessage,
	Message: &tipt.MessageForward{
		To: "bob", ID: tipt.MessageID{0x01, 0x97, 0xf2, 0xa5, 0xc6, 0xb0, 0x7c, 0x3e, 0x9a, 0x1d, 0x2b, 0x4c, 0x6e, 0x8f, 0x10, 0x32},
		Message: (tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: "hello", Time: clock}}).Append(nil),
	},
}).Append(nil)

func sealedVectors(t testing.TB, r *ring) []Sealed {
	s := &sealer{maker: newMaker(t, "sealed")}
	s.session = s.bytes(32)
	plain := sealedRequest
	lit := literal(plain)
	const kib = 1 << 10
	gcm, ocb, eax := packet.AEADModeGCM, packet.AEADModeOCB, packet.AEADModeEAX
	to := r.node.Subkeys[0].PublicKey
	theirs := r.other.Subkeys[0].PublicKey
	ours3, ours6 := s.pkesk(to, 3, false), s.pkesk(to, 6, false)
	theirs3, theirs6 := s.pkesk(theirs, 3, false), s.pkesk(theirs, 6, false)
	v1 := func(packets ...[]byte) []byte { return s.seipd(1, 0, 0, packets...) }
	v2 := func(packets ...[]byte) []byte { return s.seipd(2, ocb, 4*kib, packets...) }
	data1, data2 := v1(lit), v2(lit)
	padding, marker := pgp(typePadding, s.bytes(20)), pgp(typeMarker, []byte("PGP"))
	flipped := func(b []byte, fromEnd int) []byte {
		b = bytes.Clone(b)
		b[len(b)-fromEnd] ^= 1
		return b
	}

	var vectors []Sealed
	opens := func(name, key string, at time.Time, msg ...[]byte) {
		vectors = append(vectors, Sealed{Name: name, Key: key, Clock: at.Unix(), Msg: bytes.Join(msg, nil), Plain: plain})
	}
	refused := func(clause, reason, name string, msg ...[]byte) {
		vectors = append(vectors, Sealed{Name: name, Key: "node", Clock: clock.Unix(), Msg: bytes.Join(msg, nil), Error: "REFUSED", Clause: clause, Reason: reason})
	}
	foreign := func(name string, msg ...[]byte) {
		vectors = append(vectors, Sealed{
			Name: name, Key: "node", Clock: clock.Unix(), Msg: bytes.Join(msg, nil),
			Error: "CANNOT_OPEN", Clause: "T-5.19", Reason: "no session key is for a key of the node",
		})
	}
	pq := r.mlkem.Subkeys[len(r.mlkem.Subkeys)-1].PublicKey

	opens("SEIPD 1", "node", clock, ours3, data1)
	opens("SEIPD 2, OCB", "node", clock, ours6, data2)
	opens("SEIPD 2, GCM", "node", clock, ours6, s.seipd(2, gcm, 4*kib, lit))
	opens("SEIPD 2, EAX", "node", clock, ours6, s.seipd(2, eax, 4*kib, lit))
	opens("SEIPD 2, chunks of 64 bytes", "node", clock, ours6, s.seipd(2, ocb, 64, lit))
	opens("SEIPD 2, chunks of 256 KiB", "node", clock, ours6, s.seipd(2, ocb, 256*kib, lit))
	opens("ML-KEM, SEIPD 2", "mlkem", clock, s.pkesk(pq, 6, false), data2)
	opens("ML-KEM, SEIPD 1", "mlkem", clock, s.pkesk(pq, 3, false), data1)
	opens("hidden recipient, SEIPD 1", "node", clock, s.pkesk(to, 3, true), data1)
	opens("hidden recipient, SEIPD 2", "node", clock, s.pkesk(to, 6, true), data2)
	opens("the last of 8 session keys", "node", clock, bytes.Repeat(theirs6, 7), ours6, data2)
	opens("padding and markers outside", "node", clock, marker, padding, ours6, padding, data2, padding, marker)
	opens("padding and markers inside", "node", clock, ours3, v1(marker, padding, lit, padding))
	opens("a literal with a name and a date", "node", clock, ours6, v2(pgp(typeLiteral, []byte{'u', 4, 'n', 'a', 'm', 'e', 1, 2, 3, 4}, plain)))
	opens("a literal of a legacy length", "node", clock, ours6, v2([]byte{0x80 | typeLiteral<<2, byte(len(lit) - 6)}, lit[6:]))
	opens("stored blocks and padding, as sq makes them", "node", clock, ours6, v2(stored(lit, 50)))
	opens("an older subkey, 29 days after it expired", "node", clock, s.pkesk(r.node.Subkeys[2].PublicKey, 6, false), data2)

	foreign("another node's", theirs6, data2)
	foreign("another node's, SEIPD 1", theirs3, data1)
	foreign("another node's, hidden", s.pkesk(theirs, 6, true), data2)
	foreign("an older subkey, 31 days after it expired", s.pkesk(r.node.Subkeys[3].PublicKey, 6, false), data2)
	foreign("ML-KEM, without that subkey", s.pkesk(pq, 6, false), data2)

	refused("T-5.16", "no OpenPGP packet", "text", []byte("hello"))
	refused("T-5.16", "it ends within a packet", "cut off", ours6, data2[:len(data2)-20])
	refused("T-5.16", "no session key", "no session key", data2)
	refused("T-5.16", "no encrypted packet", "no encrypted packet", ours6)
	refused("T-5.16", "a packet where none of its kind may stand", "not encrypted", lit)
	refused("T-5.14", "a session key of version 3 with SEIPD 2", "version 3 with SEIPD 2", ours3, data2)
	refused("T-5.14", "a session key of version 6 with SEIPD 1", "version 6 with SEIPD 1", ours6, data1)
	refused("T-5.14", "session keys of both versions", "session keys of both versions", ours6, theirs3, data2)
	refused("T-5.15", "data without integrity protection", "no integrity protection", ours3, pgp(typeUnprotected, data1[7:]))
	refused("T-5.9", "compressed data", "compressed, uncompressed", ours6, v2(pgp(typeCompressed, []byte{0}, lit)))
	refused("T-5.9", "compressed data", "compressed by ZIP", ours6, v2(pgp(typeCompressed, []byte{1}, s.deflate(lit))))
	refused("T-5.9", "compressed data", "compressed outside", pgp(typeCompressed, []byte{0}, ours6, data2))
	refused("T-5.9", "stored blocks under another algorithm than ZIP", "stored blocks by ZLIB", ours6, v2(pgp(typeCompressed, []byte{2}, stored(lit, 0)[7:])))
	refused("T-5.10", "a signature packet", "signed inside", ours6, v2(pgp(typeOnePass, make([]byte, 13)), lit, pgp(typeSignature, make([]byte, 60))))
	refused("T-5.10", "a signature packet", "signed outside", pgp(typeOnePass, make([]byte, 13)), ours6, data2)
	refused("T-5.11", "chunks over 256 KiB", "chunks of 512 KiB", ours6, s.seipd(2, ocb, 512*kib, lit))
	refused("T-5.12", "a session key by a password", "session key by a password too", pgp(typePasswordSessionKey, []byte{4, 9, 0, 8}), ours6, data2)
	refused("T-5.13", "more than 8 session keys", "9 session keys", bytes.Repeat(ours6, 9), data2)
	refused("T-5.15", "the integrity check fails", "a byte changed, SEIPD 1", ours3, flipped(data1, 30))
	refused("T-5.15", "the integrity check fails", "a byte of the hash changed, SEIPD 1", ours3, flipped(data1, 1))
	refused("T-5.15", "the integrity check fails", "a byte changed, SEIPD 2", ours6, flipped(data2, 40))
	refused("T-5.15", "the integrity check fails", "a byte of the last tag changed, SEIPD 2", ours6, flipped(data2, 1))
	refused("T-5.15", "the integrity check fails", "a chunk left out, SEIPD 2", ours6, s.withoutChunk(lit))
	refused("T-5.16", "something behind the message", "a byte behind", ours6, data2, []byte{0})
	refused("T-5.16", "something behind the message", "a literal behind", ours6, data2, lit)
	refused("T-5.16", "something behind the message", "two messages", ours6, data2, ours6, data2)
	refused("T-5.16", "two literal packets", "two literals", ours6, v2(lit, lit))
	refused("T-5.16", "no literal packet", "nothing inside", ours6, v2(padding))
	refused("T-5.16", "a message within a message", "sealed twice", ours6, v2(ours6, data2))
	refused("T-5.16", "a packet where none of its kind may stand", "an unknown packet inside", ours6, v2(lit, pgp(60, []byte{1})))
	refused("T-5.16", "no binary message", "armored", []byte("-----BEGIN PGP MESSAGE-----\n\n"), ours6, data2)
	return vectors
}

// deflate compresses.
func (s *sealer) deflate(b []byte) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	s.must(err)
	_, err = w.Write(slices.Concat(b, b, b)) // so that there is something to compress
	s.must(err)
	s.must(w.Close())
	return out.Bytes()
}

// withoutChunk is a SEIPD 2 packet of chunks of 64 bytes without its first.
func (s *sealer) withoutChunk(packets []byte) []byte {
	whole := s.seipd(2, packet.AEADModeOCB, 64, packets)
	const head, chunk = 6 + 36, 64 + 16
	return pgp(typeEncrypted, whole[6:head], whole[head+chunk:])
}

func TestSealedVectors(t *testing.T) {
	r := newRing(t)
	vectors := sealedVectors(t, r)
	check(t, "sealed.json", vectors)
	keys := make(map[string]*seal.NodeKey)
	for _, k := range r.keys[:3] {
		key, err := seal.ParseNodeKey(k.Secret)
		if err != nil {
			t.Fatal(err)
		}
		keys[k.Name] = key
	}
	names := make(map[string]bool)
	for _, v := range vectors {
		if names[v.Name] {
			t.Errorf("two are called %s", v.Name)
		}
		names[v.Name] = true
		got, err := keys[v.Key].Open(v.Msg, time.Unix(v.Clock, 0))
		want := map[string]error{"": nil, "REFUSED": seal.ErrMessage, "CANNOT_OPEN": seal.ErrCannotOpen}[v.Error]
		if !errors.Is(err, want) || !bytes.Equal(got, v.Plain) {
			t.Errorf("%s: opened to %x, %v; want %x, %v", v.Name, got, err, v.Plain, want)
		}
		if v.Error != "" {
			checkClause(t, v.Clause, v.Reason)
		}
	}
	if len(names) < 40 || !strings.Contains(string(sealedRequest), "hello") {
		t.Errorf("%d vectors", len(names))
	}
}
