package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a process has started counts as its own, until it has ended.
func TestTotal(t *testing.T) {
	number := func(pid int) (int64, error) { return int64(pid), nil }
	own := int64(os.Getpid())
	if sum, err := total([]int{os.Getpid()}, number); err != nil || sum != own {
		t.Fatalf("%d, %v, want %d", sum, err, own)
	}
	cat := exec.Command("cat")
	in, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	if pids, err := Children(os.Getpid()); err != nil || !slices.Equal(pids, []int{cat.Process.Pid}) {
		t.Errorf("it has started %v, %v, want %d", pids, err, cat.Process.Pid)
	}
	if sum, err := total([]int{os.Getpid()}, number); err != nil || sum != own+int64(cat.Process.Pid) {
		t.Errorf("%d, %v, want %d and %d", sum, err, own, cat.Process.Pid)
	}
	for what, figure := range map[string]func([]int) (int64, error){
		"memory": Resident,
		"time": func(pids []int) (int64, error) {
			n, err := CPU(pids)
			return int64(n), err
		},
	} {
		if n, err := figure([]int{os.Getpid()}); err != nil || n <= 0 {
			t.Errorf("%s: %d, %v", what, n, err)
		}
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := cat.Wait(); err != nil {
		t.Error(err)
	}
	if sum, err := total([]int{os.Getpid()}, number); err != nil || sum != own {
		t.Errorf("afterwards %d, %v, want %d", sum, err, own)
	}
}

func TestCollect(t *testing.T) {
	file := filepath.Join(t.TempDir(), "collected")
	if err := Collect(t.Context(), ": >'"+file+"'"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if err := Collect(t.Context(), ""); err != nil {
		t.Errorf("no command: %v", err)
	}
	if err := Collect(t.Context(), "echo no such node; exit 3"); err == nil || !strings.Contains(err.Error(), "no such node") {
		t.Errorf("a command that fails: %v", err)
	}
}
