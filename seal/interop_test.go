//go:build external

package seal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/google/go-cmp/cmp"
)

// These tests need the real gpg (GnuPG 2.2) and sq (Sequoia): packages gnupg and
// sq in Debian. They fail without.

// run runs a program and returns its standard output.
func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// A gnupg is a gpg with a home of its own.
type gnupg struct{ home string }

func newGPG(t *testing.T) gnupg {
	t.Helper()
	// Not t.TempDir: the agent's socket must have a short path.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Without a context: that of the test is over. The agent is a daemon.
		if out, err := exec.Command("gpgconf", "--homedir", home, "--kill", "all").CombinedOutput(); err != nil {
			t.Errorf("gpgconf: %v\n%s", err, out)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	return gnupg{home}
}

func (g gnupg) run(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	common := []string{"--homedir", g.home, "--batch", "--no-tty", "--quiet", "--trust-model", "always", "--pinentry-mode", "loopback", "--passphrase", ""}
	return run(t, stdin, "gpg", append(common, args...)...)
}

func writeFile(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// interopKey is a node key that was made before the programs' clocks look at it.
func interopKey(t *testing.T) *NodeKey {
	t.Helper()
	k, err := NewNodeKey("node.example", time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var interopSizes = []int{0, 1, 300, 70_000, 1_000_000}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestGPGShowsCertificate(t *testing.T) {
	out := newGPG(t).run(t, interopKey(t).Certificate(), "--show-keys", "--with-colons")
	// Record, validity, algorithm, capabilities, curve, user id.
	var got []string
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		switch f[0] {
		case "pub", "sub":
			got = append(got, fmt.Sprintf("%s %s %s %s", f[0], f[3], f[11], f[16]))
		case "uid":
			got = append(got, "uid "+f[9])
		}
	}
	want := []string{"pub 22 cSEC ed25519", "uid node.example", "sub 18 e cv25519", "sub 22 s ed25519"}
	// Capitals are what the whole key can do, in no order of ours.
	if len(got) > 0 {
		f := strings.Fields(got[0])
		caps := []byte(f[2])
		slices.Sort(caps[1:])
		f[2] = string(caps)
		got[0] = strings.Join(f, " ")
	}
	want[0] = "pub 22 cCES ed25519"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gpg --show-keys (-want +got):\n%s\n%s", diff, out)
	}
}

func TestSQInspectsCertificate(t *testing.T) {
	out := string(run(t, interopKey(t).Certificate(), "sq", "inspect"))
	for _, want := range []string{"OpenPGP Certificate", "EdDSA", "ECDH", "Key flags: certification\n", "Key flags: signing\n", "Key flags: transport encryption, data-at-rest encryption\n", "UserID: node.example"} {
		if !strings.Contains(out, want) {
			t.Errorf("sq inspect does not say %q", want)
		}
	}
	for _, bad := range []string{"nvalid", "Bad", "Unknown", "not bound"} {
		if strings.Contains(out, bad) {
			t.Errorf("sq inspect says %q", bad)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestOpenFromGPG(t *testing.T) {
	g := newGPG(t)
	k := interopKey(t)
	cert := writeFile(t, k.Certificate())
	for _, size := range interopSizes {
		plaintext := randomBytes(size)
		file := writeFile(t, plaintext)
		for name, msg := range map[string][]byte{
			"file":             g.run(t, nil, "--recipient-file", cert, "--output", "-", "--encrypt", file),
			"pipe":             g.run(t, plaintext, "--recipient-file", cert, "--encrypt"),
			"hidden recipient": g.run(t, plaintext, "--hidden-recipient-file", cert, "--encrypt"),
		} {
			if got, err := k.Open(msg, time.Now()); err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%s, %d bytes: opened to %d bytes, %v", name, size, len(got), err)
			}
		}
	}
}

func TestOpenFromGPGToSeveral(t *testing.T) {
	g := newGPG(t)
	k := interopKey(t)
	args := []string{"--encrypt"}
	for range 7 {
		args = append(args, "--recipient-file", writeFile(t, interopKey(t).Certificate()))
	}
	args = append(args, "--recipient-file", writeFile(t, k.Certificate()))
	if got, err := k.Open(g.run(t, []byte("hello"), args...), time.Now()); err != nil || string(got) != "hello" {
		t.Errorf("opened to %q, %v", got, err)
	}
	args = append(args, "--recipient-file", writeFile(t, interopKey(t).Certificate()))
	if _, err := k.Open(g.run(t, []byte("hello"), args...), time.Now()); !errors.Is(err, ErrMessage) {
		t.Errorf("9 recipients: error %v", err)
	}
}

func TestOpenRefusesFromGPG(t *testing.T) {
	g := newGPG(t)
	g.run(t, nil, "--quick-gen-key", "alice@example.org", "future-default")
	k := interopKey(t)
	cert := writeFile(t, k.Certificate())
	text := []byte(strings.Repeat("hello ", 100))
	for _, tt := range []struct {
		name, text string
		args       []string
	}{
		{"signed", "signature", []string{"--recipient-file", cert, "--sign", "--encrypt"}},
		{"compressed", "packet of type 8", []string{"--recipient-file", cert, "--compress-algo", "ZIP", "--encrypt"}},
		{"password too", "password", []string{"--recipient-file", cert, "--passphrase", "secret", "--symmetric", "--encrypt"}},
		{"password", "password", []string{"--passphrase", "secret", "--symmetric"}},
		{"CAST5", "cipher 3", []string{"--recipient-file", cert, "--cipher-algo", "CAST5", "--encrypt"}},
		{"armor", "not an OpenPGP packet", []string{"--recipient-file", cert, "--armor", "--encrypt"}},
		{"signed alone", "", []string{"--sign"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := k.Open(g.run(t, text, tt.args...), time.Now())
			if !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got error %v, want one that says %q", err, tt.text)
			}
		})
	}
	msg := g.run(t, text, "--recipient", "alice@example.org", "--encrypt")
	if _, err := k.Open(msg, time.Now()); !errors.Is(err, ErrCannotOpen) {
		t.Errorf("for somebody else: error %v", err)
	}
}

func TestOpenFromSQ(t *testing.T) {
	k := interopKey(t)
	cert := writeFile(t, k.Certificate())
	plaintexts := [][]byte{make([]byte, 70_000)} // which a real compression would shrink
	for _, size := range interopSizes {
		plaintexts = append(plaintexts, randomBytes(size))
	}
	for _, plaintext := range plaintexts {
		for _, args := range [][]string{nil, {"--compression", "none"}} {
			msg := run(t, plaintext, "sq", append([]string{"encrypt", "--binary", "--recipient-cert", cert}, args...)...)
			if got, err := k.Open(msg, time.Now()); err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%d bytes, %q: opened to %d bytes, %v", len(plaintext), args, len(got), err)
			}
		}
	}
}

// sq encrypts to every encryption subkey that it knows, the old one too.
func TestOpenFromSQAfterRotation(t *testing.T) {
	k := changeKey(t, interopKey(t), func(e *openpgp.Entity, c *packet.Config) error {
		c.Time = func() time.Time { return time.Now().Add(-30 * time.Second) }
		return errors.Join(e.AddEncryptionSubkey(c), e.AddEncryptionSubkey(c))
	})
	k = withMLKEM(t, k)
	msg := run(t, []byte("hello"), "sq", "encrypt", "--binary", "--recipient-cert", writeFile(t, k.Certificate()))
	e, err := parseEnvelope(msg)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.keys) != 3 {
		t.Errorf("%d session keys, want 3", len(e.keys))
	}
	if got, err := k.Open(msg, time.Now()); err != nil || string(got) != "hello" {
		t.Errorf("opened to %q, %v", got, err)
	}
}

func TestOpenRefusesFromSQ(t *testing.T) {
	k := interopKey(t)
	cert := writeFile(t, k.Certificate())
	key := filepath.Join(t.TempDir(), "alice.pgp")
	run(t, nil, "sq", "key", "generate", "--userid", "alice@example.org", "--export", key)
	for _, tt := range []struct {
		name, text string
		args       []string
	}{
		{"signed", "signature", []string{"--compression", "none", "--signer-key", key}},
		{"compressed", "compressed", []string{"--compression", "zlib"}},
		{"compressed, in the packet that pads by default", "compressed", []string{"--compression", "zip"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			msg := run(t, []byte("hello"), "sq", append([]string{"encrypt", "--binary", "--recipient-cert", cert}, tt.args...)...)
			if _, err := k.Open(msg, time.Now()); !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got error %v, want one that says %q", err, tt.text)
			}
		})
	}
}

// gpg 2.2 and sq 0.27 open encrypted packets of version 1 alone.
func TestOpenWithGPG(t *testing.T) {
	g := newGPG(t)
	k := withoutAEAD(t, interopKey(t))
	g.run(t, k.Append(nil), "--import")
	c := certificateOf(t, k)
	for _, size := range interopSizes {
		plaintext := randomBytes(size)
		msg, err := c.Seal(plaintext, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got := g.run(t, msg, "--decrypt"); !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: gpg made %d of it", size, len(got))
		}
	}
}

func TestSealForGPG(t *testing.T) {
	for _, algorithm := range []string{"future-default", "rsa3072"} {
		t.Run(algorithm, func(t *testing.T) {
			g := newGPG(t)
			g.run(t, nil, "--quick-gen-key", "alice@example.org", algorithm)
			if algorithm == "rsa3072" {
				list := string(g.run(t, nil, "--list-keys", "--with-colons"))
				_, fingerprint, _ := strings.Cut(list, "\nfpr:::::::::")
				fingerprint, _, _ = strings.Cut(fingerprint, ":")
				g.run(t, nil, "--quick-add-key", fingerprint, algorithm, "encr")
			}
			sealFor(t, g.run(t, nil, "--export"), func(msg []byte) []byte { return g.run(t, msg, "--decrypt") })
		})
	}
}

func TestSealForSQ(t *testing.T) {
	for _, suite := range []string{"cv25519", "rsa3k"} {
		t.Run(suite, func(t *testing.T) {
			key := filepath.Join(t.TempDir(), "alice.pgp")
			run(t, nil, "sq", "key", "generate", "--userid", "alice@example.org", "--cipher-suite", suite, "--export", key)
			secret, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			cert := run(t, secret, "sq", "key", "extract-cert", "--binary")
			sealFor(t, cert, func(msg []byte) []byte { return run(t, msg, "sq", "decrypt", "--recipient-key", key) })
		})
	}
}

// sealFor seals to a certificate that another program made, and has it opened.
func sealFor(t *testing.T, cert []byte, open func([]byte) []byte) {
	t.Helper()
	c, err := ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range interopSizes {
		plaintext := randomBytes(size)
		msg, err := c.Seal(plaintext, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got := open(msg); !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: opened to %d", size, len(got))
		}
	}
}
