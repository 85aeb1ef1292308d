//go:build unix

package conform

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A client is ended with all that it has started, also when it does not want to.
func TestEndsAll(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	// Each of its processes has the pipe open.
	command := "exec 3<>'" + pipe + "'; trap '' TERM; sleep 1000 & sleep 1000"
	if _, err := RunClient(t.Context(), ClientOptions{Command: command, Patience: time.Second}); err == nil {
		t.Error("no error")
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.SetReadDeadline(time.Now().Add(patienceForAll / 60)); err != nil {
		t.Fatal(err)
	}
	// Nobody has it open to write: its end is read at once.
	if n, err := reader.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("a process is left: read %d, %v", n, err)
	}
}
