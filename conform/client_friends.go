package conform

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
)

// befriend makes a user with a certificate, which the node gives out.
func (st *stage) befriend(address string) *correspondent {
	c := st.stranger(address)
	st.note(func() { st.friends[address] = c })
	return c
}

// stranger makes a key for a user, whose certificate nobody gives out.
func (st *stage) stranger(address string) *correspondent {
	c, err := newCorrespondent(address)
	if err != nil {
		st.fatal(nil, "an OpenPGP key", err.Error())
	}
	return c
}

// alias gives somebody's certificate out as another user's.
func (st *stage) alias(address string, c *correspondent) *correspondent {
	other := *c
	other.address = address
	st.note(func() { st.friends[address] = &other })
	return &other
}

// shaky gives a user's key subkeys by which nothing is signed that counts, and returns the user as signing by
// each of them, or by the primary key, which certifies alone.
func (st *stage) shaky(c *correspondent) map[string]*correspondent {
	e, made := c.entity, make(map[string]*correspondent)
	by := func(what string, key *pgp.PrivateKey) {
		secret, is := key.PrivateKey.(*eddsa.PrivateKey)
		if !is {
			st.fatal(nil, "an Ed25519 key", "another")
		}
		other := *c
		other.signing = &signer{entity: e, keyID: hex.EncodeToString(key.Fingerprint), private: ed25519.NewKeyFromSeed(secret.D)}
		made[what] = &other
	}
	brief := openingConfig(time.Hour)
	brief.KeyLifetimeSecs = 60
	err := errors.Join(e.AddSigningSubkey(brief), e.AddSigningSubkey(openingConfig(time.Hour)), e.AddSigningSubkey(openingConfig(time.Hour)),
		e.AddSigningSubkey(openingConfig(time.Hour)))
	if err != nil {
		st.fatal(nil, "OpenPGP subkeys", err.Error())
	}
	last := e.Subkeys[len(e.Subkeys)-4:]
	expired, revoked, withdrawn, uncertified := &last[0], &last[1], &last[2], &last[3]
	binding := uncertified.Bindings[0].Packet
	binding.EmbeddedSignature = nil
	err = errors.Join(revoked.Revoke(pgp.KeyCompromised, "", openingConfig(time.Minute)),
		withdrawn.Revoke(pgp.NoReason, "", openingConfig(time.Minute)), binding.SignKey(uncertified.PublicKey, e.PrivateKey, openingConfig(time.Hour)))
	binding.EmbeddedSignature = nil // which SignKey may have made
	if err != nil {
		st.fatal(nil, "an OpenPGP subkey that is revoked, and one without a cross-certification", err.Error())
	}
	by("a subkey that had expired", expired.PrivateKey)
	by("a subkey that is revoked as stolen", revoked.PrivateKey)
	by("a subkey that is revoked without a reason", withdrawn.PrivateKey)
	by("a subkey without a cross-certification", uncertified.PrivateKey)
	by("the primary key, which certifies alone", e.PrivateKey)
	st.publish(c)
	return made
}

// unsealable takes the subkey that encrypts from a user's key, and puts an expired one in its place.
func (st *stage) unsealable(c *correspondent) {
	e := c.entity
	brief := openingConfig(time.Hour)
	brief.KeyLifetimeSecs = 60
	e.Subkeys = e.Subkeys[1:]
	if err := e.AddEncryptionSubkey(brief); err != nil {
		st.fatal(nil, "an OpenPGP subkey", err.Error())
	}
	st.publish(c)
}

// publish has the node give out what has become of a user's certificate.
func (st *stage) publish(c *correspondent) {
	key, err := asOpeningKey(c.entity)
	if err != nil {
		st.fatal(nil, "an OpenPGP certificate", err.Error())
	}
	st.note(func() { c.openingKey = key })
}

// heir makes a new key for a user, which the old one has certified.
func (st *stage) heir(old *correspondent) *correspondent {
	c := st.stranger(old.address)
	if err := certifyBy(c.entity, old.entity.PrimaryKey, old.entity.PrivateKey); err != nil {
		st.fatal(nil, "an OpenPGP certificate that another has certified", err.Error())
	}
	st.publish(c)
	return c
}

// lure makes a key for a user, whose certificate the node will give out as nobody should believe it.
func (st *stage) lure(address string) *correspondent {
	c := st.stranger(address)
	st.note(func() { st.lures = append(st.lures, c) })
	return c
}

// endow gives the client's user a key, before the client starts.
func (st *stage) endow() *correspondent { return st.endowWith(func(*correspondent) {}) }

// endowWith is endow with a key that is changed before.
func (st *stage) endowWith(change func(*correspondent)) *correspondent {
	me := st.befriend(st.user + "@" + playedNode)
	change(me)
	secret, err := me.secret()
	if err == nil {
		st.secret = filepath.Join(filepath.Dir(st.run.roots), st.user+".asc")
		err = os.WriteFile(st.secret, secret, 0o600)
	}
	if err != nil {
		st.fatal(nil, "a file with the user's OpenPGP key", err.Error())
	}
	return me
}

// certificate is what the node has for a user, nil for nothing. What the client has SET goes before what it
// was given.
func (st *stage) certificate(address string) []byte {
	st.mu.Lock()
	defer st.mu.Unlock()
	if c := st.friends[address]; c != nil && (st.own == nil || address != st.user+"@"+playedNode) {
		return c.certificate
	}
	if address == st.user+"@"+playedNode {
		return st.own
	}
	return nil
}

// userKey is the answer to GET_USER_KEY before it is sealed.
func (st *stage) userKey(user string) fields {
	var key any
	if certificate := st.certificate(user); certificate != nil {
		key = bin(certificate)
	}
	return fields{"body", fields{"key", key}}
}

// keyAnswer is such an answer with a key: a bin, or nil.
func keyAnswer(key any) raw { return fields{"body", fields{"key", key}}.pack() }

// sealed seals an answer to GET_USER_KEY, if it says with what.
func (l *letter) sealed(answer []byte) bin {
	seal := l.inner.get("body").get("seal").bytes()
	if len(seal) != 32 {
		return bin(answer)
	}
	return bin(sealAnswer(seal, answer))
}

// sealFaults says what is wrong with the `seal` of a GET_USER_KEY. One that comes again on another connection
// of the same client may be the same request, whose answer was lost.
func (c *clientSuite) sealFaults(g *guest, wait bool, seal []byte) (found []string) {
	if !wait {
		found = append(found, "GET_USER_KEY with `wait` false")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch first := c.seals[string(seal)]; {
	case first == nil:
		c.seals[string(seal)] = g
	case first == g, first.st != g.st:
		found = append(found, fmt.Sprintf("the `seal` % x of an earlier GET_USER_KEY", seal))
	}
	return found
}

// textFaults says what of a TEXT is not as section 8 has it. content may be nil.
func textFaults(content *value) (found []string) {
	if content == nil || content.kind != kindMap || content.n != 2 || content.get("type").num() != contentText {
		return []string{"what is no map of `type`, TEXT, and `body`"}
	}
	for _, f := range append(content.faults(1), textShape.faults("", "body", content.get("body"))...) {
		found = append(found, f.what)
	}
	return found
}

// read looks at what the client has put into `msg`, and opens it where it is sealed.
func (st *stage) read(g *guest, l *letter, content *value) {
	switch content.get("type").num() {
	case contentText:
		l.text = content.get("body").get("text").str()
	case contentSealed:
		st.mu.Lock()
		keys := append([]*correspondent(nil), st.lures...)
		if c := st.friends[l.to+"@"+l.node]; c != nil {
			keys = append(keys, c)
		}
		st.mu.Unlock()
		if len(keys) == 0 {
			g.blame("T-8.171", "a SEALED to a user who has no certificate")
		}
		why := fmt.Errorf("%s@%s has no certificate", l.to, l.node)
		for _, key := range keys {
			if l.ended, why = key.openEndToEnd(content.get("body").bytes()); why == nil {
				l.text = l.ended.text()
				for _, what := range l.ended.how.against {
					g.blame("T-8.9", what)
				}
				for _, what := range textFaults(l.ended.content) {
					g.blame("T-8.2", what+" in a SEALED")
				}
				return
			}
		}
		g.blame("T-8.2", fmt.Sprintf("a SEALED that the recipient cannot open: %v", why))
	}
}
