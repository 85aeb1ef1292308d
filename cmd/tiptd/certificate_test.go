package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// shown returns the certificate that the node shows now.
func shown(t *testing.T, d *tipttest.Daemon, addr string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: string(d.Name), RootCAs: d.CA.Pool(), MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
}

// until repeats something until it is so.
func until(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(patience); !isSo(); <-look.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// wantWarning waits until the node has taken a look at a certificate that it does not take,
// and goes on showing another.
func wantWarning(t *testing.T, d *tipttest.Daemon, p *tipttest.Process, still []byte, warning string) {
	t.Helper()
	until(t, "the log has "+warning, func() bool {
		if !bytes.Equal(shown(t, d, p.Addr), still) {
			t.Fatal("another certificate is shown")
		}
		return strings.Contains(p.Log(), warning)
	})
}

// A renewed certificate is served without a restart, and neither a broken one nor one of another name
// replaces it.
func TestCertificateRenewed(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	register(t, d, p.Addr, "ada")
	ada := signIn(t, d, p.Addr, "ada", nil)
	first := shown(t, d, p.Addr)

	d.Renew(t)
	until(t, "the new certificate is shown", func() bool { return !bytes.Equal(shown(t, d, p.Addr), first) })
	second := shown(t, d, p.Addr)

	write(t, d.Cert, "half a certif")
	wantWarning(t, d, p, second, "level=WARN")

	elsewhere := *d
	elsewhere.Name = "elsewhere.example"
	elsewhere.Renew(t)
	wantWarning(t, d, p, second, "is for elsewhere.example, not node.example")
	if err := os.Remove(d.Key); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shown(t, d, p.Addr), second) {
		t.Error("another certificate is shown")
	}

	d.Renew(t)
	until(t, "the third certificate is shown", func() bool { return !bytes.Equal(shown(t, d, p.Addr), second) })
	if err := ada.send("ada", []byte("still here")); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
}
