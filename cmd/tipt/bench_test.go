package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tipt/tipt-go/bench"
)

// A report with mistakes is printed, and makes the command fail.
func TestBenchMistakes(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var errs bytes.Buffer
	c := benchCmd{Format: "text"}
	err = c.run(t.Context(), &invocation{streams: streams{out: out, err: &errs}}, "wss://node.example",
		func(context.Context, bench.Options) (*bench.Report, error) {
			return &bench.Report{Bench: "pairs", Mistakes: bench.Mistakes{Lost: 3}}, nil
		})
	if err == nil || !strings.Contains(err.Error(), "3 lost") {
		t.Errorf("error %v", err)
	}
	if _, status := explain(err); status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	printed, err := os.ReadFile(out.Name())
	if err != nil || !strings.Contains(string(printed), "MISTAKES: 3 lost") {
		t.Errorf("printed %q, %v", printed, err)
	}
}

func TestProgress(t *testing.T) {
	var b strings.Builder
	p := progress{w: &b}
	p.clear()
	if b.Len() > 0 {
		t.Errorf("%q was cleared", b.String())
	}
	p.show("sealing", 1, 20)
	p.show("sealing", 2, 20) // too soon after the other
	p.clear()
	if got, want := b.String(), "\r\x1b[Ksealing: 1 of 20\r\x1b[K"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
