//go:build !race

package seal

import "testing"

// TestAllocations pins what a message of 300 bytes costs, exactly; the race detector, which adds
// to it, leaves this file out. Most of it is the library's.
func TestAllocations(t *testing.T) {
	keys := testKeys(t)
	for name, want := range map[string]struct{ seal, open, sealReused, openReused float64 }{
		"version 2": {seal: 55, open: 53, sealReused: 28, openReused: 30},
		"version 1": {seal: 33, open: 29, sealReused: 33, openReused: 29}, // which never uses one again
		"ML-KEM":    {seal: 46, open: 47, sealReused: 28, openReused: 30},
	} {
		k := keys[name]
		c := certificateOf(t, k)
		plaintext := make([]byte, 300)
		msg := mustSeal(t, c, plaintext)
		sealer, opener := c.NewSealer(), NewOpener(k)
		alice := user("a.example", 1)
		reusing, err := sealer.Seal(plaintext, testTime)
		if err != nil {
			t.Fatal(err)
		}
		for _, measured := range []struct {
			what string
			want float64
			f    func() error
		}{
			{"seal", want.seal, func() error { _, err := c.Seal(plaintext, testTime); return err }},
			{"open", want.open, func() error { _, err := k.Open(msg, testTime); return err }},
			{"seal with a session key again", want.sealReused, func() error { _, err := sealer.Seal(plaintext, testTime); return err }},
			{"open one with a session key that is kept", want.openReused, func() error { _, err := opener.Open(reusing, alice, testTime); return err }},
		} {
			got := testing.AllocsPerRun(100, func() {
				if err := measured.f(); err != nil {
					t.Fatal(err)
				}
			})
			if got != measured.want {
				t.Errorf("%s, %s: %v allocations, want %v", name, measured.what, got, measured.want)
			}
		}
	}
}
