package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
	"github.com/tipt/tipt-go/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T, dir string) store.Store {
		return open(t, dir, sqlite.Options{Logger: noLog(t)})
	})
}

// noLog is a logger for a store that should have nothing to say.
func noLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(noWriter{t}, nil)) }

type noWriter struct{ t *testing.T }

func (w noWriter) Write(b []byte) (int, error) {
	w.t.Errorf("the store logs %s", b)
	return len(b), nil
}

func open(t *testing.T, dir string, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

func commit(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
}

// newUser makes a user with a device that receives.
func newUser(t *testing.T, s store.Store) store.UserID {
	t.Helper()
	o := &store.CreateUser{Name: "alice", Time: time.Now()}
	commit(t, s, o)
	commit(t, s, &store.SignIn{User: o.ID, Device: "phone", Receive: true, Time: time.Now(), MaxDevices: 32})
	return o.ID
}

func message(user store.UserID, n, size int) *store.Append {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i * (n + 1))
	}
	return &store.Append{User: user, From: "bob@example.org", ID: tipt.NewMessageID(), Time: time.Now(), Body: body}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error is %q, want one with %q", err, p)
		}
	}
}

func TestOpenLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, sqlite.Options{})
	_, err := sqlite.Open(dir, sqlite.Options{})
	wantError(t, err, dir, "in use by process "+strconv.Itoa(os.Getpid()))
	if !errors.Is(err, sqlite.ErrInUse) {
		t.Errorf("%v is not ErrInUse", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, sqlite.Options{})
}

func TestOpenModes(t *testing.T) {
	mode := func(path string) fs.FileMode {
		t.Helper()
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return fi.Mode().Perm()
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "not", "there", "yet")
	s := open(t, dir, sqlite.Options{})
	newUser(t, s)
	for path, want := range map[string]fs.FileMode{"": 0o700, "blobs": 0o700, "tipt.db": 0o600, "tipt.db-wal": 0o600, "tipt.db-shm": 0o600, "lock": 0o600} {
		if got := mode(filepath.Join(dir, path)); got != want {
			t.Errorf("DIR/%s has mode %04o, want %04o", path, got, want)
		}
	}

	empty := filepath.Join(parent, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, empty, sqlite.Options{})
	if got := mode(empty); got != 0o700 {
		t.Errorf("an empty folder has mode %04o", got)
	}

	used := filepath.Join(parent, "used")
	if err := os.Mkdir(used, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(used, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(used, 0o750); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(used, sqlite.Options{})
	wantError(t, err, used, "0750", "chmod 700")
	if got := mode(used); got != 0o750 {
		t.Errorf("a folder that was refused has mode %04o now", got)
	}

	file := filepath.Join(parent, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(file, sqlite.Options{})
	wantError(t, err, file)
}

// TestOpenOddName has a folder whose name means something in a URI.
func TestOpenOddName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a?mode=memory&b#c%20d e")
	s := open(t, dir, sqlite.Options{})
	newUser(t, s)
	if _, err := os.Stat(filepath.Join(dir, "tipt.db")); err != nil {
		t.Error(err)
	}
}

func TestOpenNotADatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tipt.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(dir, sqlite.Options{})
	wantError(t, err, dir, "not a database")
	// What failed to open does not stay locked.
	if err := os.Remove(filepath.Join(dir, "tipt.db")); err != nil {
		t.Fatal(err)
	}
	open(t, dir, sqlite.Options{})
}

// TestCorrupt damages the database of a store. It must not be used any more.
func TestCorrupt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, sqlite.Options{})
	user := newUser(t, s)
	for i := range 200 {
		commit(t, s, message(user, i, 800))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "tipt.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for off := fi.Size() / 2; off < fi.Size(); off += 4096 {
		if _, err := f.WriteAt(make([]byte, 4096), off&^4095); err != nil {
			t.Fatal(err)
		}
	}

	s = open(t, dir, sqlite.Options{})
	_, err = s.Messages(t.Context(), user, 0, 1000, 1<<20)
	if !errors.Is(err, store.ErrFailed) {
		t.Fatalf("reading a corrupt mailbox: %v", err)
	}
	if err := s.Commit(t.Context(), nil); !errors.Is(err, store.ErrFailed) {
		t.Errorf("committing after that: %v", err)
	}
	if _, err := s.UserByID(t.Context(), user); !errors.Is(err, store.ErrFailed) {
		t.Errorf("reading after that: %v", err)
	}
}

func blobs(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestBlobs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, sqlite.Options{Logger: noLog(t)})
	user := newUser(t, s)
	const large = 1 << 20
	for i := range 3 {
		commit(t, s, message(user, i, large))
	}
	if got := blobs(t, dir); len(got) != 3 {
		t.Fatalf("three long messages are in files %v", got)
	}

	// A batch that fails leaves none behind.
	if err := s.Commit(t.Context(), []store.Op{message(user, 4, large), nil}); err == nil {
		t.Fatal("a batch with nothing in it is committed")
	}
	if got := blobs(t, dir); len(got) != 3 {
		t.Errorf("after a batch that failed there are files %v", got)
	}

	// Nor does it take away what it would have dropped.
	commit(t, s, &store.SignIn{User: user, Device: "laptop", Receive: true, Time: time.Now(), MaxDevices: 32},
		&store.Take{User: user, Device: "laptop", Seq: 1})
	small := message(user, 0, 10)
	small.MaxCount = 3
	if err := s.Commit(t.Context(), []store.Op{small, nil}); err == nil || small.Outcome != store.Stored {
		t.Fatalf("outcome %d: %v", small.Outcome, err)
	}
	commit(t, s)
	if m, err := s.Messages(t.Context(), user, 0, 10, 1<<30); err != nil || len(m) != 3 {
		t.Errorf("after that there are %d messages: %v", len(m), err)
	}
	commit(t, s, &store.RemoveDevice{User: user, Device: "laptop"})

	// One that is dropped by its own batch goes.
	small.MaxCount = 4
	commit(t, s, &store.Take{User: user, Device: "phone", Seq: 1}, message(user, 5, large), &store.Take{User: user, Device: "phone", Seq: 4}, small)
	if got := blobs(t, dir); len(got) != 0 {
		t.Errorf("all is taken, there are files %v", got)
	}

	// The outbox has files, too.
	out := &store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: "a.example", Sealed: make([]byte, large)}}
	commit(t, s, out)
	if got := blobs(t, dir); len(got) != 1 {
		t.Errorf("a long message in the outbox is in files %v", got)
	}
	commit(t, s, &store.RemoveOutbox{ID: out.ID})
	if got := blobs(t, dir); len(got) != 0 {
		t.Errorf("the outbox is empty, there are files %v", got)
	}

	// More than are removed with one batch.
	var batch []store.Op
	for i := range 300 {
		batch = append(batch, message(user, i, 64<<10))
	}
	commit(t, s, batch...)
	commit(t, s, &store.DeleteUser{User: user})
	for range 2 {
		if len(blobs(t, dir)) == 0 {
			t.Error("all files are removed at once")
		}
		commit(t, s)
	}
	if got := blobs(t, dir); len(got) != 0 {
		t.Errorf("the user is deleted, there are files %v", got)
	}
}

// TestBlobsAfterCrash has what a crash leaves between a file and its row.
func TestBlobsAfterCrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, sqlite.Options{})
	user := newUser(t, s)
	want := message(user, 1, 1<<20)
	commit(t, s, want)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	kept := blobs(t, dir)[0]
	for _, name := range []string{"7", "123456", "README"} {
		if err := os.WriteFile(filepath.Join(dir, "blobs", name), []byte("left behind"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, sqlite.Options{})
	if got := strings.Join(blobs(t, dir), " "); got != kept+" README" {
		t.Errorf("files are %s", got)
	}
	// The number of a file that was removed may be given again.
	var batch []store.Op
	for i := range 10 {
		batch = append(batch, message(user, i, 200<<10))
	}
	commit(t, s, batch...)
	got, err := s.Messages(t.Context(), user, 0, 100, 1<<30)
	if err != nil || len(got) != 11 || string(got[0].Body) != string(want.Body) {
		t.Errorf("%d messages: %v", len(got), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	if err := os.Remove(filepath.Join(dir, "blobs", kept)); err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(dir, sqlite.Options{})
	wantError(t, err, "missing", filepath.Join(dir, "blobs", kept), "an empty file in its place")
	if err := os.WriteFile(filepath.Join(dir, "blobs", kept), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, sqlite.Options{})
	got, err = s.Messages(t.Context(), user, 0, 100, 1<<30)
	if err != nil || len(got) != 11 || len(got[0].Body) != 0 || len(got[1].Body) != 200<<10 {
		t.Errorf("%d messages with a body given up: %v", len(got), err)
	}
}

// TestBlobsReadWhileTaken reads messages that go at the same time: they are there with
// their body or not at all.
func TestBlobsReadWhileTaken(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"), sqlite.Options{Logger: noLog(t)})
	user := newUser(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				m, err := s.Messages(ctx, user, 0, 10, 1<<30)
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				for _, m := range m {
					if len(m.Body) == 0 || m.Body[1] != byte(m.Seq) {
						t.Errorf("message %d has a body of %d bytes", m.Seq, len(m.Body))
					}
				}
			}
		})
	}
	for i := range int64(60) {
		o := message(user, int(i), 150_000) // its second byte is its seq
		commit(t, s, o)
		commit(t, s, &store.Take{User: user, Device: "phone", Seq: o.Seq})
	}
	cancel()
	readers.Wait()
}

func TestBlobMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, sqlite.Options{})
	user := newUser(t, s)
	commit(t, s, message(user, 1, 1<<20))
	if err := os.Remove(filepath.Join(dir, "blobs", blobs(t, dir)[0])); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Messages(t.Context(), user, 0, 10, 1<<20); !errors.Is(err, store.ErrFailed) {
		t.Errorf("reading a message whose file was removed: %v", err)
	}
}

// TestReserve asks for more free space than any disk has.
func TestReserve(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, sqlite.Options{Reserve: -1})
	user := newUser(t, s)
	ref := tipt.MessageID{1}
	queue := func(ref *tipt.MessageID) *store.AddOutbox {
		return &store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: "a.example", Ref: ref, Sealed: make([]byte, 100)}}
	}
	first := message(user, 1, 100)
	commit(t, s, first, queue(&ref))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, sqlite.Options{Reserve: 1 << 60})
	queued := queue(&ref)
	commit(t, s, first, queued, &store.Take{User: user, Device: "phone"})
	if first.Outcome != store.Duplicate || !queued.Duplicate {
		t.Errorf("what is sent again: outcome %v, duplicate %v", first.Outcome, queued.Duplicate)
	}
	if err := s.Commit(t.Context(), []store.Op{first, message(user, 2, 100)}); !errors.Is(err, store.ErrDiskFull) {
		t.Errorf("a message behind one that is sent again: %v", err)
	}
	for _, tt := range []struct {
		op     store.Op
		refuse bool
	}{
		{message(user, 2, 100), true},
		{&store.Append{User: user, OnlyDuplicate: true}, false},
		{queue(nil), true},
		{queue(&tipt.MessageID{2}), true},
		{&store.Append{User: user, From: first.From, ID: first.ID, Time: first.Time, Kind: store.KindReturn}, true},
		{&store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: "a.example"}, OnlyDuplicate: true}, false},
		{&store.CreateUser{Name: "bob"}, true},
		{&store.AddInvite{}, true},
		{&store.SetKey{User: user, Key: []byte("key")}, true},
		{&store.SetKey{User: user}, false},
		{&store.SignIn{User: user, Device: "laptop", Receive: true, MaxDevices: 32}, false},
		{&store.SetPassword{User: user, Password: "x"}, false},
		{&store.Take{User: user, Device: "phone", Seq: 1}, false},
		{&store.Expire{Limit: 10}, false},
		{&store.DeleteUser{User: user}, false},
	} {
		if err := s.Commit(t.Context(), []store.Op{tt.op}); errors.Is(err, store.ErrDiskFull) != tt.refuse || (err != nil) != tt.refuse {
			t.Errorf("%T: %v", tt.op, err)
		}
	}
}
