package account_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
)

// An abacus is an Evaluator that remembers what it was given.
type abacus struct {
	mu        sync.Mutex // guards the following fields
	passwords [][]byte   // not copies
	given     []string
}

func (e *abacus) Argon2id(password, salt []byte, cost account.HashCost, size int) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.passwords = append(e.passwords, password)
	e.given = append(e.given, string(password))
	return account.Argon2id(password, salt, cost, size)
}

// Every password is hashed by the evaluator that was given, and not kept where that has seen it.
func TestEvaluator(t *testing.T) {
	e := new(abacus)
	n := newNode(t, account.Options{Evaluator: e})
	id := n.register(t, "alice", "correct horse")
	n.signIn(t, byPassword("alice", "phone", "correct horse"))
	for _, user := range []string{"alice", "nobody"} {
		_, err := n.SignIn(t.Context(), byPassword(user, "phone", "wrong"), home, nobodyOnline)
		want(t, user, err, tipt.ErrCredentials)
	}
	change := tipt.SetPasswordRequest{Old: "correct horse", New: "battery staple"}
	if err := n.SetPassword(t.Context(), id, "", change, home); err != nil {
		t.Fatal(err)
	}
	all := []string{"correct horse", "correct horse", "wrong", "wrong", "correct horse", "battery staple"}
	if len(e.given) != len(all) || int64(len(all)) != n.Hashes() {
		t.Fatalf("it was given %q, and %d were counted, want %q", e.given, n.Hashes(), all)
	}
	for i, password := range all {
		if e.given[i] != password {
			t.Errorf("%d: %q, want %q", i, e.given[i], password)
		}
		if !bytes.Equal(e.passwords[i], make([]byte, len(password))) {
			t.Errorf("%d: %q is left behind", i, e.passwords[i])
		}
	}
}
