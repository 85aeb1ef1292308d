package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// TestKeyAsksPastTheCache shows what --new is to the account's node.
func TestKeyAsksPastTheCache(t *testing.T) {
	ca := newCA(t)
	p := newPatient(t, issueFor(t, ca, time.Hour, "node.example"))
	p.answers[tipt.RequestSignIn] = func() []byte {
		return tipt.SignInResponse{Address: "kim@node.example"}.Append(nil)
	}
	p.answers[tipt.RequestGetNodeKey] = func() []byte {
		return tipt.GetNodeKeyResponse{Key: p.key.Certificate()}.Append(nil)
	}
	address := tipt.Address{User: "kim", Node: "node.example"}
	account := &account{
		Address: address.String(), Device: "here", Token: make([]byte, 32), CA: string(ca.CertPEM()),
		Connect: p.start(t), address: address,
	}
	home := folder(t.TempDir())
	if err := home.save(account); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TIPT_CONFIG", string(home))
	certificate, err := seal.ParseCertificate(p.key.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	text, err := certificate.Armor()
	if err != nil {
		t.Fatal(err)
	}
	want := certificate.Fingerprint() + "\n\n" + text
	for _, args := range [][]string{{"key", "node.example"}, {"key", "--new", "node.example"}} {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = out.Close() }() // it is read by its name
		var errs bytes.Buffer
		if status := run(t.Context(), args, streams{out: out, err: &errs}); status != 0 {
			t.Fatalf("%q: exit status %d: %s", args, status, &errs)
		}
		if got, err := os.ReadFile(out.Name()); err != nil || string(got) != want {
			t.Errorf("%q: printed %q, %v, want %q", args, got, err, want)
		}
		p.mu.Lock()
		var asked tipt.GetNodeKeyRequest
		err = asked.Parse(p.asked[tipt.RequestGetNodeKey], false)
		p.mu.Unlock()
		if want := len(args) == 3; err != nil || asked.New != want || asked.Node != "node.example" {
			t.Errorf("%q: asked %+v, %v, want new %v", args, asked, err, want)
		}
	}
}
