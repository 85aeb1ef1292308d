package node_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/seal"
)

// admin sends a request to the admin socket of a node and decodes the answer.
func admin(t *testing.T, n *tipttest.Node, method, path string, answer any) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(n.Dir, node.AdminSocket))
		},
	}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://node"+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// TestRotateWhileRunning changes the keys of two nodes: what is sealed to the old one, and
// what is signed by the new one, goes through. (Had one fetched the other's certificate within
// the minute before, it would answer 503 for the rest of that: section 5.4.)
func TestRotateWhileRunning(t *testing.T) {
	a, b := newTwo(t)
	alice, bob := signIn(t, a, "alice"), signIn(t, b, "bob")
	send := func(text string) {
		t.Helper()
		alice.Ask(1, tipt.RequestForward, b.Message(t, "bob", tipt.NewMessageID(), text, false))
		alice.WantReply(1)
		id, d := bob.WantDeliver()
		if string(d.Message) != text {
			t.Errorf("delivered %q, want %q", d.Message, text)
		}
		bob.Answer(id, nil)
		bob.WantQuiet(9) // it is taken
	}
	for _, n := range []*tipttest.Node{a, b} {
		for _, change := range []node.KeyChange{node.KeyRotate, node.KeyAddMLKEM} {
			var answer node.AdminKey
			if status := admin(t, n, http.MethodPost, "/key/"+string(change), &answer); status != http.StatusOK {
				t.Fatalf("%s: status %d", change, status)
			}
			cert, err := seal.ParseCertificate(answer.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			old, err := seal.ParseCertificate(n.Certificate())
			if err != nil {
				t.Fatal(err)
			}
			if cert.Fingerprint() != old.Fingerprint() || string(cert.Bytes()) == string(old.Bytes()) {
				t.Errorf("%s: the certificate is another's, or as it was", change)
			}
		}
	}
	send("sealed to the old key") // which n.Certificate is still
	b.Restart(t)                  // reads the new one
	bob = signIn(t, b, "bob")
	send("sealed to the new key")
}

func TestAdminRefusesNonsense(t *testing.T) {
	n := tipttest.Start(t)
	for _, test := range []struct {
		method, path string
		status       int
		want         string
	}{
		{http.MethodPost, "/key/polish", http.StatusBadRequest, "polish"},
		{http.MethodPost, "/users/nobody/disable", http.StatusNotFound, "nobody"},
		{http.MethodPost, "/users/no%20name/disable", http.StatusBadRequest, "NAME_INVALID"},
		{http.MethodPost, "/queue/other.example/retry", http.StatusNotFound, "other.example"},
		{http.MethodPost, "/queue/no%20name/hold", http.StatusBadRequest, "NODE_INVALID"},
	} {
		var answer node.AdminError
		status := admin(t, n, test.method, test.path, &answer)
		if status != test.status || !strings.Contains(answer.Error, test.want) {
			t.Errorf("%s: %d %q, want %d and %q", test.path, status, answer.Error, test.status, test.want)
		}
	}
}
