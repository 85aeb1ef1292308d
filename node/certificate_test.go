package node

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/devca"
)

// A certificate that is of no use is refused, and one that becomes so while it is in use
// is complained about once.
func TestCertificateOfNoUse(t *testing.T) {
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	issue := func(life time.Duration, names ...string) {
		cert, key, err := ca.IssueFor(life, names...)
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var written bytes.Buffer
	log := slog.New(slog.NewTextHandler(&written, nil))
	for _, tt := range []struct {
		life  time.Duration
		names []string
		want  string
	}{
		{time.Hour, []string{"other.example"}, "is for other.example, not node.example"},
		{time.Hour, []string{"a.example", "b.example", "c.example", "d.example", "e.example"}, "is for a.example, b.example, c.example and 2 more, not node.example"},
		{time.Hour, []string{"*.node.example"}, "is for *.node.example, not node.example"},
		{-time.Minute, []string{"node.example"}, "expired on "},
	} {
		issue(tt.life, tt.names...)
		if _, err := LoadCertificate("node.example", certFile, keyFile, log); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("for %v, %v: %v, want %q", tt.names, tt.life, err, tt.want)
		}
	}

	issue(time.Hour, "*.example", "other.example")
	c, err := LoadCertificate("node.example", certFile, keyFile, log)
	if err != nil {
		t.Fatal(err)
	}
	first := c.current(time.Now())
	for i, want := range []int{0, 1, 1} {
		now := time.Now().Add(time.Duration(i) * 2 * time.Hour)
		if c.current(now) != first {
			t.Error("another certificate is shown")
		}
		if got := strings.Count(written.String(), "has expired"); got != want {
			t.Errorf("after %d hours, %d complaints, want %d:\n%s", 2*i, got, want, written.String())
		}
	}
	if err := c.check(first.Leaf, time.Now().Add(-2*time.Hour)); err == nil || !strings.Contains(err.Error(), "valid only from") {
		t.Errorf("before its time: %v", err)
	}
}
