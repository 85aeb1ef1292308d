package conform

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// writes is a client that seals from end to end by itself.
func writes(clause, only, name string, change func(p *penman)) clientDefect {
	p := &penman{
		certificates: make(map[string]*openpgp.Entity), asked: make(map[string]time.Time),
		before: make(map[string]*openpgp.Entity), doubted: make(map[string]bool),
	}
	change(p)
	return clientDefect{defect: defect{clause: clause, only: only, name: name}, penman: p}
}

var (
	oneSeal  = randomBytes(32)
	lastSeal bin
)

// letterClient is in place of the clause of what letterClients are.
const letterClient = "letters"

var letterClients = []clientDefect{
	writes(letterClient, "", "good", func(*penman) {}),
	makesKey(letterClient, "makes a key", goodKey),
	writes(letterClient, "", "waits for the key of before", func(p *penman) { p.waits = true }),
	writes(letterClient, "", "short minutes", func(p *penman) { p.minute = time.Second }),
	writes(letterClient, "", "takes each new key", func(p *penman) {
		p.minute, p.takes = time.Second, func(_, _ *openpgp.Entity) bool { return true }
	}),
	writes(letterClient, "", "says nothing of a new key", func(p *penman) { p.minute, p.hushed = time.Second, true }),
	writes(letterClient, "", "takes no new key", func(p *penman) {
		p.minute, p.takes = time.Second, func(was, is *openpgp.Entity) bool {
			return bytes.Equal(was.PrimaryKey.Fingerprint, is.PrimaryKey.Fingerprint)
		}
	}),
}

// What takes a minute, with shorter ones: another key of a user is told from one that the old one has certified.
func TestClientsThatSeeANewKey(t *testing.T) {
	for _, tt := range []struct{ name, broken string }{
		{"short minutes", ""},
		{"takes each new key", "T-8.8"},
		{"takes no new key", "T-8.8"},
		{"says nothing of a new key", "T-8.8"},
		{"good", "T-8.17"}, // its minutes are too long for these
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd, err := command(letterClient, tt.name)
			if err != nil {
				t.Fatal(err)
			}
			report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: "client-user-key-changed", Slow: true, minute: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if tt.broken == "" {
				clean(t, report, clientDraftAlone)
			}
			for _, result := range report.Results {
				if broken := len(result.Findings) > 0; broken != (result.Clause.ID == tt.broken) {
					t.Errorf("%s: %s, %+v", result.Clause.ID, result.Status, result.Findings)
				}
			}
		})
	}
}

// Whoever seals from end to end, and reads what is sealed, as the suite itself does, passes.
func TestClientThatSealsByItself(t *testing.T) {
	for name, only := range map[string]string{
		"good":                        "client-(seals|key-unsealed|key-malformed|key-and-more|key-not-opened|user-key-withdrawn|signed|sender-silent|unsealable|sealed-.*)",
		"waits for the key of before": "client-key-seen",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, err := command(letterClient, name)
			if err != nil {
				t.Fatal(err)
			}
			report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: only})
			if err != nil {
				t.Fatal(err)
			}
			clean(t, report, clientDraftAlone)
		})
	}
}

var clientLetterDefects = []clientDefect{
	writes("T-8.2", "client-seals", "a TEXT without a time in a SEALED", func(p *penman) {
		p.content = func(text string) bin { return bin(fields{"type", contentText, "body", fields{"text", text}}.pack()) }
	}),
	writes("T-8.5", "", "never seals from end to end", func(p *penman) { p.plain = true }),
	writes("T-8.19", "client-key-unsealed", "does not seal when it is not told to whom", func(p *penman) { p.yields = true }),
	writes("T-8.19", "client-key-unsealed", "takes an unsealed nil", func(p *penman) {
		p.believe = func(seal, answer []byte) (*value, error) {
			if v, err := unpack(answer); err == nil && v.kind == kindMap && answerCode(v) == ok && v.get("body").get("key").isNil() {
				return v, nil
			}
			return openAnswer(seal, answer)
		}
	}),
	writes("T-8.19", "client-key-malformed", "takes what is no key for none", func(p *penman) {
		p.believe = func(seal, answer []byte) (*value, error) {
			v, err := openAnswer(seal, answer)
			if err == nil && v.get("err") == nil && v.get("body").get("key").bytes() == nil {
				return unpack(keyAnswer(nil))
			}
			return v, err
		}
	}),
	writes("T-5.75", "client-key-malformed", "minds no err beside a key", func(p *penman) {
		p.believe = func(seal, answer []byte) (*value, error) {
			v, err := openAnswer(seal, answer)
			if err != nil || v.get("body").get("key").bytes() == nil {
				return v, err
			}
			return unpack(keyAnswer(bin(v.get("body").get("key").bytes())))
		}
	}),
	writes("T-5.33", "client-key-unsealed", "takes an unsealed error for no key", func(p *penman) {
		p.believe = func(seal, answer []byte) (*value, error) {
			if v, err := unpack(answer); err == nil && v.kind == kindMap && v.get("err") != nil && answerCode(v) != errCannotOpen {
				return unpack(keyAnswer(nil))
			}
			return openAnswer(seal, answer)
		}
	}),
	writes("T-8.172", "", "takes nobody for a user without a key", func(p *penman) {
		p.believe = func(seal, answer []byte) (*value, error) {
			v, err := openAnswer(seal, answer)
			if err == nil && answerCode(v) == errNoSuchUser {
				return unpack(keyAnswer(nil))
			}
			return v, err
		}
	}),
	writes("T-8.171", "", "seals to a key of its own making", func(p *penman) {
		p.guess = func() *openpgp.Entity {
			c, err := newCorrespondent("nobody@" + otherNode)
			if err != nil {
				panic(err) // fails the test
			}
			return c.entity
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
	writes("T-8.18", "", "does not say what it has not sent", func(p *penman) { p.quiet = true }).greeting(),
	writes("T-8.20", "", "seals to the first certificate for ever", func(p *penman) { p.clings = true }),
	ringed(),
	writes("T-8.125", "", "says nothing of a withdrawal", func(p *penman) { p.hushed = true }),
	writes("T-8.125", "", "seals to what was withdrawn", func(p *penman) { p.keeps = true }),
	writes("T-8.126", "", "never seals again", func(p *penman) { p.waits, p.sulks = true, true }),
	writes("T-8.7", "", "does not sign", func(p *penman) { p.sign = func(*signature) bool { return false } }),
	writes("T-8.7", "", "names no recipient", func(p *penman) { p.sign = func(s *signature) bool { s.intended = nil; return true } }),
	writes("T-8.7", "", "names itself", func(p *penman) { p.sign = func(s *signature) bool { s.intended = s.by.entity; return true } }),
	writes("T-8.7", "", "signs something else", func(p *penman) { p.sign = func(s *signature) bool { s.over = bin("something else"); return true } }),
	writes("T-8.3", "", "takes what has no sender for signed", func(p *penman) { p.anyone = true }),
	writes("T-8.14", "", "minds no revocation without a reason", func(p *penman) {
		p.holds = func(m *endToEnd, from, to *openpgp.Entity) bool {
			return m.signedBy(from, time.Now()) == nil || slices.ContainsFunc(m.signatures, func(s *pgp.Signature) bool {
				return intends(s, to) && slices.ContainsFunc(from.Subkeys, func(sub openpgp.Subkey) bool {
					return len(sub.Revocations) > 0 && *sub.Revocations[0].Packet.RevocationReason == pgp.NoReason && m.verifies(s, sub.PublicKey)
				})
			})
		}
	}),
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

// greeting is a client that prints something when it connects.
func (d clientDefect) greeting() clientDefect {
	d.tls = func(int, *tls.Config) { fmt.Fprintln(os.Stderr, "connecting") }
	return d
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
	// Whatever form it has, so that two signatures are judged at all.
	return writes("T-8.3", "", "takes "+name, func(p *penman) { p.holds, p.open = holds, (*correspondent).openEndToEnd })
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
