//go:build external

// Package faults_test runs three nodes as real processes, with users on each who write to
// each other, and does to them at random what happens to machines and networks. At the end
// of each round every message that a node accepted is in its recipient's hands exactly once,
// or has come back; both only where the RETURN says NODE_TIMEOUT.
//
// It runs on Linux, as root or where there are user namespaces:
//
//	go test -tags external ./faults
//	go test -tags external ./faults -v -timeout 0 -runs 1 -for 30m -seed 7
//
// A seed says what is done and when, not what the nodes are just doing.
//
// The nodes are built with the tag fault: see internal/fault.
package faults_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go/internal/tipttest"
)

var (
	runs = flag.Int("runs", 2, "how many runs TestFaults makes")
	seed = flag.Uint64("seed", 1, "seed of the first run; those of the others are made up and printed")
	span = flag.Duration("for", 15*time.Second, "how long there are faults in one run")
)

// inside tells the process that it is the one in the namespaces.
const inside = "FAULTS_INSIDE"

// tiptd is the path of the program, built for this run.
var tiptd string

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(inside) == "" {
		os.Exit(goInside())
	}
	os.Exit(testMain(m))
}

// goInside runs this program once more where it can mount small disks for its nodes, and
// where all processes that it starts end with it.
func goInside() (status int) {
	// What is arranged for the death of its parent means this thread's.
	runtime.LockOSThread()
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = tipttest.MountNamespace()
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWPID
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "root or user namespaces are needed:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

func testMain(m *testing.M) (status int) {
	dir, err := prepare()
	if err == nil {
		defer func() {
			if err := os.RemoveAll(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				status = 1
			}
		}()
		tiptd, err = tipttest.Build(dir, "tiptd", "fault")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status = m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// prepare shows this process the processes of its namespace and makes a folder.
func prepare() (dir string, err error) {
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return "", fmt.Errorf("mount /proc: %w", err)
	}
	return os.MkdirTemp("", "tipt-faults-")
}

// A disk is a small file system for a node's data.
type disk struct{ dir string }

// size is that of a disk: what a node keeps free, its longest log, and something to store.
const size = "size=384m,mode=0700"

func newDisk(t *testing.T, dir string) disk {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, size); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount a tmpfs: %v", err)
		}
	})
	return disk{dir}
}

func (d disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves so many bytes of the disk free.
func (d disk) fill(left int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		return err
	}
	file, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	// While the node writes there may be less than it takes.
	if n := int64(st.Bavail)*st.Bsize - left; n > 0 {
		err = syscall.Fallocate(int(file.Fd()), 0, 0, n)
		if errors.Is(err, syscall.ENOSPC) {
			err = nil
		}
	}
	return errors.Join(err, file.Close())
}

// free ends fill.
func (d disk) free() error { return os.Remove(d.ballast()) }
