package account_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
)

// busy fails unless err is BUSY and says how long.
func busy(t *testing.T, what string, err error, wait time.Duration) {
	t.Helper()
	var coded *tipt.Error
	if !errors.As(err, &coded) || coded.Code != tipt.ErrBusy || coded.Wait != wait {
		t.Errorf("%s: %v, want BUSY for %v", what, err, wait)
	}
}

func TestWrongPasswordsWait(t *testing.T) {
	for _, test := range []struct{ name, user, alias string }{
		{"known user", "alice", "ALICE"},
		{"unknown user", "bob", "Bob"},
		{"no name", "no/name", "no/name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, account.Options{})
				n.register(t, "alice", "correct horse")
				n.register(t, "carol", "correct horse")
				token := n.signIn(t, byPassword("alice", "phone", "correct horse")).Token
				fail := func(user string, from netip.Addr) error {
					_, err := n.SignIn(t.Context(), byPassword(user, "phone", "wrong"), from, nobodyOnline)
					return err
				}
				for range 5 {
					want(t, "one of the first five", fail(test.user, home), tipt.ErrCredentials)
				}
				for _, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
					before := n.Hashes()
					for range 3 {
						busy(t, "at once", fail(test.alias, home), wait)
						busy(t, "from a neighbour", fail(test.user, netip.MustParseAddr("192.0.2.200")), wait)
					}
					time.Sleep(wait - time.Millisecond)
					busy(t, "too early", fail(test.user, home), time.Millisecond)
					if n.Hashes() != before {
						t.Error("one that had to wait was hashed")
					}

					want(t, "from elsewhere", fail(test.user, netip.MustParseAddr("198.51.100.7")), tipt.ErrCredentials)
					n.signIn(t, byPassword("carol", "phone", "correct horse"))
					n.signIn(t, byToken("alice", "phone", token))

					time.Sleep(time.Millisecond)
					want(t, "after the wait", fail(test.user, home), tipt.ErrCredentials)
				}
			})
		})
	}
}

func TestRightPasswordEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, account.Options{})
		n.register(t, "alice", "correct horse")
		for range 2 {
			for range 5 {
				_, err := n.SignIn(t.Context(), byPassword("alice", "phone", "wrong"), home, nobodyOnline)
				want(t, "wrong password", err, tipt.ErrCredentials)
			}
			_, err := n.SignIn(t.Context(), byPassword("alice", "phone", "correct horse"), home, nobodyOnline)
			busy(t, "right password", err, time.Second)
			time.Sleep(time.Second)
			n.signIn(t, byPassword("alice", "phone", "correct horse"))
		}
	})
}

func TestAllPasswordsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, account.Options{})
		id := n.register(t, "alice", "correct horse")
		signIn := func() error {
			_, err := n.SignIn(t.Context(), byPassword("alice", "phone", "wrong"), home, nobodyOnline)
			return err
		}
		setPassword := func() error {
			return n.SetPassword(t.Context(), id, "", tipt.SetPasswordRequest{Old: "wrong", New: "battery staple"}, home)
		}
		deleteAccount := func() error {
			return n.DeleteAccount(t.Context(), id, tipt.DeleteAccountRequest{Password: "wrong"}, home)
		}
		for _, try := range []func() error{signIn, setPassword, deleteAccount, setPassword, deleteAccount} {
			want(t, "one of the first five", try(), tipt.ErrCredentials)
		}
		before := n.Hashes()
		for _, try := range []func() error{signIn, setPassword, deleteAccount} {
			busy(t, "the sixth", try(), time.Second)
		}
		if n.Hashes() != before {
			t.Error("one that had to wait was hashed")
		}
	})
}

func TestGuessesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, account.Options{})
		n.register(t, "alice", "correct horse")
		before := n.Hashes()
		var credentials, refused atomic.Int64
		var all sync.WaitGroup
		for range 30 {
			all.Go(func() {
				_, err := n.SignIn(t.Context(), byPassword("alice", "phone", "wrong"), home, nobodyOnline)
				switch {
				case errors.Is(err, tipt.ErrCredentials):
					credentials.Add(1)
				case errors.Is(err, tipt.ErrBusy):
					refused.Add(1)
				default:
					t.Errorf("SIGN_IN: %v", err)
				}
			})
		}
		all.Wait()
		if credentials.Load() != 5 || refused.Load() != 25 || n.Hashes()-before != 5 {
			t.Errorf("of 30 guesses %d were answered CREDENTIALS, %d BUSY, with %d hashes; want 5, 25 and 5",
				credentials.Load(), refused.Load(), n.Hashes()-before)
		}
	})
}

func TestWrongPasswordsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		n := newNode(t, account.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		n.register(t, "alice", "correct horse")
		for range 7 {
			for _, user := range []string{"alice", "bob"} {
				_, err := n.SignIn(t.Context(), byPassword(user, "phone", "secret guess"), home, nobodyOnline)
				want(t, "wrong password", err, tipt.ErrCredentials)
			}
			time.Sleep(2 * time.Second)
		}
		got := log.String()
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, "user=alice") {
			t.Errorf("logged %q, want one line on alice", got)
		}
		if strings.Contains(got, home.String()) || strings.Contains(got, "secret") {
			t.Errorf("logged %q", got)
		}
	})
}

func TestNoLimits(t *testing.T) {
	n := newNode(t, account.Options{NoLimits: true})
	for range 20 {
		_, err := n.SignIn(t.Context(), byPassword("alice", "phone", "wrong"), home, nobodyOnline)
		want(t, "wrong password", err, tipt.ErrCredentials)
	}
}
