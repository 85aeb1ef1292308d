package conform

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func sealScenarios() []scenario {
	return []scenario{
		{name: "public-key", clauses: []string{"T-5.1", "T-5.2", "T-5.3", "T-5.4"}, run: checkPublicKey},
		{name: "seal-versions", clauses: []string{"T-5.6", "T-5.7", "T-5.8", "T-5.11", "T-5.13", "T-5.54", "T-5.112"}, run: checkSealVersions},
		{name: "seal-refused", clauses: []string{"T-5.9", "T-5.10", "T-5.11", "T-5.12", "T-5.13", "T-5.14", "T-5.15", "T-5.16"}, run: checkSealRefused},
		{name: "seal-foreign", clauses: []string{"T-5.19"}, run: checkSealForeign},
		{name: "seal-again", clauses: []string{"T-5.48", "T-5.187"}, run: checkSealAgain},
		{name: "seal-mlkem", clauses: []string{"T-5.181"}, run: checkSealMLKEM},
	}
}

func checkPublicKey(t *T) {
	k := t.s.key
	t.on("T-5.1")
	t.check(nil, k.status == 200, "status 200", fmt.Sprint(k.status))
	t.check(nil, k.header.Get("Content-Type") == "application/octet-stream", "application/octet-stream", k.header.Get("Content-Type"))
	t.check(nil, len(k.bytes) <= 8192, "at most 8,192 bytes", fmt.Sprint(len(k.bytes)))
	t.on("T-5.2")
	caching := k.header.Get("Cache-Control")
	t.check(nil, cachedUpTo(caching, 3600), "Cache-Control with a max-age of at most 3600", caching)
	t.checkCertificate(k)
}

// cachedUpTo reports whether a Cache-Control lets an answer be kept for a while, and for that many seconds at most.
func cachedUpTo(caching string, seconds int) bool {
	for part := range strings.SplitSeq(caching, ",") {
		if age, is := strings.CutPrefix(strings.ToLower(strings.TrimSpace(part)), "max-age="); is {
			n, err := strconv.Atoi(age)
			return err == nil && n > 0 && n <= seconds
		}
	}
	return false
}

// checkCertificate holds the node's certificate against section 5.1.
func (t *T) checkCertificate(k *nodeKey) {
	form, features := certificateFaults(k.entity, t.s.node)
	t.on("T-5.3")
	for _, f := range form {
		t.wrong(nil, f.want, f.got)
	}
	t.on("T-5.4")
	for _, f := range features {
		t.wrong(nil, f.want, f.got)
	}
}

// A departure is what differs from what was wanted.
type departure struct{ want, got string }

// certificateFaults returns where a certificate departs from the form of section 5.1, with that one user id, and
// from the preferences and features there.
func certificateFaults(e *openpgp.Entity, id string) (form, features []departure) {
	now := time.Now()
	want := func(holds bool, want, got string) {
		if !holds {
			form = append(form, departure{want, got})
		}
	}
	want(e.PrimaryKey.Version == 4, "a version 4 key", fmt.Sprint(e.PrimaryKey.Version))
	want(e.PrimaryKey.PubKeyAlgo == algorithmEdDSA, "an EdDSA primary key", fmt.Sprint(e.PrimaryKey.PubKeyAlgo))
	want(onCurve25519(e.PrimaryKey), "a primary key of Ed25519", "one of another curve")
	names := slices.Collect(maps.Keys(e.Identities))
	want(slices.Equal(names, []string{id}), "one user id, "+id, fmt.Sprintf("%q", names))
	self, err := e.PrimarySelfSignature(now, nil)
	if err != nil {
		return append(form, departure{"a valid self-signature", err.Error()}), nil
	}
	want(self.FlagsValid && self.FlagCertify && !self.FlagSign && !self.FlagEncryptCommunications && !self.FlagEncryptStorage,
		"a primary key that certifies and does nothing else", "other flags")
	signs, encrypts := 0, 0
	for i := range e.Subkeys {
		sub := &e.Subkeys[i]
		sig, err := sub.LatestValidBindingSignature(now, nil)
		if err != nil || sub.Revoked(sig, now) || sub.Expired(sig, now) {
			continue // one of before a rotation
		}
		encrypting := sig.FlagEncryptCommunications || sig.FlagEncryptStorage
		switch {
		case sub.PublicKey.PubKeyAlgo == algorithmEdDSA && onCurve25519(sub.PublicKey) && sig.FlagSign && !encrypting:
			signs++
		case sub.PublicKey.PubKeyAlgo == algorithmECDH && onCurve25519(sub.PublicKey) && encrypting && !sig.FlagSign:
			encrypts++
		}
	}
	want(signs > 0, "an EdDSA subkey of Ed25519 that signs", "none")
	want(encrypts > 0, "an ECDH subkey of Curve25519 that encrypts", "none")
	if slices.ContainsFunc(self.PreferredCompression, func(c uint8) bool { return c != 0 }) {
		features = append(features, departure{"no compression but Uncompressed", fmt.Sprint(self.PreferredCompression)})
	}
	if !self.SEIPDv1 || !self.SEIPDv2 {
		features = append(features, departure{"features SEIPD 1 and 2", fmt.Sprintf("%t and %t", self.SEIPDv1, self.SEIPDv2)})
	}
	return form, features
}

// onCurve25519 reports whether a key is of Ed25519 or Curve25519.
func onCurve25519(k *pgp.PublicKey) bool {
	curve, err := k.Curve()
	return err == nil && curve == pgp.Curve25519
}

// sealed is a MESSAGE to the member itself, sealed by a recipe.
func (c *conn) sealed(text string, r recipe) []byte {
	return c.t.seal(message(c.user.name, randomBytes(16), []byte(text)), r)
}

func checkSealVersions(t *T) {
	c := t.member()
	padding := pgpPacket(tagPadding, randomBytes(50))
	marker := pgpPacket(tagMarker, []byte("PGP"))
	around := func(before, behind []byte) func([]byte) []byte {
		return func(l []byte) []byte { return slices.Concat(before, l, behind) }
	}
	named := func(l []byte) []byte { // the same content under a name, a date and another format
		body := append([]byte{'b', 4, 'n', 'a', 'm', 'e', 1, 2, 3, 4}, l[12:]...)
		return pgpPacket(tagLiteral, body)
	}
	n := 0
	for _, tt := range []struct {
		clause, what string
		r            recipe
	}{
		{"T-5.6", "SEIPD 1", recipe{}},
		{"T-5.7", "SEIPD 2", recipe{aead: true}},
		{"T-5.7", "SEIPD 2 in chunks of 64 bytes", recipe{aead: true, chunk: 64}},
		{"T-5.112", "SEIPD 1 and a literal packet with name and date", recipe{inside: named}},
		{"T-5.112", "SEIPD 2 and a literal packet with name and date", recipe{aead: true, inside: named}},
		{"T-5.8", "a marker packet in front", recipe{before: marker}},
		{"T-5.8", "a padding packet in front", recipe{aead: true, before: padding}},
		{"T-5.8", "padding behind the literal packet", recipe{aead: true, inside: around(nil, padding)}},
		{"T-5.8", "padding before the literal packet", recipe{aead: true, inside: around(padding, nil)}},
		{"T-5.8", "a marker before the literal packet", recipe{inside: around(marker, nil)}},
		{"T-5.54", "a stored block", recipe{inside: inBlocks(1000, 0)}},
		{"T-5.54", "stored blocks of 10 bytes", recipe{aead: true, inside: inBlocks(10, 0)}},
		{"T-5.54", "stored blocks and 1 byte of padding", recipe{aead: true, inside: inBlocks(50, 1)}},
		{"T-5.54", "a stored block and 100,000 bytes of padding", recipe{inside: inBlocks(1000, 100_000)}},
		{"T-5.11", "chunks of 256 KiB", recipe{aead: true, chunk: 256 << 10}},
		{"T-5.13", "8 session keys", recipe{keys: 8}},
		{"T-5.13", "8 session keys of version 6", recipe{aead: true, keys: 8}},
	} {
		t.on(tt.clause)
		p := c.exchange(reqForward, t.forward(true, c.sealed(fmt.Sprint(n), tt.r)))
		if !c.want(p, "MESSAGE sealed with "+tt.what, ok) {
			continue
		}
		answer, err := unpack(p.body.get("resp").bytes())
		if err != nil || answerCode(answer) != ok {
			t.wrong(c, "MESSAGE sealed with "+tt.what+" to be stored", fmt.Sprintf("resp % x", p.body.get("resp").bytes()))
			continue
		}
		c.wantTexts("sealed with "+tt.what, fmt.Sprint(n))
		n++
	}
}

// byBZIP2 is a literal packet with a MESSAGE to somebody who need not exist, compressed by BZIP2, for which there is no
// writer at hand.
var byBZIP2 = unhex("425a68393141592653596ea5659d00002275d4ffffc0004000400036a3cd2018001d0004080000a0005461a320c406462068" +
	"64da08a7a834d068d3d400d1a7a819170fc2042188848895334efa55556bb0ad4b167939b06fc19935c0878a9a1df9685ee1" +
	"be6f2b0a3fd4121661190bb9229c28483752b2ce80")

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // it was written by a program
	}
	return b
}

func checkSealRefused(t *T) {
	c := t.member()
	flip := func(r recipe, fromEnd int) []byte {
		b := c.sealed("flipped", r)
		b[len(b)-fromEnd] ^= 1
		return b
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	made := pgpPacket(tagSignature, append([]byte{4, 0, 22, 8, 0, 0, 0, 0, 1, 2, 0, 1, 1, 0, 1}, 1))
	with := func(r recipe) []byte { return c.sealed("refused", r) }
	inside := func(f func([]byte) []byte) recipe { return recipe{inside: f} }
	second := literal(message(c.user.name, randomBytes(16), []byte("second")))
	// A session key that no packet hands over: none in front.
	plain := message(c.user.name, randomBytes(16), []byte("plain"))
	whole := with(recipe{})
	bare, err := unprotected(plain, t.s.key.to)
	if err != nil {
		t.fatal(nil, "a message without integrity protection", err.Error())
	}
	author, err := newCorrespondent(c.user.name + "@" + t.s.node)
	if err != nil {
		t.fatal(nil, "an OpenPGP key", err.Error())
	}
	onePass, signed := signature{by: author, intended: t.s.key.entity}.packets(plain, true)
	asSigned := func(before, behind []byte) recipe { // what was signed is inside
		return inside(func([]byte) []byte { return slices.Concat(before, literal(plain), behind) })
	}
	mixed := func(aead bool) recipe { // two session key packets
		key := &session{key: randomBytes(32)}
		for _, version6 := range []bool{!aead, aead} {
			one, err := encryptedKey(t.s.key.to, version6, key.key)
			if err != nil {
				t.fatal(nil, "a session key", err.Error())
			}
			key.packets = append(key.packets, one...)
		}
		return recipe{aead: aead, session: key}
	}
	for _, tt := range []struct {
		clause, what string
		b            []byte
	}{
		{"T-5.9", "a compressed packet by no algorithm", with(inside(uncompressed))},
		{"T-5.9", "a compressed packet by no algorithm inside SEIPD 2", with(recipe{aead: true, inside: uncompressed})},
		{"T-5.9", "a compressed packet by ZIP", with(inside(t.zipped))},
		{"T-5.9", "a compressed packet by ZIP inside SEIPD 2", with(recipe{aead: true, inside: t.zipped})},
		{"T-5.9", "a compressed packet by ZIP that is stored at first", with(recipe{aead: true, inside: t.zippedLater})},
		{"T-5.16", "no literal packet, but padding by ZIP", with(inside(func([]byte) []byte { return inBlocks(1, 100)(nil) }))},
		{"T-5.9", "a compressed packet by ZIP that is cut off", with(inside(func(l []byte) []byte { return pgpPacket(tagCompressed, append([]byte{1, 1, 0xff, 0, 0, 0xff}, l...)) }))},
		{"T-5.9", "a compressed packet by ZLIB", with(inside(t.zlibbed))},
		{"T-5.9", "a compressed packet by BZIP2", with(inside(func([]byte) []byte { return pgpPacket(tagCompressed, append([]byte{3}, byBZIP2...)) }))},
		{"T-5.10", "a signature packet behind the literal one", with(inside(func(l []byte) []byte { return slices.Concat(l, made) }))},
		{"T-5.10", "a signature packet before the literal one", with(inside(func(l []byte) []byte { return slices.Concat(made, l) }))},
		{"T-5.10", "a signature that holds, and its one-pass packet", with(asSigned(onePass, signed))},
		{"T-5.10", "a signature that holds before the literal packet", with(asSigned(signed, nil))},
		{"T-5.10", "a signature that holds behind the literal packet", with(asSigned(nil, signed))},
		{"T-5.10", "a one-pass packet alone before the literal one", with(asSigned(onePass, nil))},
		{"T-5.11", "chunks of 512 KiB", with(recipe{aead: true, chunk: 512 << 10})},
		{"T-5.11", "chunks of 4 MiB", with(recipe{aead: true, chunk: 4 << 20})},
		{"T-5.12", "a session key by password besides", with(recipe{password: true})},
		{"T-5.12", "a session key by password besides, SEIPD 2", with(recipe{aead: true, password: true})},
		{"T-5.13", "9 session keys", with(recipe{keys: 9})},
		{"T-5.13", "100 session keys", with(recipe{aead: true, keys: 100})},
		{"T-5.14", "a version 6 session key and SEIPD 1", with(recipe{crossed: true, aeadKey: true})},
		{"T-5.14", "a version 3 session key and SEIPD 2", with(recipe{crossed: true, aead: true})},
		{"T-5.14", "session keys of both versions and SEIPD 1", with(mixed(false))},
		{"T-5.14", "session keys of both versions and SEIPD 2", with(mixed(true))},
		{"T-5.15", "a byte of the MDC flipped", flip(recipe{}, 1)},
		{"T-5.15", "a byte of the text flipped, SEIPD 1", flip(recipe{}, 40)},
		{"T-5.15", "a byte of the last tag flipped, SEIPD 2", flip(recipe{aead: true}, 1)},
		{"T-5.15", "a byte of the text flipped, SEIPD 2", flip(recipe{aead: true}, 40)},
		{"T-5.15", "the end cut off", whole[:len(whole)-1]},
		{"T-5.15", "SEIPD 1 without MDC", with(recipe{data: cut(22)})},
		{"T-5.15", "SEIPD 2 without its last tag", with(recipe{aead: true, data: cut(16)})},
		{"T-5.15", "SEIPD 2 that ends after some of its chunks", with(recipe{aead: true, chunk: 64, data: cut(64 + 32)})},
		{"T-5.15", "no integrity protection", bare},
		{"T-5.15", "no encryption at all", literal(plain)},
		{"T-5.15", "the session key alone", whole[:bytes.LastIndex(whole, []byte{0xd2, 0xff})]},
		{"T-5.16", "a literal packet behind the message", with(recipe{behind: literal([]byte("x"))})},
		{"T-5.16", "bytes behind the message", with(recipe{behind: []byte{0}})},
		{"T-5.16", "the message twice", slices.Concat(whole, whole)},
		{"T-5.16", "two literal packets", with(inside(func(l []byte) []byte { return slices.Concat(l, second) }))},
		{"T-5.16", "no literal packet", with(inside(func([]byte) []byte { return nil }))},
	} {
		t.on(tt.clause)
		c.wantRefused("a message with "+tt.what, tt.b)
		c.quiet("nothing stored of a message with " + tt.what)
	}
}

func checkSealForeign(t *T) {
	c := t.member()
	entity := t.newEntity()
	t.on("T-5.19")
	for _, aead := range []bool{false, true} {
		sealed := c.sealed("foreign", recipe{to: entity.Subkeys[0].PublicKey, aead: aead})
		c.wantAnswer("a message sealed to another key", sealed, errCannotOpen)
	}
	c.quiet("nothing stored")
}

// checkSealMLKEM seals to the subkey that the operator may have added.
func checkSealMLKEM(t *T) {
	c := t.member()
	var to *pgp.PublicKey
	now := time.Now()
	for i := range t.s.key.entity.Subkeys {
		sub := &t.s.key.entity.Subkeys[i]
		binding, err := sub.LatestValidBindingSignature(now, nil)
		if err == nil && sub.PublicKey.PubKeyAlgo == pgp.PubKeyAlgoMlkem768X25519 && !sub.Revoked(binding, now) && !sub.Expired(binding, now) {
			to = sub.PublicKey
		}
	}
	if to == nil {
		t.skip("the node's certificate has no ML-KEM subkey, and need not have one")
	}
	t.on("T-5.181")
	for _, aead := range []bool{false, true} {
		c.wantAnswer("a message sealed to the ML-KEM subkey", c.sealed("withstands", recipe{to: to, aead: aead}), ok)
		c.wantTexts("sealed to the ML-KEM subkey", "withstands")
	}
}

// checkSealAgain uses a session key for many messages, as a client may (section 5.2).
func checkSealAgain(t *T) {
	c, other := t.member(), t.member()
	t.on("T-5.187")
	r := recipe{aead: true, session: new(session)}
	for _, when := range []string{"before any other", "after another"} {
		c.wantRefused("a message with its last byte flipped, "+when+" with its session key", flipped(c.sealed("forged", r)))
		c.wantAnswer("a message "+when+" with its session key that is good", c.sealed(when, r), ok)
		c.wantTexts(when+" with its session key that is good", when)
	}
	r = recipe{aead: true, session: new(session)}
	t.on("T-5.48")
	for i := range 4 {
		c.wantAnswer("a message with the session key of an earlier one", c.sealed(fmt.Sprint(i), r), ok)
		c.wantTexts("with one session key", fmt.Sprint(i))
		forged := c.sealed("forged", r)
		forged[len(forged)-1] ^= 1
		c.wantRefused("a message with the session key of an earlier one, and a byte of its last tag flipped", forged)
	}
	other.wantAnswer("a message with the session key of another sender", c.sealed("from another sender", r), ok)
	c.wantTexts("with the session key of another sender", "from another sender")
	fresh := recipe{aead: true, session: &session{key: randomBytes(32), packets: r.session.packets}}
	c.wantRefused("a message with the encrypted session key of an earlier one, and another key", c.sealed("another key", fresh))
	c.quiet("nothing stored of what was refused")
}
