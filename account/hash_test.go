package account

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tipt/tipt-go"
)

// reference is from the tests of argon2's reference implementation: the hash of
// "password" with the salt "somesalt".
const reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestHashReference(t *testing.T) {
	p, err := parseHash(reference)
	if err != nil {
		t.Fatal(err)
	}
	h := newHasher(inProcess{}, HashCost{}.orDefault())
	if !h.matches(p, "password") {
		t.Error("the right password does not match")
	}
	if h.matches(p, "passwore") {
		t.Error("a wrong password matches")
	}
}

func TestParseHash(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(reference, old, new, 1) }
	for _, test := range []struct {
		name, encoded string
		ok            bool
	}{
		{"reference", reference, true},
		{"most memory", replace("m=65536", "m=262144"), true},
		{"most passes", replace("t=2", "t=16"), true},
		{"most threads", replace("p=1", "p=16"), true},
		{"nothing", "", false},
		{"password of a deleted account", "-", false},
		{"too much memory", replace("m=65536", "m=262145"), false},
		{"memory of 33 bits", replace("m=65536", "m=4295032832"), false},
		{"no memory", replace("m=65536", "m=0"), false},
		{"negative memory", replace("m=65536", "m=-65536"), false},
		{"too many passes", replace("t=2", "t=17"), false},
		{"no passes", replace("t=2", "t=0"), false},
		{"too many threads", replace("p=1", "p=17"), false},
		{"no threads", replace("p=1", "p=0"), false},
		{"another function", replace("argon2id", "argon2i"), false},
		{"another version", replace("v=19", "v=16"), false},
		{"leading zero", replace("t=2", "t=02"), false},
		{"another order", replace("m=65536,t=2", "t=2,m=65536"), false},
		{"more parameters", replace("p=1", "p=1,keyid=x"), false},
		{"short salt", replace("c29tZXNhbHQ", "c29tc2FsdA"), false},
		{"long salt", replace("c29tZXNhbHQ", strings.Repeat("AAAA", 22)), false},
		{"short hash", replace("CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "CTFhFdXPJO1aFaMaO6Mm"), false},
		{"padded hash", reference + "=", false},
		{"hash with stray bits", strings.TrimSuffix(reference, "c") + "d", false},
		{"one field more", reference + "$", false},
		{"line feed", reference + "\n", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := parseHash(test.encoded)
			switch {
			case test.ok && err != nil:
				t.Error(err)
			case !test.ok && !errors.Is(err, errHashForm):
				t.Errorf("parsed as %+v, %v", p, err)
			}
		})
	}
}

func TestHasherIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(inProcess{}, HashCost{}.orDefault())
		workers := cap(h.slots)
		var releases []func()
		for range workers {
			release, err := h.acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		ctx, cancel := context.WithCancel(t.Context())
		type result struct {
			release func()
			err     error
		}
		results := make(chan result, waitingPerWorker*workers)
		for range cap(results) {
			go func() {
				release, err := h.acquire(ctx)
				results <- result{release, err}
			}()
		}
		synctest.Wait()
		if len(results) != 0 {
			t.Errorf("%d got a slot that is in use", len(results))
		}
		_, err := h.acquire(t.Context())
		var coded *tipt.Error
		if !errors.As(err, &coded) || coded.Code != tipt.ErrBusy || coded.Wait <= 0 {
			t.Errorf("one too many: %v", err)
		}

		releases[0]()
		synctest.Wait()
		if len(results) != 1 {
			t.Fatalf("%d got the slot that is free", len(results))
		}
		if r := <-results; r.err != nil {
			t.Error(r.err)
		}

		cancel()
		synctest.Wait()
		for range cap(results) - 1 {
			if r := <-results; !errors.Is(r.err, context.Canceled) {
				t.Errorf("one that left: %v", r.err)
			}
		}
		if waiting := h.waiting.Load(); waiting != 0 {
			t.Errorf("%d are still waiting", waiting)
		}
	})
}

// Half of the processors stay free for what takes no password.
func TestHashesAtOnce(t *testing.T) {
	for processors, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 16: 8, 64: 8} {
		if got := hashesAtOnce(processors); got != want {
			t.Errorf("%d on %d processors, want %d", got, processors, want)
		}
	}
}
