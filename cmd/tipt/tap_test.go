//go:build external

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tap"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// Whatever a suite sends that sends all that is forbidden crosses a tap unchanged: a node passes
// behind one as it does without. And all of it can be shown and recorded.
func TestConformanceThroughTap(t *testing.T) {
	dir := t.TempDir()
	daemon, err := tipttest.Build(dir, "tiptd")
	if err != nil {
		t.Fatal(err)
	}
	n := keptDaemon(t, daemon, "--registration", "open")
	d := n.daemon
	record := filepath.Join(dir, "record.jsonl")
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command("tipt", "tap", "--to", "wss://"+string(d.Name)+"/ws", "--ca", d.Root, "--connect", d.Listen, "--record", record)
	cmd.Env = tipttest.Env("XDG_CACHE_HOME=" + dir)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	where := regexp.MustCompile(`TIPT_CA=(\S+) TIPT_CONNECT=(\S+)`)
	var at [][]byte
	for end := time.Now().Add(patience); at == nil; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(said.Name())
		if err != nil {
			t.Fatal(err)
		}
		if at = where.FindSubmatch(b); at == nil && time.Now().After(end) {
			t.Fatalf("the tap says %q", b)
		}
	}
	// The later flags are those that count.
	out, status := conformTest(t, "tipt", n, "--ca", string(at[1]), "--connect", string(at[2]), "--only", `T-[236]\..*|T-1\.(1[6-9]|2[0-9]|3[0-7])`, "--format", "json")
	var report conformed
	if err := json.Unmarshal(out, &report); err != nil || status != 0 {
		t.Errorf("exit status %d, %v", status, err)
	}
	passed := 0
	for _, c := range report.Clauses {
		switch c.Status {
		case "passed":
			passed++
		case "failed", "warning":
			t.Errorf("%s: %+v", c.ID, c.Findings)
		}
	}
	if passed < 60 {
		t.Errorf("%d clauses passed", passed)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the tap ended with %v", err)
	}
	file, err := os.Open(record)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	kinds := make(map[tap.Kind]int)
	_, lines, err := tap.ReadRecord(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		kinds[l.Kind]++
	}
	for _, kind := range []tap.Kind{tap.Open, tap.Binary, tap.Text, tap.Ping, tap.Pong, tap.Close, tap.Partial, tap.End} {
		if kinds[kind] == 0 {
			t.Errorf("no %s was recorded, but %v", kind, kinds)
		}
	}
}
