package devca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestIssue(t *testing.T) {
	ca, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		life  time.Duration
		name  string
		valid bool
	}{
		{time.Hour, "node.example", true},
		{time.Hour, "other.example", false},
		{-time.Minute, "node.example", false},
	} {
		encoded, _, err := ca.IssueFor(test.life, "node.example")
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(encoded)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		_, err = cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: test.name})
		if (err == nil) != test.valid {
			t.Errorf("life %v, name %s: %v", test.life, test.name, err)
		}
	}
}

func TestOpenKeepsTheAuthority(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authority.pem")
	first, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.CertPEM(), second.CertPEM()) {
		t.Error("another authority at the second start")
	}
	encoded, _, err := second.Issue("node.example")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(encoded)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: first.Pool(), DNSName: "node.example"}); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o", info.Mode().Perm())
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("nonsense was taken")
	}
}
