package conform

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

type keyVector struct {
	Name, Node, User    string
	Secret, Certificate vectorHex
}

// vectorKeys are the keys of keys.json by name.
func vectorKeys(t *testing.T) map[string]*openpgp.Entity {
	t.Helper()
	keys := make(map[string]*openpgp.Entity)
	for _, v := range readVectors[[]keyVector](t, "keys.json") {
		for _, b := range [][]byte{v.Certificate, v.Secret} {
			e, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(b)))
			if err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
			if keys[v.Name] != nil && !bytes.Equal(keys[v.Name].PrimaryKey.Fingerprint, e.PrimaryKey.Fingerprint) {
				t.Errorf("%s: the secret key is not the certificate's", v.Name)
			}
			if _, ok := e.Identities[cmp.Or(v.Node, v.User)]; !ok {
				t.Errorf("%s: the user id is not %s", v.Name, cmp.Or(v.Node, v.User))
			}
			keys[v.Name] = e
		}
	}
	return keys
}

type sealedVector struct {
	Name, Key             string
	Clock                 int64
	Msg, Plain            vectorHex
	Error, Clause, Reason string
}

func TestVectorsOfSealedMessages(t *testing.T) {
	keys := vectorKeys(t)
	for _, v := range readVectors[[]sealedVector](t, "sealed.json") {
		plain, clause := openSealed(v.Msg, keys[v.Key], time.Unix(v.Clock, 0))
		if clause != v.Clause || !bytes.Equal(plain, v.Plain) {
			t.Errorf("%s: opened to % x, breaks %q; want % x, %q", v.Name, plain, clause, v.Plain, v.Clause)
		}
		if (v.Error == "") != (v.Clause == "") || (v.Error == "CANNOT_OPEN") != (v.Clause == "T-5.19") {
			t.Errorf("%s: error %q for clause %s", v.Name, v.Error, v.Clause)
		}
		if v.Error == "" {
			sealed, err := unpack(plain)
			if err != nil || len(sealedFaults(sealed, len(plain))) > 0 {
				t.Errorf("%s: what is inside is no request: %v", v.Name, err)
			}
		}
	}
}

// A pgpPart is an OpenPGP packet.
type pgpPart struct {
	tag  byte
	body []byte
}

// splitPGP takes packets apart (RFC 9580, section 4.2).
func splitPGP(b []byte) (parts []pgpPart, whole bool) {
	for len(b) > 0 {
		if b[0]&0x80 == 0 {
			return parts, false
		}
		p := pgpPart{tag: b[0] & 0x3f}
		legacy := b[0]&0x40 == 0
		width := 0
		if legacy {
			p.tag = b[0] >> 2 & 15
			if width = 1 << (b[0] & 3); width == 8 {
				return parts, false
			}
		}
		b = b[1:]
		for more := true; more; {
			n := 0
			switch {
			case len(b) == 0, legacy && len(b) < width:
				return parts, false
			case legacy:
				var wide [4]byte
				copy(wide[4-width:], b)
				n, b, more = int(binary.BigEndian.Uint32(wide[:])), b[width:], false
			case b[0] < 192:
				n, b, more = int(b[0]), b[1:], false
			case b[0] < 224 && len(b) >= 2:
				n, b, more = (int(b[0])-192)<<8+int(b[1])+192, b[2:], false
			case b[0] == 255 && len(b) >= 5:
				n, b, more = int(binary.BigEndian.Uint32(b[1:])), b[5:], false
			case b[0] >= 224 && b[0] < 255:
				n, b = 1<<(b[0]&31), b[1:]
			default:
				return parts, false
			}
			if n > len(b) {
				return parts, false
			}
			p.body, b = append(p.body, b[:n]...), b[n:]
		}
		parts = append(parts, p)
	}
	return parts, true
}

// misplaced is the clause that a packet breaks which may not stand where it does.
func misplaced(tag byte) string {
	switch tag {
	case tagCompressed:
		return "T-5.9"
	case tagSignature, 4:
		return "T-5.10"
	case 3:
		return "T-5.12"
	case 9:
		return "T-5.15"
	}
	return "T-5.16"
}

// openSealed opens a message as section 5.2 says, or returns the clause that it breaks.
func openSealed(msg []byte, key *openpgp.Entity, now time.Time) (plain []byte, clause string) {
	parts, whole := splitPGP(msg)
	var sessions []pgpPart
	var data []byte
	for _, p := range parts {
		switch {
		case p.tag == tagMarker, p.tag == tagPadding:
		case p.tag == tagSessionKey && data == nil:
			sessions = append(sessions, p)
		case p.tag == tagSealed && data == nil:
			data = p.body
		default:
			return nil, misplaced(p.tag)
		}
	}
	switch {
	case len(sessions) > 8:
		return nil, "T-5.13"
	case !whole, len(sessions) == 0, len(data) < 4:
		return nil, "T-5.16"
	}
	for _, s := range sessions {
		if want := map[byte]byte{1: 3, 2: 6}[data[0]]; len(s.body) == 0 || s.body[0] != want {
			return nil, "T-5.14"
		}
	}
	if data[0] == 2 && data[3] > 12 {
		return nil, "T-5.11"
	}
	session := sessionOf(sessions, key, now)
	if session == nil {
		return nil, "T-5.19"
	}
	inside, err := decryptSealed(data, session)
	if err != nil {
		return nil, "T-5.15"
	}
	return literalOf(inside)
}

// sessionOf decrypts the first session key that is for a key which still opens.
func sessionOf(sessions []pgpPart, key *openpgp.Entity, now time.Time) *pgp.EncryptedKey {
	for _, s := range sessions {
		p, err := pgp.Read(bytes.NewReader(pgpPacket(tagSessionKey, s.body)))
		e, ok := p.(*pgp.EncryptedKey)
		if err != nil || !ok {
			continue
		}
		for i := range key.Subkeys {
			sub := &key.Subkeys[i]
			binding := sub.Bindings[0].Packet
			if life := binding.KeyLifetimeSecs; life != nil && *life > 0 {
				if end := sub.PublicKey.CreationTime.Add(time.Duration(*life) * time.Second); now.After(end.Add(30 * 24 * time.Hour)) {
					continue
				}
			}
			if e.Decrypt(sub.PrivateKey, nil) == nil {
				return e
			}
		}
	}
	return nil
}

// decryptSealed decrypts, and hands out nothing before its integrity is sure.
func decryptSealed(data []byte, session *pgp.EncryptedKey) ([]byte, error) {
	p, err := pgp.Read(bytes.NewReader(pgpPacket(tagSealed, data)))
	if err != nil {
		return nil, err
	}
	sealed, ok := p.(*pgp.SymmetricallyEncrypted)
	if !ok {
		return nil, io.ErrUnexpectedEOF
	}
	r, err := sealed.Decrypt(session.CipherFunc, session.Key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return b, r.Close()
}

// literalOf returns what the one literal among decrypted packets holds.
func literalOf(b []byte) (plain []byte, clause string) {
	parts, whole := splitPGP(b)
	parts = slices.DeleteFunc(parts, func(p pgpPart) bool { return p.tag == tagMarker || p.tag == tagPadding })
	for i, p := range parts {
		if p.tag == tagCompressed && i == 0 && len(parts) == 1 && len(p.body) > 0 && p.body[0] == algorithmZIP && stored(p.body[1:]) {
			return literalOf(storedContent(p.body[1:]))
		}
		if p.tag != tagLiteral {
			return nil, misplaced(p.tag)
		}
	}
	if !whole || len(parts) != 1 || len(parts[0].body) < 6+int(parts[0].body[1]) {
		return nil, "T-5.16"
	}
	return parts[0].body[6+int(parts[0].body[1]):], ""
}

// storedContent is what stored blocks hold.
func storedContent(b []byte) (content []byte) {
	for last := false; !last; {
		n := int(binary.LittleEndian.Uint16(b[1:]))
		last = b[0]&1 == 1
		content, b = append(content, b[5:5+n]...), b[5+n:]
	}
	return content
}

type answerVector struct {
	Name                string
	Seal, Answer, Plain vectorHex
	Clause              string
}

func TestVectorsOfAnswers(t *testing.T) {
	for _, v := range readVectors[[]answerVector](t, "answers.json") {
		answer, err := openAnswer(v.Seal, v.Answer)
		if err == nil && answer.kind != kindMap {
			answer, err = nil, errNoMap
		}
		if (err != nil) != (v.Clause != "") {
			t.Errorf("%s: opened %v, %v; want clause %q", v.Name, answer, err, v.Clause)
			continue
		}
		if err != nil {
			continue
		}
		plain, err := unpack(v.Plain)
		if err != nil || plain.end != len(v.Plain) || answer.end != len(v.Plain) {
			t.Errorf("%s: it holds a map of %d bytes, want %d: %v", v.Name, answer.end, len(v.Plain), err)
			continue
		}
		if _, clauses := readBody("CNNodeForwardResponse", v.Plain, true); len(clauses) > 0 {
			t.Errorf("%s: it breaks %v", v.Name, clauses)
		}
		if answerCode(answer) != answerCode(plain) || !bytes.Equal(answer.get("body").get("key").bytes(), plain.get("body").get("key").bytes()) {
			t.Errorf("%s: it holds something else than %s", v.Name, hex.EncodeToString(v.Plain))
		}
	}
}
