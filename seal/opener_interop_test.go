//go:build external

package seal

import (
	"testing"
	"time"
)

// What gpg and sq make opens through an Opener as it does without, and since it is SEIPD version 1
// nothing of it is kept.
func TestOpenerFromOthers(t *testing.T) {
	g := newGPG(t)
	k := interopKey(t)
	o := NewOpener(k)
	cert := writeFile(t, k.Certificate())
	for name, msg := range map[string][]byte{
		"gpg":                     g.run(t, []byte("hello"), "--recipient-file", cert, "--encrypt"),
		"gpg, hidden recipient":   g.run(t, []byte("hello"), "--hidden-recipient-file", cert, "--encrypt"),
		"gpg, several":            g.run(t, []byte("hello"), "--recipient-file", writeFile(t, interopKey(t).Certificate()), "--recipient-file", cert, "--encrypt"),
		"sq":                      run(t, []byte("hello"), "sq", "encrypt", "--binary", "--recipient-cert", cert),
		"sq, without its padding": run(t, []byte("hello"), "sq", "encrypt", "--binary", "--compression", "none", "--recipient-cert", cert),
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				wantOpen(t, o, msg, alice, "hello", time.Now())
				wantKept(t, o, 0)
			}
			checkVerdict(t, k, msg, time.Now())
		})
	}
}

// A Sealer to what gpg and sq made seals so that they open it.
func TestSealerForOthers(t *testing.T) {
	g := newGPG(t)
	g.run(t, nil, "--quick-gen-key", "alice@example.org", "future-default")
	c, err := ParseCertificate(g.run(t, nil, "--export"))
	if err != nil {
		t.Fatal(err)
	}
	s := c.NewSealer()
	for _, want := range []string{"one", "two"} {
		msg, _ := sealWith(t, s, want, time.Now())
		if got := g.run(t, msg, "--decrypt"); string(got) != want {
			t.Errorf("gpg made %q of %q", got, want)
		}
	}
}
