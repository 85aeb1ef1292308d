package seal

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSign(t *testing.T) {
	now := time.Now()
	key, err := NewNodeKey("node.example", now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseNodeKey(key.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ParseCertificate(key.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	signature, id := again.Sign([]byte("data")), again.SigningKeyID()
	public, err := cert.SigningKey(id, now)
	if err != nil {
		t.Fatal(err)
	}
	if !ed25519.Verify(public, []byte("data"), signature) {
		t.Error("the signature does not verify")
	}
	if ed25519.Verify(public, []byte("Data"), signature) {
		t.Error("the signature verifies other data")
	}
	if _, err := cert.SigningKey(strings.ToUpper(id), now); !errors.Is(err, ErrNoSigningKey) {
		t.Errorf("upper-case fingerprint: %v", err)
	}
	if _, err := cert.SigningKey(cert.Fingerprint(), now); err == nil || errors.Is(err, ErrNoSigningKey) {
		t.Errorf("the primary key: %v", err)
	}
	before := now.Add(-maxAhead - clockSkew)
	if _, err := cert.SigningKey(id, before.Add(time.Second)); err != nil {
		t.Errorf("by a clock that is behind: %v", err)
	}
	if _, err := cert.SigningKey(id, before.Add(-time.Second)); err == nil {
		t.Error("a subkey was taken long before it was made")
	}
	for _, subkey := range cert.entity.Subkeys {
		other := hex.EncodeToString(subkey.PublicKey.Fingerprint)
		if other == id {
			continue
		}
		if _, err := cert.SigningKey(other, now); err == nil || errors.Is(err, ErrNoSigningKey) {
			t.Errorf("the encryption subkey: %v", err)
		}
	}
}
