//go:build external

package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gpg 2.2 writes no intended recipients: what it signs opens, and counts for nobody. sq does.

func interopUser(t *testing.T, address string) *UserKey {
	t.Helper()
	k, err := NewUserKey(address, time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// withoutAEADForUser is what gpg and sq of these versions can read; see TestOpenWithGPG.
func withoutAEADForUser(t *testing.T, k *UserKey) *UserKey {
	return changeUserKey(t, k, takeAEAD)
}

func TestGPGTakesUserKey(t *testing.T) {
	g := newGPG(t)
	k := withoutAEADForUser(t, interopUser(t, "alice@a.example"))
	text, err := k.Export([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	g.run(t, text, "--passphrase", "correct horse", "--import")
	for _, size := range interopSizes {
		plaintext := randomBytes(size)
		sealed := mustSealNow(t, userCertificate(t, k), plaintext)
		if got := g.run(t, sealed, "--passphrase", "correct horse", "--decrypt"); !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: gpg made %d of it", size, len(got))
		}
	}
	// It signs with the key, too, and gives it back.
	bob := interopUser(t, "bob@b.example")
	msg := g.run(t, []byte("hello"), "--passphrase", "correct horse", "--local-user", k.Fingerprint(),
		"--recipient-file", writeFile(t, bob.Certificate()), "--compress-algo", "none", "--sign", "--encrypt")
	o := mustOpen(t, bob, msg)
	if err := o.SignedBy(userCertificate(t, k), time.Now()); string(o.Plaintext) != "hello" || err == nil || !strings.Contains(err.Error(), "nobody in particular") {
		t.Errorf("opened to %q, %v", o.Plaintext, err)
	}
	if err := countsFor(o).SignedBy(userCertificate(t, k), time.Now()); err != nil {
		t.Errorf("the signature itself: %v", err)
	}
	exported := g.run(t, nil, "--passphrase", "correct horse", "--armor", "--export-secret-keys", k.Fingerprint())
	if _, err := ParseUserKey(exported, []byte("wrong")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("gpg's export with a wrong passphrase: %v", err)
	}
	again, err := ParseUserKey(exported, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if got := mustOpen(t, again, mustSealNow(t, userCertificate(t, k), []byte("hello"))); string(got.Plaintext) != "hello" {
		t.Errorf("opened to %q", got.Plaintext)
	}
}

func mustSealNow(t *testing.T, c *Certificate, plaintext []byte) []byte {
	t.Helper()
	msg, err := c.Seal(plaintext, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestSQTakesUserKey(t *testing.T) {
	k := withoutAEADForUser(t, interopUser(t, "alice@a.example"))
	bob := withoutAEADForUser(t, interopUser(t, "bob@b.example"))
	text, err := k.Export([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	out := string(run(t, text, "sq", "inspect"))
	for _, want := range []string{"Transferable Secret Key", "EdDSA", "Secret key: Encrypted", "UserID: alice@a.example"} {
		if !strings.Contains(out, want) {
			t.Errorf("sq inspect does not say %q:\n%s", want, out)
		}
	}
	// sq decrypts and verifies what is signed and sealed here, and says by whom it is.
	msg, err := bob.Seal(userCertificate(t, k), []byte("hello"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got := run(t, msg, "sq", "decrypt", "--signatures", "1", "--signer-cert", writeFile(t, bob.Certificate()), "--recipient-key", writeFile(t, k.Append(nil)))
	if string(got) != "hello" {
		t.Errorf("sq made %q of it", got)
	}
}

// gpg verifies what is signed here.
func TestGPGVerifiesSignedMessage(t *testing.T) {
	g := newGPG(t)
	k := withoutAEADForUser(t, interopUser(t, "alice@a.example"))
	bob := interopUser(t, "bob@b.example")
	g.run(t, k.Append(nil), "--import")
	g.run(t, bob.Certificate(), "--import")
	for _, size := range interopSizes {
		plaintext := randomBytes(size)
		msg, err := bob.Seal(userCertificate(t, k), plaintext, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		status := filepath.Join(t.TempDir(), "status")
		if got := g.run(t, msg, "--status-file", status, "--decrypt"); !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: gpg made %d of it", size, len(got))
		}
		said, err := os.ReadFile(status)
		if err != nil || !strings.Contains(string(said), "[GNUPG:] VALIDSIG ") || !strings.Contains(strings.ToLower(string(said)), bob.Fingerprint()) {
			t.Errorf("%d bytes: gpg says (%v):\n%s", size, err, said)
		}
	}
}

// What gpg makes opens, by all the ways that it is asked to sign.
func TestOpenSignedByGPG(t *testing.T) {
	g := newGPG(t)
	g.run(t, nil, "--quick-gen-key", "alice@a.example", "future-default")
	alice, err := ParseCertificate(g.run(t, nil, "--export"))
	if err != nil {
		t.Fatal(err)
	}
	bob := interopUser(t, "bob@b.example")
	cert := writeFile(t, bob.Certificate())
	for _, size := range interopSizes {
		plaintext := randomBytes(size)
		file := writeFile(t, plaintext)
		for name, args := range map[string][]string{
			"signed":      {"--compress-algo", "none", "--sign", "--encrypt", file},
			"unsigned":    {"--encrypt", file},
			"in one pass": {"--compress-algo", "none", "--sign", "--encrypt"}, // lengths in pieces
			"not binary":  {"--compress-algo", "none", "--textmode", "--sign", "--encrypt", file},
		} {
			if name == "not binary" && size > 0 {
				continue // the line ends of random bytes are not kept
			}
			var stdin []byte
			if name == "in one pass" {
				stdin = plaintext
			}
			o, err := bob.Open(g.run(t, stdin, append([]string{"--recipient-file", cert, "--output", "-"}, args...)...))
			if err != nil || !bytes.Equal(o.Plaintext, plaintext) {
				t.Errorf("%s, %d bytes: %v", name, size, err)
				continue
			}
			want := map[string]string{"signed": "nobody in particular", "unsigned": "not signed", "in one pass": "nobody in particular", "not binary": "not of a document"}[name]
			if err := o.SignedBy(alice, time.Now()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %d bytes: %v, want %q", name, size, err, want)
			}
			if want == "nobody in particular" {
				if err := countsFor(o).SignedBy(alice, time.Now()); err != nil {
					t.Errorf("%s, %d bytes: the signature itself: %v", name, size, err)
				}
			}
		}
	}
	// Compression that compresses is refused, as for a node (section 5.2).
	msg := g.run(t, bytes.Repeat([]byte("hello "), 100), "--recipient-file", cert, "--compress-algo", "ZIP", "--sign", "--encrypt")
	if _, err := bob.Open(msg); !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), "packet of type 8") {
		t.Errorf("compressed: %v", err)
	}
}

// sq puts all of it into a packet that pads, by default.
func TestOpenSignedBySQ(t *testing.T) {
	key := filepath.Join(t.TempDir(), "alice.pgp")
	run(t, nil, "sq", "key", "generate", "--userid", "alice@a.example", "--export", key)
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	alice, err := ParseCertificate(run(t, secret, "sq", "key", "extract-cert", "--binary"))
	if err != nil {
		t.Fatal(err)
	}
	bob := interopUser(t, "bob@b.example")
	cert := writeFile(t, bob.Certificate())
	for _, size := range interopSizes {
		plaintext := randomBytes(size)
		for _, args := range [][]string{nil, {"--compression", "none"}} {
			msg := run(t, plaintext, "sq", append([]string{"encrypt", "--binary", "--signer-key", key, "--recipient-cert", cert}, args...)...)
			o, err := bob.Open(msg)
			if err != nil || !bytes.Equal(o.Plaintext, plaintext) {
				t.Errorf("%d bytes, %q: %v", size, args, err)
				continue
			}
			if err := o.SignedBy(alice, time.Now()); err != nil {
				t.Errorf("%d bytes, %q: %v", size, args, err)
			}
		}
	}
	// Its key is a key here.
	k, err := ParseUserKey(secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := mustOpen(t, k, run(t, []byte("hello"), "sq", "encrypt", "--binary", "--recipient-cert", writeFile(t, k.Certificate())))
	if string(o.Plaintext) != "hello" {
		t.Errorf("opened to %q", o.Plaintext)
	}
}

// A key that gpg made, with and without a passphrase, signs and opens here.
func TestParseUserKeyOfGPG(t *testing.T) {
	bob := interopUser(t, "bob@b.example")
	for _, passphrase := range []string{"", "correct horse"} {
		g := newGPG(t)
		g.run(t, nil, "--passphrase", passphrase, "--quick-gen-key", "Alice <alice@a.example>", "future-default")
		k, err := ParseUserKey(g.run(t, nil, "--passphrase", passphrase, "--export-secret-keys"), []byte(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		msg, err := k.Seal(userCertificate(t, bob), []byte("hello"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		o := mustOpen(t, bob, msg)
		if err := o.SignedBy(userCertificate(t, k), time.Now()); err != nil {
			t.Errorf("passphrase %q: %v", passphrase, err)
		}
		if o := mustOpen(t, k, g.run(t, []byte("and back"), "--recipient", "alice@a.example", "--compress-algo", "none", "--encrypt")); string(o.Plaintext) != "and back" {
			t.Errorf("passphrase %q: opened to %q", passphrase, o.Plaintext)
		}
	}
	g := newGPG(t)
	g.run(t, nil, "--quick-gen-key", "alice@a.example", "rsa3072")
	if _, err := ParseUserKey(g.run(t, nil, "--export-secret-keys"), nil); err == nil || !strings.Contains(err.Error(), "an RSA key") {
		t.Errorf("an RSA key: %v", err)
	}
}
