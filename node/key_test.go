package node

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadKey(t *testing.T) {
	dir := t.TempDir()
	made, err := LoadKey(dir, "node.example")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, keyFile)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the key's file has mode %04o", mode)
	}
	read, err := LoadKey(dir, "node.example")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made.Certificate(), read.Certificate()) {
		t.Error("the key changed from one start to the next")
	}
	if _, err := LoadKey(dir, "other.example"); err == nil || !strings.Contains(err.Error(), "node.example") {
		t.Errorf("another node's key was taken: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(dir, "node.example"); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read was taken: %v", err)
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(dir, "node.example"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("what is no key was taken: %v", err)
	}
}
