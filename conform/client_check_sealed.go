package conform

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func clientSealedScenarios() []clientScenario {
	return []clientScenario{
		{name: "client-sealed-taken", run: clientSealedTaken, clauses: []string{"T-8.122", "T-8.123"}},
		{name: "client-sealed-refused", run: clientSealedRefused, clauses: []string{"T-8.120", "T-8.121"}},
		{name: "client-sealed-before", run: clientSealedBefore, clauses: []string{"T-8.21"}},
		{name: "client-key-made", run: clientKeyMade, clauses: []string{"T-8.11"}},
	}
}

// letterFor is a message sealed to the client by a recipe, and its text.
func (e *exhibition) letterFor(r recipe, signatures ...signature) (text string, msg []byte) {
	text = fmt.Sprintf("words %s-%d.", e.s.run, e.s.names.Add(1))
	msg, err := endToEndMessage(r, e.to, textMessage(text), signatures...)
	if err != nil {
		e.fatal(nil, "a message sealed to the client's certificate", err.Error())
	}
	return text, msg
}

// seipd2 reports whether a certificate says that its owner reads SEIPD version 2, or is of a version that does.
func seipd2(e *openpgp.Entity) bool {
	self, err := e.PrimarySelfSignature(time.Now(), nil)
	return e.PrimaryKey.Version == 6 || err == nil && self.SEIPDv2
}

// seipd1 reports whether SEIPD version 1, with session keys of version 3, goes with a certificate.
func seipd1(e *openpgp.Entity) bool { return e.PrimaryKey.Version < 6 }

func clientSealedTaken(st *stage) {
	quill := st.befriend("quill@" + otherNode)
	e := st.exhibition()
	if _, opened := e.shown("that is signed", quill, e.signed(quill)); !opened {
		st.skip(unopened)
	}
	padding, marker := pgpPacket(tagPadding, randomBytes(50)), pgpPacket(tagMarker, []byte("PGP"))
	around := func(before, behind []byte) func([]byte) []byte {
		return func(l []byte) []byte { return slices.Concat(before, l, behind) }
	}
	named := func(l []byte) []byte { // the same content under a name and a date
		return pgpPacket(tagLiteral, append([]byte{'b', 4, 'n', 'a', 'm', 'e', 1, 2, 3, 4}, l[12:]...))
	}
	for _, tt := range []struct {
		clause, what string
		r            recipe
		bare         bool // not signed
	}{
		{"T-8.122", "by SEIPD 1", recipe{}, false},
		{"T-8.122", "by SEIPD 2", recipe{aead: true}, false},
		{"T-8.122", "by SEIPD 1, not signed", recipe{}, true},
		{"T-8.122", "by SEIPD 2 in chunks of 64 bytes", recipe{aead: true, chunk: 64}, false},
		{"T-8.122", "by SEIPD 2 in chunks of 256 KiB", recipe{aead: true, chunk: 256 << 10}, false},
		{"T-8.122", "with name and date", recipe{inside: named}, true},
		{"T-8.122", "with a marker packet in front", recipe{before: marker}, false},
		{"T-8.122", "with a padding packet in front", recipe{before: padding}, false},
		{"T-8.122", "with a padding packet in front of SEIPD 2", recipe{aead: true, before: padding}, false},
		{"T-8.122", "with a marker packet before what is inside", recipe{inside: around(marker, nil)}, false},
		{"T-8.122", "with padding before what is inside", recipe{inside: around(padding, nil)}, false},
		{"T-8.122", "with padding behind what is inside", recipe{aead: true, inside: around(nil, padding)}, false},
		{"T-8.122", "with 8 session keys", recipe{keys: 8}, false},
		{"T-8.122", "with 8 session keys of version 6", recipe{aead: true, keys: 8}, false},
		{"T-8.123", "in a stored block by ZIP", recipe{inside: inBlocks(1000, 0)}, false},
		{"T-8.123", "in stored blocks by ZIP, with padding behind them", recipe{inside: inBlocks(50, 10_000)}, false},
		{"T-8.123", "in stored blocks by ZIP, in SEIPD 2", recipe{aead: true, inside: inBlocks(1000, 1)}, false},
	} {
		if tt.r.aead && !seipd2(e.to) || !tt.r.aead && !seipd1(e.to) {
			continue
		}
		signatures := []signature{e.signed(quill)}
		if tt.bare {
			signatures = nil
		}
		st.on(tt.clause)
		text, msg := e.letterFor(tt.r, signatures...)
		shown, opened := e.shownAs(tt.what, quill, text, asSealed(msg))
		st.check(e.g.conn, opened, "the text of a SEALED "+tt.what, fmt.Sprintf("%q", shown))
	}
}

func clientSealedRefused(st *stage) {
	quill := st.befriend("quill@" + otherNode)
	e := st.exhibition()
	version2 := e.to.PrimaryKey.Version == 6
	if _, opened := e.shown("that is signed", quill, e.signed(quill)); !opened {
		st.skip(unopened)
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	flip := func(fromEnd int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[len(b)-fromEnd] ^= 1
			return b
		}
	}
	inside := func(f func([]byte) []byte) recipe { return recipe{inside: f} }
	second := literal(textMessage("second"))
	type refused struct {
		clause, what string
		r            recipe
		change       func(text string, msg []byte) []byte // nil for none
	}
	all := []refused{
		{"T-8.120", "with a byte of its SEIPD 2's last tag flipped", recipe{aead: true, data: flip(1)}, nil},
		{"T-8.120", "with a byte of the signature flipped, in SEIPD 2", recipe{aead: true, data: flip(60)}, nil},
		{"T-8.120", "without the last tag of its SEIPD 2", recipe{aead: true, data: cut(16)}, nil},
		{"T-8.120", "whose SEIPD 2 ends after some chunks of it", recipe{aead: true, chunk: 64, data: cut(64 + 32)}, nil},
		{"T-8.120", "with a byte of its MDC flipped", recipe{data: flip(1)}, nil},
		{"T-8.120", "with a byte of the signature flipped, in SEIPD 1", recipe{data: flip(60)}, nil},
		{"T-8.120", "whose SEIPD 1 has no MDC", recipe{data: cut(22)}, nil},
		{"T-8.120", "in a packet without integrity protection", recipe{}, func(text string, _ []byte) []byte { return e.unprotected(text) }},
		{"T-8.121", "that is not encrypted at all", recipe{}, func(text string, _ []byte) []byte { return literal(textMessage(text)) }},
		{"T-8.121", "with a session key of version 6 and SEIPD 1", recipe{crossed: true, aeadKey: true}, nil},
		{"T-8.121", "with a session key of version 3 and SEIPD 2", recipe{crossed: true, aead: true}, nil},
		{"T-8.121", "in chunks of 512 KiB", recipe{aead: true, chunk: 512 << 10}, nil},
		{"T-8.121", "in chunks of 4 MiB", recipe{aead: true, chunk: 4 << 20}, nil},
		{"T-8.121", "with a session key by a password besides", recipe{password: true}, nil},
		{"T-8.121", "with a session key by a password besides, in SEIPD 2", recipe{aead: true, password: true}, nil},
		{"T-8.121", "with 9 session keys", recipe{keys: 9}, nil},
		{"T-8.121", "with 9 session keys of version 6", recipe{aead: true, keys: 9}, nil},
		{"T-8.121", "in a compressed packet by no algorithm", inside(uncompressed), nil},
		{"T-8.121", "in a compressed packet by ZIP", inside(st.zipped), nil},
		{"T-8.121", "in a compressed packet by ZIP, in SEIPD 2", recipe{aead: true, inside: st.zipped}, nil},
		{"T-8.121", "in a compressed packet by ZIP that is stored at first", inside(st.zippedLater), nil},
		{"T-8.121", "in a compressed packet by ZLIB", inside(st.zlibbed), nil},
		{"T-8.121", "with two literal packets", inside(func(b []byte) []byte { return slices.Concat(b, second) }), nil},
		{"T-8.121", "with another literal packet before its own", inside(func(b []byte) []byte { return slices.Concat(second, b) }), nil},
		{"T-8.121", "with a literal packet behind the end", recipe{behind: second}, nil},
		{"T-8.121", "with a byte behind the end", recipe{behind: []byte{0}}, nil},
		{"T-8.121", "that comes twice in one", recipe{}, func(_ string, msg []byte) []byte { return slices.Concat(msg, msg) }},
	}
	for _, tt := range all {
		if version2 && !tt.r.aead {
			continue // the client has made itself a key with which this does not go
		}
		st.on(tt.clause)
		text, msg := e.letterFor(tt.r, e.signed(quill))
		if tt.change != nil {
			msg = tt.change(text, msg)
		}
		_, opened := e.shownAs(tt.what, quill, text, asSealed(msg))
		st.check(e.g.conn, !opened, "a SEALED "+tt.what+" not to be opened", "its text")
	}
}

// unprotected is a text in a packet of the kind that has no integrity protection.
func (e *exhibition) unprotected(text string) []byte {
	to, can := e.to.EncryptionKey(time.Now(), nil)
	if !can {
		e.fatal(nil, "a subkey that encrypts", "none")
	}
	msg, err := unprotected(textMessage(text), to.PublicKey)
	if err != nil {
		e.fatal(nil, "a message without integrity protection", err.Error())
	}
	return msg
}

// clientSealedBefore gives the client a key with a subkey that another has taken the place of.
func clientSealedBefore(st *stage) {
	quill := st.befriend("quill@" + otherNode)
	var before *pgp.PublicKey
	me := st.endowWith(func(c *correspondent) {
		old, err := c.withExpired()
		if err != nil {
			st.fatal(nil, "an OpenPGP subkey", err.Error())
		}
		c.openingKey, before = old, old.entity.Subkeys[len(old.entity.Subkeys)-1].PublicKey
	})
	e := st.exhibitionFor(me)
	if _, opened := e.shown("that is signed", quill, e.signed(quill)); !opened {
		st.skip(unopened)
	}
	if !bytes.Equal(e.to.PrimaryKey.Fingerprint, me.entity.PrimaryKey.Fingerprint) {
		st.skip("needs a client that uses the key in TIPT_KEY")
	}
	st.on("T-8.21")
	text, msg := e.letterFor(recipe{to: before}, e.signed(quill))
	shown, opened := e.shownAs("to a subkey of before", quill, text, asSealed(msg))
	st.check(e.g.conn, opened, "the text of a SEALED to a subkey that has expired and that another has taken the place of", fmt.Sprintf("%q", shown))
}

// clientKeyMade starts the client without a key.
func clientKeyMade(st *stage) {
	g := st.connected()
	st.line("hello")
	st.letter("hello") // by now it has SET a key, if it does that
	address := st.user + "@" + playedNode
	own := st.certificate(address)
	if own == nil {
		st.skip("needs a client that makes its user a key and SETs the certificate")
	}
	st.on("T-8.11")
	entity, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(own)))
	if err != nil {
		st.fatal(g.conn, "a certificate", err.Error())
	}
	form, features := certificateFaults(entity, address)
	for _, f := range slices.Concat(form, features) {
		st.wrong(g.conn, f.want, f.got)
	}
}
