//go:build external

package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// childDir tells a child process that it is one, and which folder is its to use.
const childDir = "TIPT_SQLITE_TEST_DIR"

// asChild runs f in a process of its own that has this test alone. With attr it may have
// a world of its own, too.
func asChild(t *testing.T, attr *syscall.SysProcAttr, f func(dir string)) {
	t.Helper()
	if dir := os.Getenv(childDir); dir != "" {
		f(dir)
		return
	}
	run := "^" + strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^") + "$"
	cmd := exec.Command(os.Args[0], "-test.run="+run, "-test.v")
	cmd.Env = append(os.Environ(), childDir+"="+t.TempDir())
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the child: %v\n%s", err, out)
	}
}

// TestDiskFull fills a disk of 16 MiB, with a reserve and without one. What was acknowledged is
// there, users can take their messages, and when there is room again all goes on.
func TestDiskFull(t *testing.T) {
	for _, tt := range []struct {
		name    string
		reserve int64
		size    int // of a message
	}{
		{"reserve", 4 << 20, 500},
		{"reserve, with files", 4 << 20, 150_000},
		{"no reserve", -1, 500},
		{"no reserve, in two pages", -1, 5000},
		{"no reserve, with files", -1, 150_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onSmallDisk(t, func(dir string) { fillDisk(t, dir, tt.reserve, tt.size) })
		})
	}
}

// onSmallDisk runs f in a child that has a file system of 16 MiB of its own.
func onSmallDisk(t *testing.T, f func(dir string)) {
	asChild(t, tipttest.MountNamespace(), func(dir string) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
			t.Fatalf("mounting a tmpfs (root or a user namespace is needed): %v", err)
		}
		f(dir)
	})
}

func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

func fillDisk(t *testing.T, dir string, reserve int64, size int) {
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 6<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	s := open(t, data, sqlite.Options{Reserve: reserve})
	user := newUser(t, s)
	taken := message(user, 0, 100)
	commit(t, s, taken)

	acked := appendUntilFull(t, s, user, size)
	t.Logf("%d messages, then %d bytes were free", len(acked), free(t, dir))
	if len(acked) < 10 {
		t.Errorf("only %d messages fit", len(acked))
	}
	if err := s.Commit(t.Context(), []store.Op{message(user, 1, size)}); !errors.Is(err, store.ErrDiskFull) {
		t.Errorf("one more message: %v", err)
	}
	if reserve > 0 {
		if f := free(t, dir); f < reserve/2 {
			t.Errorf("of the reserve of %d bytes %d are left", reserve, f)
		}
		commit(t, s, &store.SignIn{User: user, Device: "laptop", Receive: true, Time: time.Now(), MaxDevices: 32},
			&store.RemoveDevice{User: user, Device: "laptop"},
			&store.Take{User: user, Device: "phone", Seq: taken.Seq})
		acked[taken.ID] = false
	} else {
		acked[taken.ID] = true
	}
	wantMessages(t, s, user, acked)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	more := message(user, 2, size)
	commit(t, s, more)
	acked[more.ID] = true
	wantMessages(t, s, user, acked)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, data, sqlite.Options{Reserve: reserve})
	wantMessages(t, s, user, acked)
	for id := range appendUntilFull(t, s, user, size) {
		acked[id] = true
	}
	wantMessages(t, s, user, acked)
	if reserve > 0 {
		// What is taken makes room without any more of the disk being free.
		commit(t, s, &store.Take{User: user, Device: "phone", Seq: 1 << 60})
		commit(t, s, message(user, 3, size))
	}
}

// TestDiskFullOfFiles: pages of the database that can be used again are no room for files.
func TestDiskFullOfFiles(t *testing.T) {
	onSmallDisk(t, func(dir string) {
		const reserve = 4 << 20
		data := filepath.Join(dir, "data")
		s := open(t, data, sqlite.Options{Reserve: reserve})
		user := newUser(t, s)
		commit(t, s, message(user, 0, 100))
		appendUntilFull(t, s, user, 5000)
		commit(t, s, &store.Take{User: user, Device: "phone", Seq: 1 << 60})
		commit(t, s, message(user, 1, 5000))
		appendUntilFull(t, s, user, 150_000)
		if f := free(t, dir); f < reserve/2 {
			t.Errorf("of the reserve of %d bytes %d are left", reserve, f)
		}
		commit(t, s, message(user, 2, 5000))
	})
}

// TestDiskFullOfGarbage: more files were dropped at once than are removed with one batch, and the
// rest of them is no reason to refuse what comes.
func TestDiskFullOfGarbage(t *testing.T) {
	onSmallDisk(t, func(dir string) {
		ballast, data := filepath.Join(dir, "ballast"), filepath.Join(dir, "data")
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, data, sqlite.Options{Reserve: -1})
		user := newUser(t, s)
		commit(t, s, message(user, 0, 100))
		appendUntilFull(t, s, user, 64<<10)
		if err := errors.Join(s.Close(), os.Remove(ballast)); err != nil {
			t.Fatal(err)
		}
		s = open(t, data, sqlite.Options{Reserve: 12 << 20})
		commit(t, s, &store.Take{User: user, Device: "phone", Seq: 1 << 60})
		commit(t, s, message(user, 1, 64<<10))
	})
}

// TestDiskFullTakes fills a disk to the last page. The log cannot become longer then, and
// must be used again from its start.
func TestDiskFullTakes(t *testing.T) {
	onSmallDisk(t, func(dir string) {
		const n = 300
		data := filepath.Join(dir, "data")
		s := open(t, data, sqlite.Options{Reserve: -1})
		user := newUser(t, s)
		var batch []store.Op
		for i := range n {
			batch = append(batch, message(user, i, 500))
		}
		commit(t, s, batch...)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		s = open(t, data, sqlite.Options{Reserve: -1})
		err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, free(t, dir)-200<<10), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		full := 0
		for i := range int64(n) {
			take := &store.Take{User: user, Device: "phone", Seq: i + 1}
			err := s.Commit(t.Context(), []store.Op{take})
			if errors.Is(err, store.ErrDiskFull) {
				full++
				err = s.Commit(t.Context(), []store.Op{take})
			}
			if err != nil {
				t.Fatalf("taking message %d, after %d full disks: %v", i+1, full, err)
			}
		}
		if full == 0 {
			t.Error("the disk was never full")
		}
	})
}

// appendUntilFull appends messages of some callers through a committer until each was refused. It
// returns those that were acknowledged.
func appendUntilFull(t *testing.T, s store.Store, user store.UserID, size int) map[[16]byte]bool {
	t.Helper()
	c := store.NewCommitter(s, store.CommitterOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	var run, callers sync.WaitGroup
	run.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("the committer: %v", err)
		}
	})
	var mu sync.Mutex
	acked := make(map[[16]byte]bool)
	for i := range 8 {
		callers.Go(func() {
			for {
				o := message(user, i, size)
				err := c.Do(ctx, o)
				if errors.Is(err, store.ErrDiskFull) {
					return
				}
				if err != nil || o.Outcome != store.Stored {
					t.Errorf("outcome %d: %v", o.Outcome, err)
					return
				}
				mu.Lock()
				acked[o.ID] = true
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	cancel()
	run.Wait()
	return acked
}

// wantMessages checks that those that are true in want are there, and not those that are false.
func wantMessages(t *testing.T, s store.Store, user store.UserID, want map[[16]byte]bool) {
	t.Helper()
	got, err := s.Messages(t.Context(), user, 0, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[[16]byte]bool)
	for i, m := range got {
		found[m.ID] = true
		if i > 0 && m.Seq != got[i-1].Seq+1 {
			t.Errorf("after seq %d comes %d", got[i-1].Seq, m.Seq)
		}
	}
	for id, there := range want {
		if found[id] != there {
			t.Errorf("message %x: there is %v, want %v", id, found[id], there)
		}
	}
}

// TestSyncFails has a kernel that fails fsync and fdatasync in a child.
func TestSyncFails(t *testing.T) {
	asChild(t, nil, func(dir string) { syncFails(t, dir, 100, unix.SYS_FDATASYNC, "tipt.db-wal") })
}

// TestSyncFailsAfterFile fails the log's syncs when the file of a message is on the disk already.
func TestSyncFailsAfterFile(t *testing.T) {
	asChild(t, nil, func(dir string) { syncFails(t, dir, 200_000, unix.SYS_FDATASYNC, "tipt.db-wal") })
}

// TestBlobSyncFails is TestSyncFails for a message that is a file, which is synced with another call.
func TestBlobSyncFails(t *testing.T) {
	asChild(t, nil, func(dir string) { syncFails(t, dir, 200_000, unix.SYS_FSYNC, "") })
}

// TestCheckpointSyncFails fails the syncs of the database file alone, long after the commits whose pages go there.
func TestCheckpointSyncFails(t *testing.T) {
	asChild(t, nil, func(dir string) { syncFails(t, dir, 100, unix.SYS_FDATASYNC, "tipt.db") })
}

// syncFails fails a system call, for one open file or for all, and commits messages until
// the store says that it has failed.
func syncFails(t *testing.T, dir string, size int, call uint32, file string) {
	dir = filepath.Join(dir, "store")
	s, err := sqlite.Open(dir, sqlite.Options{Reserve: 1 << 20}) // checkpoints come early
	if err != nil {
		t.Fatal(err)
	}
	user := newUser(t, s)
	if file != "" {
		file = filepath.Join(dir, file)
	}
	if err := failCall(call, file); err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil; i++ {
		if i == 1000 {
			t.Fatal("a thousand messages are committed on a disk that fails")
		}
		err = s.Commit(t.Context(), []store.Op{message(user, i, size)})
	}
	if !errors.Is(err, store.ErrFailed) {
		t.Errorf("committing: %v", err)
	}
	if again := s.Commit(t.Context(), nil); !errors.Is(again, store.ErrFailed) {
		t.Errorf("committing again: %v", again)
	}
	if _, err := s.UserByID(t.Context(), user); !errors.Is(err, store.ErrFailed) {
		t.Errorf("reading: %v", err)
	}
	// Not closed: that would try to sync.
	if file != "" {
		opensAfterwards(t, dir)
	}
}

// opensAfterwards opens a copy of what a store that has failed leaves when its process ends.
func opensAfterwards(t *testing.T, dir string) {
	left := filepath.Join(t.TempDir(), "left")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := open(t, left, sqlite.Options{}).Close(); err != nil {
		t.Error(err)
	}
}

// failCall makes a system call on an open file fail with EIO in this process until it
// ends, or on all files where path is empty.
func failCall(call uint32, path string) error {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jumpEq = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret    = unix.BPF_RET | unix.BPF_K
		allow  = 0x7fff0000 // SECCOMP_RET_ALLOW
		fail   = 0x00050000 // SECCOMP_RET_ERRNO
		number = 0          // where the number of the system call is,
		fd     = 16         // and the lower half of its first argument
	)
	prog := []unix.SockFilter{
		{Code: load, K: number},
		{Code: jumpEq, K: call, Jt: 1},
		{Code: ret, K: allow},
	}
	if path != "" {
		fds, err := openFiles(path)
		if err != nil {
			return err
		}
		prog = append(prog, unix.SockFilter{Code: load, K: fd})
		for i, n := range fds {
			prog = append(prog, unix.SockFilter{Code: jumpEq, K: n, Jt: uint8(len(fds) - i)})
		}
		prog = append(prog, unix.SockFilter{Code: ret, K: allow})
	}
	prog = append(prog, unix.SockFilter{Code: ret, K: fail | uint32(unix.EIO)})

	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	const setFilter, allThreads = 1, 1
	p := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setFilter, allThreads, uintptr(unsafe.Pointer(&p))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// openFiles are the descriptors with which this process has a file open.
func openFiles(path string) (fds []uint32, err error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || target != path {
			continue // one of ReadDir's own is gone
		}
		n, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil {
			return nil, err
		}
		fds = append(fds, uint32(n))
	}
	if len(fds) == 0 {
		return nil, fmt.Errorf("%s is not open", path)
	}
	return fds, nil
}
