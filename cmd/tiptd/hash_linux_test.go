package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// hasher waits until a node has a process that hashes passwords, other than one, and returns its number.
func hasher(t *testing.T, p *tipttest.Process, but int) (pid int) {
	t.Helper()
	until(t, "a process hashes passwords", func() bool {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.PID()))
		if err != nil || len(files) == 0 {
			t.Fatalf("what the node has started: %v, %v\n%s", files, err, p.Log())
		}
		var pids []int
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				continue // a thread that has ended
			}
			for _, field := range strings.Fields(string(b)) {
				n, err := strconv.Atoi(field)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, n)
			}
		}
		if len(pids) > 1 {
			t.Fatalf("the node has started %v, want one process", pids)
		}
		if len(pids) == 0 || pids[0] == but || comm(pids[0]) != "tiptd-hash" {
			return false
		}
		pid = pids[0]
		return true
	})
	return pid
}

// comm is the name of a process, empty when it has ended.
func comm(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// status is a line of proc(5)'s status, in its unit.
func status(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "" // a zombie has no memory
}

// kibibytes is a line of status that says how much memory.
func kibibytes(t *testing.T, pid int, name string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(status(t, pid, name), "%d kB", &n); err != nil {
		t.Fatalf("%s of process %d: %v", name, pid, err)
	}
	return n
}

// nices are the priorities of a process's threads.
func nices(t *testing.T, pid int) map[int]bool {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[int]bool)
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		n, err := unix.Getpriority(unix.PRIO_PROCESS, id)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		found[20-n] = true // as the system call has it
	}
	return found
}

// Passwords are hashed in another process, which gives way to the node, shows nobody a
// password and gives the memory back.
func TestHashesAside(t *testing.T) {
	const mebibytes = 1 << 10 // in KiB
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	pid := hasher(t, p, 0)
	before := kibibytes(t, pid, "VmHWM")
	for _, name := range []string{"ada", "bob"} {
		register(t, d, p.Addr, name)
		most := kibibytes(t, pid, "VmHWM")
		if most < before+16*mebibytes { // of 19 for a hash
			t.Errorf("the process had %d KiB, and %d at most since a password was hashed", before, most)
		}
		until(t, "the memory is given back", func() bool { return kibibytes(t, pid, "VmRSS") < most-16*mebibytes })
	}
	signIn(t, d, p.Addr, "ada", nil).wantRead(t.Context(), t)
	if got := nices(t, pid); len(got) != 1 || !got[19] {
		t.Errorf("its threads have the priorities %v, want 19", got)
	}
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	session, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := nices(t, p.PID()); len(got) != 1 || !got[20-own] {
		t.Errorf("the node's threads have the priorities %v, want %d", got, 20-own)
	}
	// Priorities count within one session.
	if its, err := unix.Getsid(pid); err != nil || its != session {
		t.Errorf("it is of session %d, %v, want %d, the node's", its, err, session)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00"); err != nil || len(args) != 3 || args[0] != tiptd || args[1] != "hash" {
		t.Errorf("its command line is %q, %v", args, err)
	}
	// Who may not look into the process sees even less.
	if environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); len(environ) != 0 || err != nil && !errors.Is(err, os.ErrPermission) {
		t.Errorf("its environment is %q, %v", environ, err)
	}
}

// While the process that hashes passwords is killed, everybody is signed in all the same. It is
// started again, also when the program's file is another one by then.
func TestHasherKilled(t *testing.T) {
	program, err := os.ReadFile(tiptd)
	if err != nil {
		t.Fatal(err)
	}
	d := tipttest.NewDaemon(t, filepath.Join(t.TempDir(), "tiptd"), "--registration", "open")
	if err := os.WriteFile(d.Binary, program, 0o700); err != nil {
		t.Fatal(err)
	}
	p := d.Start(t)
	register(t, d, p.Addr, "ada", "bob", "cyd")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stop := make(chan struct{})
	var load sync.WaitGroup
	for _, name := range []string{"ada", "bob", "cyd"} {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					t.Logf("%s signed in %d times", name, n)
					return
				default:
				}
				c, err := dial(ctx, d, p.Addr, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := c.signIn(ctx, tipt.SignInRequest{User: name, Password: password}); err != nil {
					t.Errorf("sign in as %s: %v", name, err)
				}
				if _, err := c.signIn(ctx, tipt.SignInRequest{User: name, Password: password + "!"}); err == nil {
					t.Errorf("signed in as %s again", name)
				}
				c.hang()
			}
		})
	}
	pid := hasher(t, p, 0)
	for _, replace := range []bool{false, true} {
		if replace {
			if err := os.Remove(d.Binary); err != nil {
				t.Fatal(err)
			}
			write(t, d.Binary, "not a program")
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		pid = hasher(t, p, pid)
	}
	most := kibibytes(t, pid, "VmHWM")
	until(t, "the new one hashes", func() bool { return kibibytes(t, pid, "VmHWM") > most+(8<<10) })
	close(stop)
	load.Wait()
	if !strings.Contains(p.Log(), "signal: killed") {
		t.Errorf("nothing in the log:\n%s", p.Log())
	}
	p.Stop()
}

// The process that hashes passwords ends with the node, not before, whatever ends that.
func TestHasherEnds(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	for name, end := range map[string]func(*tipttest.Process){
		"killed":  (*tipttest.Process).Kill,
		"stopped": (*tipttest.Process).Stop,
	} {
		t.Run(name, func(t *testing.T) {
			p := d.Start(t)
			pid := hasher(t, p, 0)
			// What a terminal or a supervisor sends to all processes of a node.
			for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
				if err := syscall.Kill(pid, s); err != nil {
					t.Fatal(err)
				}
			}
			register(t, d, p.Addr, name)
			if again := hasher(t, p, 0); again != pid {
				t.Errorf("process %d is in the place of %d", again, pid)
			}
			end(p)
			until(t, "it has ended", func() bool {
				state := status(t, pid, "State")
				return state == "" || strings.HasPrefix(state, "Z") // as long as nobody asks how
			})
			if strings.Contains(p.Log(), "no process to hash") {
				t.Errorf("it had ended before:\n%s", p.Log())
			}
		})
	}
}
