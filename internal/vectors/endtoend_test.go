package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// An EndToEnd is a vector of endtoend.json: what a DELIVER brought to the owner of Key, and Plain in it, or
// Error why not. Without Signed, Reason says why not.
type EndToEnd struct {
	Name   string `json:"name"`
	Key    string `json:"key"`
	From   string `json:"from"`  // whose certificate is kept for `from`
	Clock  int64  `json:"clock"` // seconds
	Msg    Bytes  `json:"msg"`
	Plain  Bytes  `json:"plain,omitempty"`
	Signed bool   `json:"signed,omitempty"`

	Error  string `json:"error,omitempty"` // REFUSED or CANNOT_OPEN
	Clause string `json:"clause,omitempty"`
	Reason string `json:"reason,omitempty"`
}

const ada, bob, mallory = "ada@" + sender, "bob@" + receiver, "mallory@other.example"

// users makes the keys of users.
func (r *ring) users(t testing.TB) {
	m := newMaker(t, "users")
	r.ada, r.bob, r.mallory = m.entity(ada), m.entity(bob), m.entity(mallory)
	born := m.config(clock.Add(-100 * 24 * time.Hour))
	lapsing := m.config(clock.Add(-100 * 24 * time.Hour))
	lapsing.KeyLifetimeSecs = 99 * 24 * 60 * 60
	m.must(r.ada.AddSigningSubkey(lapsing))
	m.must(r.ada.AddSigningSubkey(born))
	m.must(r.ada.Subkeys[3].Revoke(packet.KeyCompromised, "", m.config(clock.Add(-24*time.Hour))))
	m.must(r.ada.AddSigningSubkey(born))
	m.uncertify(r.ada, 4, born)
	r.keys = append(
		r.keys,
		m.key("ada", "a user who signs: after the encryption subkey, signing subkeys that are good, expired a day before the vectors' time, revoked, and without a cross-certification", r.ada),
		m.key("bob", "the user to whom messages are sealed", r.bob),
		m.key("mallory", "another user", r.mallory),
	)
}

// A signing is how a message is signed. The zero signing is how it should be.
type signing struct {
	by       *openpgp.Entity // nil: ada
	subkey   int             // 0: the good one
	primary  bool            // by the primary key, which certifies and does not sign
	at       time.Time       // zero: the vectors' time
	over     []byte          // what is signed; nil: what is sent
	none     bool            // no intended recipient is named
	to       []byte          // fingerprint of who is; nil: bob
	unhashed bool            // named where the signature does not cover it
}

// packets are a one-pass signature packet and a signature packet (RFC 9580, sections 5.4 and 5.2.3).
func (s signing) packets(r *ring, plain []byte) (before, behind []byte) {
	const version, binaryDocument, algorithmEdDSA, hashSHA512 = 4, 0, 22, 10
	by, to, at := s.by, s.to, s.at
	if by == nil {
		by = r.ada
	}
	if to == nil {
		to = r.bob.PrimaryKey.Fingerprint
	}
	if at.IsZero() {
		at = clock
	}
	if s.over != nil {
		plain = s.over
	}
	secret, public := by.PrivateKey, by.PrimaryKey
	if !s.primary {
		sub := by.Subkeys[max(1, s.subkey)]
		secret, public = sub.PrivateKey, sub.PublicKey
	}
	key := ed25519.NewKeyFromSeed(secret.PrivateKey.(*eddsa.PrivateKey).D)
	sub := func(kind byte, parts ...[]byte) []byte {
		b := bytes.Join(parts, nil)
		return append([]byte{byte(1 + len(b)), kind}, b...)
	}
	hashed := slices.Concat(
		sub(2, binary.BigEndian.AppendUint32(nil, uint32(at.Unix()))), // when it was made
		sub(33, []byte{version}, public.Fingerprint),                  // by which key
	)
	var unhashed []byte
	switch recipient := sub(35, []byte{version}, to); {
	case s.none:
	case s.unhashed:
		unhashed = recipient
	default:
		hashed = append(hashed, recipient...)
	}
	body := binary.BigEndian.AppendUint16([]byte{version, binaryDocument, algorithmEdDSA, hashSHA512}, uint16(len(hashed)))
	body = append(body, hashed...)
	digest := sha512.Sum512(slices.Concat(plain, body, binary.BigEndian.AppendUint32([]byte{version, 0xff}, uint32(len(body)))))
	signature := ed25519.Sign(key, digest[:])
	body = binary.BigEndian.AppendUint16(body, uint16(len(unhashed)))
	body = slices.Concat(body, unhashed, digest[:2], integer(signature[:32]), integer(signature[32:]))
	onePass := slices.Concat([]byte{3, binaryDocument, hashSHA512, algorithmEdDSA}, public.Fingerprint[12:], []byte{1})
	return pgp(typeOnePass, onePass), pgp(typeSignature, body)
}

// integer is a multiprecision one.
func integer(b []byte) []byte {
	b = bytes.TrimLeft(b, "\x00")
	return append(binary.BigEndian.AppendUint16(nil, uint16(8*(len(b)-1)+bits.Len8(b[0]))), b...)
}

func endToEndVectors(t testing.TB, r *ring) []EndToEnd {
	s := &sealer{maker: newMaker(t, "endtoend")}
	s.session = s.bytes(32)
	plain := (tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: "hello", Time: clock}}).Append(nil)
	lit := literal(plain)
	to, other := r.bob.Subkeys[0].PublicKey, r.mallory.Subkeys[0].PublicKey
	bob3, bob6, other3 := s.pkesk(to, 3, false), s.pkesk(to, 6, false), s.pkesk(other, 3, false)
	v1 := func(packets ...[]byte) []byte { return s.seipd(1, 0, 0, packets...) }
	v2 := func(packets ...[]byte) []byte { return s.seipd(2, packet.AEADModeOCB, 4096, packets...) }
	padding, marker := pgp(typePadding, s.bytes(20)), pgp(typeMarker, []byte("PGP"))
	sealed := func(msg ...[]byte) []byte {
		return (tipt.Content{Type: tipt.ContentSealed, Sealed: bytes.Join(msg, nil)}).Append(nil)
	}
	signed := func(how signing) []byte {
		before, behind := how.packets(r, plain)
		return slices.Concat(before, lit, behind)
	}
	var vectors []EndToEnd
	one := func(v EndToEnd, msg []byte) {
		v.Key, v.From, v.Clock, v.Msg = "bob", "ada", clock.Unix(), msg
		if v.Error == "" {
			v.Plain = plain
		}
		vectors = append(vectors, v)
	}
	counts := func(name string, msg []byte) { one(EndToEnd{Name: name, Signed: true}, msg) }
	unsigned := func(clause, name, reason string, how signing) {
		one(EndToEnd{Name: name, Clause: clause, Reason: reason}, sealed(bob3, v1(signed(how))))
	}
	refused := func(name, reason string, msg []byte) {
		one(EndToEnd{Name: name, Error: "REFUSED", Clause: "T-8.4", Reason: reason}, msg)
	}

	good := signed(signing{})
	before, behind := signing{}.packets(r, plain)
	counts("signed, SEIPD 1", sealed(bob3, v1(good)))
	counts("signed, SEIPD 2", sealed(bob6, v2(good)))
	counts("signed, to a hidden recipient", sealed(s.pkesk(to, 6, true), v2(good)))
	counts("signed, with padding and markers", sealed(marker, bob6, padding, v2(marker, before, lit, behind, padding), padding))
	counts("signed by the expired subkey, a day before its end", sealed(bob3, v1(signed(signing{subkey: 2, at: clock.Add(-2 * 24 * time.Hour)}))))

	one(EndToEnd{Name: "not signed, SEIPD 1", Reason: "no signature"}, sealed(bob3, v1(lit)))
	one(EndToEnd{Name: "not signed, SEIPD 2", Reason: "no signature"}, sealed(bob6, v2(lit)))
	unsigned("T-8.3", "signed by somebody else", "the signer is not whose certificate is kept for the sender", signing{by: r.mallory})
	unsigned("T-8.3", "for somebody else", "another intended recipient", signing{to: r.mallory.PrimaryKey.Fingerprint})
	unsigned("T-8.3", "for the subkey", "the intended recipient is no certificate", signing{to: to.Fingerprint})
	unsigned("T-8.3", "for nobody", "no intended recipient", signing{none: true})
	unsigned("T-8.3", "for the recipient, outside the signature", "the signature does not cover the intended recipient", signing{unhashed: true})
	unsigned("T-8.3", "a signature over other words", "the signature does not hold", signing{over: []byte("other words")})
	unsigned("T-8.14", "signed by the expired subkey", "the subkey had expired", signing{subkey: 2})
	unsigned("T-8.14", "signed by the revoked subkey", "the subkey is revoked", signing{subkey: 3})
	unsigned("T-8.14", "signed by a subkey without cross-certification", "the subkey has not certified the primary key", signing{subkey: 4})
	unsigned("T-8.14", "signed by the primary key", "the primary key certifies and does not sign", signing{primary: true})
	unsigned("T-8.15", "signed two hours from now", "the signature is of the future", signing{at: clock.Add(2 * time.Hour)})

	one(EndToEnd{Name: "sealed to somebody else", Error: "CANNOT_OPEN", Clause: "T-8.4", Reason: "no session key is for a key of the user"}, sealed(other3, v1(good)))
	flipped := v1(good)
	flipped[len(flipped)-1] ^= 1
	refused("a byte changed", "the integrity check fails", sealed(bob3, flipped))
	refused("no integrity protection", "data without integrity protection", sealed(bob3, pgp(typeUnprotected, v1(good)[7:])))
	refused("compressed by ZIP", "compressed data", sealed(bob3, v1(pgp(typeCompressed, []byte{1}, s.deflate(good)))))
	refused("two signatures", "packets where none of their kind may stand", sealed(bob3, v1(before, before, lit, behind, behind)))
	refused("two literals", "two literal packets", sealed(bob3, v1(lit, lit)))
	refused("nothing inside", "no literal packet", sealed(bob3, v1(padding)))
	refused("no OpenPGP message", "no OpenPGP packet", sealed([]byte("hello")))
	return vectors
}

func TestEndToEndVectors(t *testing.T) {
	r := newRing(t)
	vectors := endToEndVectors(t, r)
	check(t, "endtoend.json", vectors)
	keys, certificates := make(map[string]*seal.UserKey), make(map[string]*seal.Certificate)
	for _, k := range r.keys {
		var err error
		if k.Name == "bob" {
			if keys[k.Name], err = seal.ParseUserKey(k.Secret, nil); err != nil {
				t.Fatal(err)
			}
		}
		if certificates[k.Name], err = seal.ParseCertificate(k.Certificate); err != nil {
			t.Fatal(err)
		}
	}
	names := make(map[string]bool)
	for _, v := range vectors {
		if names[v.Name] {
			t.Errorf("two are called %s", v.Name)
		}
		names[v.Name] = true
		var content tipt.Content
		if err := content.Parse(v.Msg); err != nil || content.Type != tipt.ContentSealed {
			t.Fatalf("%s: %v", v.Name, err)
		}
		opened, err := keys[v.Key].Open(content.Sealed)
		want := map[string]error{"": nil, "REFUSED": seal.ErrMessage, "CANNOT_OPEN": seal.ErrCannotOpen}[v.Error]
		if !errors.Is(err, want) {
			t.Errorf("%s: opened to %v, %v; want %v", v.Name, opened, err, want)
			continue
		}
		if v.Error == "" {
			if !bytes.Equal(opened.Plaintext, v.Plain) {
				t.Errorf("%s: opened to %x; want %x", v.Name, opened.Plaintext, v.Plain)
			}
			err := opened.SignedBy(certificates[v.From], time.Unix(v.Clock, 0))
			if (err == nil) != v.Signed || errors.Is(err, seal.ErrUnsigned) != (v.Clause == "" && !v.Signed) {
				t.Errorf("%s: signed %v, %v; want %v, %s", v.Name, err == nil, err, v.Signed, v.Reason)
			}
		}
		if v.Clause != "" {
			checkClause(t, v.Clause, v.Reason)
		}
	}
}
