package conform

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
)

// A penman seals from end to end in place of the library, so that a defect can have it done wrong. The zero
// one does it well.
type penman struct {
	plain   bool                                             // sends a TEXT whatever there is
	yields  bool                                             // sends a TEXT where it could not learn whether there is a certificate
	meek    bool                                             // does not ask again after CANNOT_OPEN
	seal    func(attempt int) bin                            // of a GET_USER_KEY; nil: a new one
	believe func(seal, answer []byte) (*value, error)        // in place of openAnswer; or nil
	sign    func(s *signature) bool                          // changes how a message is signed; false: it is not
	form    recipe                                           // how the message of a SEALED is made
	holds   func(m *endToEnd, from, to *openpgp.Entity) bool // in place of signedBy; or nil
	ageless bool                                             // does not mind how old a signature is
	unnamed bool                                             // does not mind whose a certificate is
	opens   bool                                             // a SEALED in a SEALED, too
	patient bool                                             // waits for a sender's certificate
	curious bool                                             // asks each time for one that it lacks
	quiet   bool                                             // does not say what it could not send

	mu           sync.Mutex                 // guards the following fields
	certificates map[string]*openpgp.Entity // by address
	asked        map[string]time.Time       // when a sender's certificate was asked for
}

// ownKey is the key in TIPT_KEY, nil without one.
func ownKey() (*correspondent, error) {
	name := os.Getenv("TIPT_KEY")
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	e := keys[0]
	key, err := asOpeningKey(e)
	if err != nil {
		return nil, err
	}
	c := &correspondent{openingKey: key, signing: &signer{entity: e}}
	for _, sub := range e.Subkeys {
		if secret, is := sub.PrivateKey.PrivateKey.(*eddsa.PrivateKey); is {
			c.signing.keyID, c.signing.private = hex.EncodeToString(sub.PublicKey.Fingerprint), ed25519.NewKeyFromSeed(secret.D)
		}
	}
	return c, nil
}

var errNotLearned = errors.New("there is no telling whether there is a certificate")

// certificate asks for a user's certificate, once it has it no more; nil where there is none.
func (p *penman) certificate(ctx context.Context, c *client.Client, user tipt.Address) (*openpgp.Entity, error) {
	p.mu.Lock()
	known := p.certificates[user.String()]
	p.mu.Unlock()
	if known != nil {
		return known, nil
	}
	believe := openAnswer
	if p.believe != nil {
		believe = p.believe
	}
	for attempt := range 2 {
		certificate, err := c.NodeKey(ctx, user.Node, attempt > 0)
		if err != nil {
			return nil, err
		}
		node, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(certificate)))
		if err != nil {
			return nil, err
		}
		seal := randomBytes(32)
		if p.seal != nil {
			seal = p.seal(attempt)
		}
		msg, err := recipe{}.seal(userKey(string(user.User), seal), node.Subkeys[0].PublicKey)
		if err != nil {
			return nil, err
		}
		resp, err := c.Forward(ctx, user.Node, msg)
		if err != nil {
			return nil, err
		}
		answer, err := believe(seal, resp)
		if err != nil {
			unsealed, _ := unpack(resp)
			if answerCode(unsealed) == errCannotOpen && !p.meek {
				continue
			}
			return nil, errNotLearned
		}
		key := answer.get("body").get("key")
		if key.isNil() {
			return nil, nil
		}
		e, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(key.bytes())))
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		p.certificates[user.String()] = e
		p.mu.Unlock()
		return e, nil
	}
	return nil, errNotLearned
}

// write makes what goes into `msg`.
func (p *penman) write(ctx context.Context, c *client.Client, to tipt.Address, text string) (bin, error) {
	if p.plain {
		return textMessage(text), nil
	}
	certificate, err := p.certificate(ctx, c, to)
	switch {
	case err != nil && !p.yields:
		return nil, err
	case certificate == nil:
		return textMessage(text), nil
	}
	me, err := ownKey()
	if err != nil {
		return nil, err
	}
	signatures := []signature{{by: me, intended: certificate}}
	if me == nil || p.sign != nil && !p.sign(&signatures[0]) {
		signatures = nil
	}
	msg, err := sealedAs(p.form, certificate, textMessage(text), signatures...)
	if err != nil && p.yields {
		return textMessage(text), nil
	}
	return msg, err
}

// read says what is in a message, and marks what is signed.
func (p *penman) read(ctx context.Context, c *client.Client, m client.Message) []string {
	content, err := unpack(m.Body)
	me, failure := ownKey()
	if err != nil || failure != nil || me == nil || content.get("type").num() != contentSealed {
		return nil
	}
	opened, err := me.openEndToEnd(content.get("body").bytes())
	if err != nil {
		return nil
	}
	text := opened.text()
	if opened.content.get("type").num() == contentSealed {
		text = "a SEALED"
		if inner, err := me.openEndToEnd(opened.content.get("body").bytes()); err == nil && p.opens {
			text = inner.text()
		}
	}
	mark := "sealed"
	if p.counts(ctx, c, m, opened, me.entity) {
		mark = "signed"
	}
	return []string{m.From + " (" + mark + "): " + text}
}

// counts reports whether a message is signed.
func (p *penman) counts(ctx context.Context, c *client.Client, m client.Message, opened *endToEnd, to *openpgp.Entity) bool {
	from, err := tipt.ParseAddress(m.From)
	if err != nil || len(opened.signatures) == 0 {
		return false
	}
	if !p.patient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
	}
	p.mu.Lock()
	asked, known := p.asked[m.From], p.certificates[m.From]
	p.asked[m.From] = time.Now()
	if known != nil && p.curious {
		if _, has := known.SigningKeyById(time.Now(), *opened.signatures[0].IssuerKeyId, nil); !has {
			delete(p.certificates, m.From)
			known, asked = nil, time.Time{}
		}
	}
	p.mu.Unlock()
	if known == nil && time.Since(asked) < time.Minute {
		return false
	}
	certificate, err := p.certificate(ctx, c, from)
	if err != nil || certificate == nil {
		return false
	}
	ids := slices.DeleteFunc(slices.Collect(maps.Keys(certificate.Identities)), func(id string) bool { return !strings.Contains(id, "@") })
	if !p.unnamed && len(ids) > 0 && !slices.Contains(ids, m.From) {
		return false
	}
	if !p.ageless && slices.ContainsFunc(opened.signatures, func(s *pgp.Signature) bool { return m.Time.Sub(s.CreationTime) > maxBehind }) {
		return false
	}
	if p.holds != nil {
		return p.holds(opened, certificate, to)
	}
	return opened.signedBy(certificate, time.Now()) == nil
}

// issued reports whether a signature holds that is of a certificate's owner.
func (e *endToEnd) issued(s *pgp.Signature, by *openpgp.Entity) bool {
	key, has := by.SigningKeyById(time.Now(), *s.IssuerKeyId, nil)
	return has && e.verifies(s, key.PublicKey)
}

// verifies reports whether a signature was made by a key.
func (e *endToEnd) verifies(s *pgp.Signature, by *pgp.PublicKey) bool {
	h, err := s.PrepareVerify()
	if err != nil {
		return false
	}
	_, _ = h.Write(e.how.plain) // a hash takes everything
	return by.KeyId == *s.IssuerKeyId && by.VerifySignature(h, s) == nil
}

// writes is a client that seals from end to end by itself.
func writes(clause, only, name string, change func(p *penman)) clientDefect {
	p := &penman{certificates: make(map[string]*openpgp.Entity), asked: make(map[string]time.Time)}
	change(p)
	return clientDefect{defect: defect{clause: clause, only: only, name: name}, penman: p}
}

var (
	oneSeal  = randomBytes(32)
	lastSeal bin
)

// letterClient is in place of the clause of what letterClients are.
const letterClient = "letters"

var letterClients = []clientDefect{writes(letterClient, "", "good", func(*penman) {})}

// Whoever seals from end to end, and reads what is sealed, as the suite itself does, passes.
func TestClientThatSealsByItself(t *testing.T) {
	cmd, err := command(letterClient, "good")
	if err != nil {
		t.Fatal(err)
	}
	report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: "client-(seals|key-unsealed|key-and-more|key-not-opened|signed|sender-silent|unsealable)"})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, report, clientDraftAlone)
}

var clientLetterDefects = []clientDefect{
	writes("T-8.5", "", "never seals from end to end", func(p *penman) { p.plain = true }),
	writes("T-8.19", "client-key-unsealed", "does not seal when it is not told to whom", func(p *penman) { p.yields = true }),
	writes("T-8.19", "client-key-unsealed", "takes an unsealed nil", func(p *penman) {
		p.believe = func(seal, answer []byte) (*value, error) {
			if v, err := unpack(answer); err == nil && answerCode(v) == ok && v.get("body").get("key").isNil() {
				return v, nil
			}
			return openAnswer(seal, answer)
		}
	}),
	writes("T-5.33", "", "takes an unsealed key", func(p *penman) {
		p.believe = func(seal, answer []byte) (*value, error) {
			if v, err := unpack(answer); err == nil && v.get("body").get("key").bytes() != nil {
				return v, nil
			}
			return openAnswer(seal, answer)
		}
	}),
	writes("T-5.33", "", "takes an unsealed key of the right length", func(p *penman) {
		p.believe = func(seal, answer []byte) (*value, error) {
			if v, err := unpack(answer); err == nil && len(answer) == 8284 && v.kind == kindMap {
				return v, nil
			}
			return openAnswer(seal, answer)
		}
	}),
	writes("T-5.75", "client-key-and-more", "does not look behind the map", func(p *penman) { p.believe = openCarelessly(0) }),
	writes("T-5.75", "client-key-and-more", "looks behind the map, and not far", func(p *penman) { p.believe = openCarelessly(4096) }),
	writes("T-5.75", "client-key-not-opened", "does not ask again", func(p *penman) { p.meek = true }),
	writes("T-5.75", "client-key-not-opened", "asks again with the same seal", func(p *penman) {
		p.seal = func(attempt int) bin {
			if attempt == 0 {
				lastSeal = randomBytes(32)
			}
			return lastSeal
		}
	}),
	writes("T-5.72", "client-key-unsealed", "one seal for all", func(p *penman) { p.seal = func(int) bin { return oneSeal } }),
	writes("T-5.72", "client-seals", "does not wait for a certificate", func(*penman) {}).asking(func(_ *bent, f fields) []raw {
		if !isAsking(f, reqForward) || isMessage(f) {
			return nil
		}
		return []raw{f.with("body", f.part("body").with("wait", false)).pack()}
	}),
	writes("T-8.9", "client-seals", "compresses", func(p *penman) { p.form.inside = uncompressed }),
	writes("T-8.9", "client-signed", "signs without saying so before", func(p *penman) {
		p.form.inside = func(signed []byte) []byte { return signed[6+13:] } // the one-pass signature packet
	}),
	writes("T-8.9", "client-seals", "one session key for all", func(p *penman) { p.form.session = new(session) }),
	writes("T-8.10", "", "opens a SEALED in a SEALED", func(p *penman) { p.opens = true }),
	writes("T-8.14", "", "minds no subkey", func(p *penman) {
		p.holds = func(m *endToEnd, from, to *openpgp.Entity) bool {
			return slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool {
				return intends(s, to) && slices.ContainsFunc(from.Subkeys, func(sub openpgp.Subkey) bool { return m.verifies(s, sub.PublicKey) })
			})
		}
	}),
	writes("T-8.14", "", "minds no flag", func(p *penman) {
		p.holds = func(m *endToEnd, from, to *openpgp.Entity) bool {
			return m.signedBy(from, time.Now()) == nil || slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool {
				return intends(s, to) && m.verifies(s, from.PrimaryKey)
			})
		}
	}),
	writes("T-8.15", "", "minds no past", func(p *penman) { p.ageless = true }),
	writes("T-8.15", "", "minds no future", func(p *penman) {
		p.holds = func(m *endToEnd, from, to *openpgp.Entity) bool {
			return m.signedBy(from, time.Now()) == nil || slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool {
				return s.CreationTime.After(time.Now()) && intends(s, to) && m.issued(s, from)
			})
		}
	}),
	writes("T-8.16", "", "minds no user id", func(p *penman) { p.unnamed = true }),
	writes("T-8.17", "client-sender-silent", "waits for the certificate of a sender", func(p *penman) { p.patient = true }),
	writes("T-8.17", "client-signed", "asks each time", func(p *penman) { p.curious = true }),
	writes("T-8.18", "", "does not seal where it cannot", func(p *penman) { p.yields = true }),
	writes("T-8.18", "", "does not say what it has not sent", func(p *penman) { p.quiet = true }),
	ringed(),
	writes("T-8.7", "", "does not sign", func(p *penman) { p.sign = func(*signature) bool { return false } }),
	writes("T-8.7", "", "names no recipient", func(p *penman) { p.sign = func(s *signature) bool { s.intended = nil; return true } }),
	writes("T-8.7", "", "names itself", func(p *penman) { p.sign = func(s *signature) bool { s.intended = s.by.entity; return true } }),
	writes("T-8.7", "", "signs something else", func(p *penman) { p.sign = func(s *signature) bool { s.over = bin("something else"); return true } }),
	holding("any signature", func(m *endToEnd, _, _ *openpgp.Entity) bool { return len(m.signatures) > 0 }),
	holding("any that names the recipient", func(m *endToEnd, _, to *openpgp.Entity) bool {
		return slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool { return intends(s, to) })
	}),
	holding("any of the sender", func(m *endToEnd, from, _ *openpgp.Entity) bool {
		return slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool { return m.issued(s, from) })
	}),
	holding("one for each half", func(m *endToEnd, from, to *openpgp.Entity) bool {
		return slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool { return intends(s, to) }) &&
			slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool { return m.issued(s, from) })
	}),
	holding("one that does not hold", func(m *endToEnd, from, to *openpgp.Entity) bool {
		return slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool {
			_, has := from.SigningKeyById(time.Now(), *s.IssuerKeyId, nil)
			return has && intends(s, to)
		})
	}),
	holding("a recipient that is not signed", func(m *endToEnd, from, to *openpgp.Entity) bool {
		return slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool {
			var b bytes.Buffer
			return m.issued(s, from) && s.Serialize(&b) == nil && bytes.Contains(b.Bytes(), to.PrimaryKey.Fingerprint)
		})
	}),
}

// ringed is a client that keeps the certificates of all users in one ring.
func ringed() clientDefect {
	d := writes("T-8.3", "", "one ring for all", func(*penman) {})
	d.penman.holds = func(m *endToEnd, _, to *openpgp.Entity) bool {
		d.penman.mu.Lock()
		defer d.penman.mu.Unlock()
		return slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool {
			for _, certificate := range d.penman.certificates {
				if intends(s, to) && m.issued(s, certificate) {
					return true
				}
			}
			return false
		})
	}
	return d
}

func holding(name string, holds func(m *endToEnd, from, to *openpgp.Entity) bool) clientDefect {
	return writes("T-8.3", "", "takes "+name, func(p *penman) { p.holds = holds })
}

// intends reports whether a signature names a certificate.
func intends(s *pgp.Signature, to *openpgp.Entity) bool {
	return slices.ContainsFunc(s.IntendedRecipients, func(r *pgp.Recipient) bool { return bytes.Equal(r.Fingerprint, to.PrimaryKey.Fingerprint) })
}

// openCarelessly is openAnswer but for the bytes behind the map from there on, or from its end for 0.
func openCarelessly(from int) func(seal, answer []byte) (*value, error) {
	return func(seal, answer []byte) (*value, error) {
		if len(answer) != 8284 {
			return nil, errNotLearned
		}
		block, err := aes.NewCipher(seal)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		plain, err := aead.Open(nil, answer[:12], answer[12:], nil)
		if err != nil {
			return nil, err
		}
		v, err := unpack(plain)
		if err != nil || from > 0 && strings.Trim(string(plain[v.end:from]), "\x00") != "" {
			return nil, errNotLearned
		}
		return v, nil
	}
}
