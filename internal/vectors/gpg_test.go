//go:build external

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tipt/tipt-go"
)

// GnuPG, which no code here stands behind, opens those of the sealed vectors that its version
// knows: SEIPD 1, to a Curve25519 subkey.
func TestSealedVectorsWithGnuPG(t *testing.T) {
	dir := t.TempDir()
	gpg := func(input []byte, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), "gpg", append([]string{"--homedir", dir, "--batch", "--quiet", "--no-permission-warning"}, args...)...)
		cmd.Stdin = bytes.NewReader(input)
		return cmd.Output()
	}
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", dir, "--kill", "all").Run() }) // its agent
	r := newRing(t)
	if _, err := gpg(r.keys[0].Secret, "--import"); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, v := range sealedVectors(t, r) {
		if v.Name != "SEIPD 1" && v.Name != "hidden recipient, SEIPD 1" && v.Name != "another node's, SEIPD 1" {
			continue
		}
		file := filepath.Join(dir, "msg")
		if err := os.WriteFile(file, v.Msg, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := gpg(nil, "--decrypt", file)
		tried++
		if (err != nil) != (v.Error != "") || !bytes.Equal(got, v.Plain) {
			t.Errorf("%s: opened to %x, %v", v.Name, got, err)
		}
	}
	if tried != 3 {
		t.Errorf("%d tried", tried)
	}
}

// GnuPG finds out the same about end-to-end messages, as far as it knows of intended recipients: it does
// not mind who they are.
func TestEndToEndVectorsWithGnuPG(t *testing.T) {
	dir := t.TempDir()
	gpg := func(input []byte, args ...string) (stdout, stderr []byte, err error) {
		cmd := exec.CommandContext(t.Context(), "gpg", append([]string{"--homedir", dir, "--batch", "--no-permission-warning", "--faked-system-time", strconv.FormatInt(clock.Unix(), 10)}, args...)...)
		cmd.Stdin = bytes.NewReader(input)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		stdout, err = cmd.Output()
		return stdout, errs.Bytes(), err
	}
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", dir, "--kill", "all").Run() }) // its agent
	r := newRing(t)
	for _, k := range r.keys {
		b := k.Certificate
		if k.Name == "bob" {
			b = k.Secret
		}
		if _, errs, err := gpg(b, "--import"); k.User != "" && err != nil {
			t.Fatalf("%s: %v\n%s", k.Name, err, errs)
		}
	}
	wanted := map[string]string{
		"signed, SEIPD 1":                                "GOODSIG",
		"not signed, SEIPD 1":                            "DECRYPTION_OKAY",
		"for somebody else":                              "GOODSIG",
		"a signature over other words":                   "BADSIG",
		"signed by the revoked subkey":                   "REVKEYSIG",
		"sealed to somebody else":                        "NO_SECKEY",
		"a byte changed":                                 "DECRYPTION_FAILED",
		"signed by the primary key":                      "ERRSIG",
		"signed by somebody else":                        "GOODSIG",
		"signed by a subkey without cross-certification": "ERRSIG",
	}
	for _, v := range endToEndVectors(t, r) {
		want := wanted[v.Name]
		if want == "" {
			continue
		}
		var content tipt.Content
		if err := content.Parse(v.Msg); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "msg")
		if err := os.WriteFile(file, content.Sealed, 0o600); err != nil {
			t.Fatal(err)
		}
		got, said, _ := gpg(nil, "--status-fd", "2", "--decrypt", file) // its status is not for what the signature is
		if !bytes.Contains(said, []byte("[GNUPG:] "+want)) || want == "DECRYPTION_OKAY" && bytes.Contains(said, []byte("SIG ")) || v.Error == "" && !bytes.Equal(got, v.Plain) {
			t.Errorf("%s: opened to %x, want %s:\n%s", v.Name, got, want, said)
		}
		delete(wanted, v.Name)
	}
	if len(wanted) > 0 {
		t.Errorf("there are none of %v", wanted)
	}
}
