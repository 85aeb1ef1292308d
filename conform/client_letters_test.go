package conform

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
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
	plain   bool                                                   // sends a TEXT whatever there is
	yields  bool                                                   // sends a TEXT where it could not learn whether there is a certificate
	meek    bool                                                   // does not ask again after CANNOT_OPEN
	seal    func(attempt int) bin                                  // of a GET_USER_KEY; nil: a new one
	believe func(seal, answer []byte) (*value, error)              // in place of openAnswer; or nil
	sign    func(s *signature) bool                                // changes how a message is signed; false: it is not
	content func(text string) bin                                  // of a SEALED, in place of a TEXT; or nil
	form    recipe                                                 // how the message of a SEALED is made
	holds   func(m *endToEnd, from, to *openpgp.Entity) bool       // in place of signedBy; or nil
	ageless bool                                                   // does not mind how old a signature is
	unnamed bool                                                   // does not mind whose a certificate is
	opens   bool                                                   // a SEALED in a SEALED, too
	guess   func() *openpgp.Entity                                 // whose certificate serves for who has none; or nil
	anyone  bool                                                   // takes for signed what has no sender
	patient bool                                                   // waits for a sender's certificate
	curious bool                                                   // asks each time for one that it lacks
	hushed  bool                                                   // does not say that a certificate was withdrawn, or is another one
	keeps   bool                                                   // seals to one that was withdrawn
	waits   bool                                                   // sends nothing once it has seen another certificate, until the one before is given again …
	sulks   bool                                                   // … or ever
	clings  bool                                                   // seals to the certificate that it had first
	open    func(me *correspondent, msg []byte) (*endToEnd, error) // in place of openStrictly; or nil
	quiet   bool                                                   // does not say what it could not send
	minute  time.Duration                                          // between two times that it asks for a sender's certificate; 0 is one
	takes   func(was, is *openpgp.Entity) bool                     // whether a certificate is taken for the one before; nil where that has certified it

	mu           sync.Mutex                 // guards the following fields
	certificates map[string]*openpgp.Entity // by address
	before       map[string]*openpgp.Entity // those that were kept first
	doubted      map[string]bool            // whose certificate has changed
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
		if answer.get("err") != nil || key == nil || key.kind != kindNil && key.kind != kindBin {
			return nil, errNotLearned
		}
		if key.isNil() {
			return p.withdrawn(user.String()), nil
		}
		e, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(key.bytes())))
		if err != nil {
			return nil, err
		}
		return p.keep(user.String(), e)
	}
	return nil, errNotLearned
}

// withdrawn is what serves in place of a certificate that is there no longer.
func (p *penman) withdrawn(user string) *openpgp.Entity {
	p.mu.Lock()
	before := p.before[user]
	p.mu.Unlock()
	if before != nil && !p.hushed {
		fmt.Fprintln(os.Stderr, "the key of", user, "was withdrawn")
	}
	if p.keeps {
		return before
	}
	return nil
}

// keep keeps a certificate that was given, unless it is in doubt.
func (p *penman) keep(user string, e *openpgp.Entity) (*openpgp.Entity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.before[user] == nil {
		p.before[user] = e
	}
	same := bytes.Equal(p.before[user].PrimaryKey.Fingerprint, e.PrimaryKey.Fingerprint)
	if p.waits && !same || p.doubted[user] && p.sulks {
		p.doubted[user] = true
		return nil, errInDoubt
	}
	p.certificates[user], p.doubted[user] = e, false
	return e, nil
}

var errInDoubt = errors.New("another key has taken the place of the one before")

// write makes what goes into `msg`.
func (p *penman) write(ctx context.Context, c *client.Client, to tipt.Address, text string) (bin, error) {
	if p.plain {
		return textMessage(text), nil
	}
	certificate, err := p.certificate(ctx, c, to)
	switch {
	case err != nil && !p.yields:
		return nil, err
	case certificate == nil && p.guess != nil:
		certificate = p.guess()
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
	content := textMessage
	if p.content != nil {
		content = p.content
	}
	msg, err := sealedAs(p.form, certificate, content(text), signatures...)
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
	open := openStrictly
	if p.open != nil {
		open = p.open
	}
	opened, err := open(me, content.get("body").bytes())
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
	if m.From == "" && p.anyone {
		return len(opened.signatures) > 0
	}
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
	may, before := p.curious || time.Since(asked) >= cmp.Or(p.minute, time.Minute), known
	if known != nil && may {
		if _, has := known.SigningKeyById(time.Now(), *opened.signatures[0].IssuerKeyId, nil); !has {
			delete(p.certificates, m.From)
			known = nil
		}
	}
	p.mu.Unlock()
	if known == nil && !may {
		return false
	}
	certificate, err := p.certificate(ctx, c, from)
	if err != nil || certificate == nil {
		return false
	}
	if p.clings && before != nil {
		p.mu.Lock()
		p.certificates[m.From] = before
		p.mu.Unlock()
	}
	takes := certified
	if p.takes != nil {
		takes = p.takes
	}
	if before != nil && !takes(before, certificate) {
		if !p.hushed {
			fmt.Fprintln(os.Stderr, "the key of", m.From, "has changed")
		}
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

// certified reports whether a certificate is the one before, or that has certified it.
func certified(was, is *openpgp.Entity) bool {
	if bytes.Equal(was.PrimaryKey.Fingerprint, is.PrimaryKey.Fingerprint) {
		return true
	}
	for _, id := range is.Identities {
		for _, other := range id.OtherCertifications {
			if was.PrimaryKey.VerifyUserIdSignature(id.Name, is.PrimaryKey, other.Packet) == nil {
				return true
			}
		}
	}
	return false
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
