//go:build external

package vectors

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
