package account_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cheap is the least that argon2id can cost.
var cheap = account.HashCost{Memory: 8, Time: 1, Threads: 1}

var home = netip.MustParseAddr("192.0.2.7")

// A spy is a store that tells of reads before they return.
type spy struct {
	store.Store
	read func(what string)
}

func (s *spy) tell(what string) {
	if s.read != nil {
		s.read(what)
	}
}

func (s *spy) User(ctx context.Context, name tipt.UserName) (store.User, error) {
	u, err := s.Store.User(ctx, name)
	s.tell("User")
	return u, err
}

func (s *spy) UserByID(ctx context.Context, id store.UserID) (store.User, error) {
	u, err := s.Store.UserByID(ctx, id)
	s.tell("UserByID")
	return u, err
}

func (s *spy) Device(ctx context.Context, user store.UserID, name string) (store.Device, error) {
	d, err := s.Store.Device(ctx, user, name)
	s.tell("Device")
	return d, err
}

// node is the accounts of a node over a real store.
type node struct {
	*account.Accounts
	store *spy
}

func newNode(t testing.TB, o account.Options) *node {
	t.Helper()
	db, err := sqlite.Open(t.TempDir(), sqlite.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	s := &spy{Store: db}
	c := store.NewCommitter(s, store.CommitterOptions{})
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error("committer:", err)
		}
		if err := db.Close(); err != nil {
			t.Error("close the store:", err)
		}
	})
	o.Node = "node.example"
	if o.Hash == (account.HashCost{}) {
		o.Hash = cheap
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &node{account.New(s, c, o), s}
}

func (n *node) register(t testing.TB, user, pass string) store.UserID {
	t.Helper()
	if err := n.Register(t.Context(), tipt.RegisterRequest{User: user, Password: pass}); err != nil {
		t.Fatalf("register %s: %v", user, err)
	}
	u, err := n.Lookup(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

func byPassword(user, device, pass string) tipt.SignInRequest {
	return tipt.SignInRequest{User: user, Device: device, Password: pass, Receive: true}
}

func byToken(user, device string, token []byte) tipt.SignInRequest {
	return tipt.SignInRequest{User: user, Device: device, Token: token, HasToken: true, Receive: true}
}

func nobodyOnline(account.SignedIn) ([]string, error) { return nil, nil }

func (n *node) signIn(t testing.TB, req tipt.SignInRequest) account.SignedIn {
	t.Helper()
	in, err := n.SignIn(t.Context(), req, home, nobodyOnline)
	if err != nil {
		t.Fatalf("sign in %s on %s: %v", req.User, req.Device, err)
	}
	return in
}

// want fails unless err has that code; 0xff stands for no error.
func want(t testing.TB, what string, err error, code tipt.ErrorCode) {
	t.Helper()
	var coded *tipt.Error
	switch {
	case code == none && err == nil:
	case errors.As(err, &coded) && coded.Code == code:
	default:
		t.Errorf("%s: %v, want code %v", what, err, code)
	}
}

const none tipt.ErrorCode = 0xff

func TestLookup(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	gone := n.register(t, "gone", "correct horse")
	if err := n.DeleteAccount(t.Context(), gone, tipt.DeleteAccountRequest{Password: "correct horse"}, home); err != nil {
		t.Fatal(err)
	}

	u, err := n.Lookup(t.Context(), "ALICE")
	if err != nil || u.ID != id || u.Name != "alice" {
		t.Errorf("an unmapped name: %v, %v", u, err)
	}
	for _, name := range []string{"bob", "gone"} {
		if _, err := n.Lookup(t.Context(), name); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
	_, err = n.Lookup(t.Context(), "no/name")
	want(t, "no name", err, tipt.ErrNameInvalid)
}

func TestKey(t *testing.T) {
	n := newNode(t, account.Options{})
	id := n.register(t, "alice", "correct horse")
	for _, key := range [][]byte{nil, []byte("certificate"), nil} {
		if err := n.SetKey(t.Context(), id, key); err != nil {
			t.Fatal(err)
		}
		user, err := n.Lookup(t.Context(), "Alice")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(key, user.Key); diff != "" {
			t.Error(diff)
		}
	}
}

func TestList(t *testing.T) {
	n := newNode(t, account.Options{})
	for _, name := range []string{"carol", "alice", "bob"} {
		n.register(t, name, "correct horse")
	}
	var names []tipt.UserName
	users, err := n.List(t.Context(), "alice", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		names = append(names, u.Name)
	}
	if diff := cmp.Diff([]tipt.UserName{"bob"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestRegisterOrder(t *testing.T) {
	const pass = "correct horse"
	invite := func(s string) func(*tipt.RegisterRequest) {
		return func(r *tipt.RegisterRequest) { r.Invite, r.HasInvite = s, true }
	}
	long := strings.Repeat("x", 65)
	for _, test := range []struct {
		name         string
		registration tipt.Registration
		user, pass   string
		invite       func(*tipt.RegisterRequest)
		want         tipt.ErrorCode
	}{
		{"closed comes first", tipt.RegistrationClosed, "", "", invite(long), tipt.ErrRegistrationClosed},
		{"closed to invited ones, too", tipt.RegistrationClosed, "new", pass, invite("GOOD"), tipt.ErrRegistrationClosed},
		{"invitation before name", tipt.RegistrationInvite, "", "", nil, tipt.ErrInviteInvalid},
		{"unknown invitation", tipt.RegistrationInvite, "", "", invite("BAD"), tipt.ErrInviteInvalid},
		{"empty invitation", tipt.RegistrationInvite, "", "", invite(""), tipt.ErrInviteInvalid},
		{"long invitation", tipt.RegistrationInvite, "", "", invite(long), tipt.ErrInviteInvalid},
		{"long invitation where none is needed", tipt.RegistrationOpen, "", "", invite(long), tipt.ErrInviteInvalid},
		{"empty invitation where none is needed", tipt.RegistrationOpen, "", "", invite(""), tipt.ErrInviteInvalid},
		{"name before password", tipt.RegistrationInvite, "no/name", "", invite("GOOD"), tipt.ErrNameInvalid},
		{"empty name", tipt.RegistrationOpen, "", "", nil, tipt.ErrNameInvalid},
		{"long name", tipt.RegistrationOpen, long, "", nil, tipt.ErrNameInvalid},
		{"password before taken name", tipt.RegistrationInvite, "taken", "7 bytes", invite("GOOD"), tipt.ErrPasswordInvalid},
		{"long password", tipt.RegistrationOpen, "taken", strings.Repeat("x", 256), nil, tipt.ErrPasswordInvalid},
		{"taken name", tipt.RegistrationInvite, "Taken", pass, invite("GOOD"), tipt.ErrNameTaken},
		{"name of a deleted account", tipt.RegistrationOpen, "gone", pass, nil, tipt.ErrNameTaken},
		{"unknown invitation where none is needed", tipt.RegistrationOpen, "new", pass, invite("BAD"), none},
		{"shortest password", tipt.RegistrationOpen, "new", "8 bytes.", nil, none},
		{"longest password", tipt.RegistrationOpen, "new", strings.Repeat("x", 255), nil, none},
		{"invited", tipt.RegistrationInvite, "new", pass, invite("GOOD"), none},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, account.Options{Registration: test.registration})
			good := store.AddInvite{Hash: sha256.Sum256([]byte("GOOD"))}
			taken := store.CreateUser{Name: "taken", Password: "-"}
			gone := store.CreateUser{Name: "gone", Password: "-"}
			commit(t, n, &good, &taken, &gone)
			commit(t, n, &store.DeleteUser{User: gone.ID})

			req := tipt.RegisterRequest{User: test.user, Password: test.pass}
			if test.invite != nil {
				test.invite(&req)
			}
			err := n.Register(t.Context(), req)
			want(t, "REGISTER", err, test.want)
			wantHashes := int64(0)
			if test.want == none {
				wantHashes = 1
				n.signIn(t, byPassword(test.user, "phone", test.pass))
				wantHashes++
			}
			if n.Hashes() != wantHashes {
				t.Errorf("%d hashes, want %d", n.Hashes(), wantHashes)
			}
			// Only a success uses the invitation, and only where one is needed.
			used := test.want == none && test.registration == tipt.RegistrationInvite
			if err := n.store.Invite(t.Context(), good.Hash); errors.Is(err, store.ErrNotFound) != used {
				t.Errorf("the invitation afterwards: %v, want it used: %v", err, used)
			}
		})
	}
}

func commit(t testing.TB, n *node, ops ...store.Op) {
	t.Helper()
	if err := n.store.Commit(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
}

func TestInviteServesOnce(t *testing.T) {
	n := newNode(t, account.Options{Registration: tipt.RegistrationInvite})
	invite, err := n.NewInvite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(invite) {
		t.Errorf("invitation %q is not what can be pasted", invite)
	}
	if n.store.Invite(t.Context(), sha256.Sum256([]byte(invite))) != nil {
		t.Error("the invitation is not stored as its SHA-256")
	}
	var wg sync.WaitGroup
	var errs [8]error
	for i := range errs {
		wg.Go(func() {
			errs[i] = n.Register(t.Context(), tipt.RegisterRequest{
				User: "user" + string(rune('a'+i)), Password: "correct horse", Invite: invite, HasInvite: true,
			})
		})
	}
	wg.Wait()
	success := 0
	for _, err := range errs {
		if err == nil {
			success++
			continue
		}
		want(t, "one too many", err, tipt.ErrInviteInvalid)
	}
	if success != 1 {
		t.Errorf("%d registered with one invitation", success)
	}
}

func TestNameIsTakenOnce(t *testing.T) {
	n := newNode(t, account.Options{})
	var wg sync.WaitGroup
	var errs [8]error
	for i := range errs {
		wg.Go(func() {
			errs[i] = n.Register(t.Context(), tipt.RegisterRequest{User: "alice", Password: "correct horse"})
		})
	}
	wg.Wait()
	success := 0
	for _, err := range errs {
		if err == nil {
			success++
			continue
		}
		want(t, "second", err, tipt.ErrNameTaken)
	}
	if success != 1 {
		t.Errorf("%d registered one name", success)
	}
}
