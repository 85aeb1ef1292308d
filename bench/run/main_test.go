//go:build external

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go/bench"
)

// TestRun makes measurements once, small: those that do not take seconds however small they are.
func TestRun(t *testing.T) {
	c := cli{
		Cases: []string{"pairs", "storm", "mailbox", "forward", "idle"}, Runs: 1, Connections: []int{50}, Messages: 2000, Clients: 50, Accounts: 100, Stored: 2000, Outbox: 10,
		NodeCPU: "0", GeneratorCPU: "0", Dir: t.TempDir(),
	}
	var out, progress bytes.Buffer
	if err := c.run(t.Context(), &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	chosen, err := c.chosen()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range chosen {
		_, table, found := strings.Cut(out.String(), "### "+one.name+"\n")
		if !found {
			t.Errorf("there is no table for %s", one.name)
			continue
		}
		table, _, _ = strings.Cut(table, "###")
		for _, name := range one.figures {
			_, row, _ := strings.Cut(table, "| "+strings.ReplaceAll(name, "_", " ")+" | ")
			row, _, _ = strings.Cut(row, "\n")
			if strings.Contains(row, "| |") || !strings.Contains(row, "–") {
				t.Errorf("%s: %s is %q", one.name, name, row)
			}
		}
	}
	t.Log(out.String())
	if _, err := os.Stat(filepath.Join(c.Dir, "bin", "tiptd")); err != nil {
		t.Error(err)
	}
}

// Where the disk is memory, that is said.
func TestWarnOfMemory(t *testing.T) {
	for dir, warned := range map[string]bool{"/dev/shm": true, "/proc": false} {
		var said bytes.Buffer
		if err := warnOfMemory(&said, dir); err != nil || strings.Contains(said.String(), dir+" is in memory (tmpfs)") != warned {
			t.Errorf("%s: %v, %q, want a warning: %v", dir, err, said.String(), warned)
		}
	}
}

func TestChosen(t *testing.T) {
	c := cli{Cases: []string{"idle", "pairs"}, Runs: 1, Connections: []int{1, 2}}
	chosen, err := c.chosen()
	if err != nil || len(chosen) != 3 || chosen[0].accounts != 1 || chosen[1].accounts != 2 || chosen[2].kind != "pairs" {
		t.Errorf("%+v, %v", chosen, err)
	}
	c.Cases = []string{"pears"}
	if _, err := c.chosen(); err == nil || !strings.Contains(err.Error(), "there are pairs, ") {
		t.Errorf("error %v", err)
	}
	c.Cases, c.Runs = nil, 0
	if _, err := c.chosen(); err == nil {
		t.Error("no runs are made")
	}
}

func TestShares(t *testing.T) {
	columns := []column{
		{span: bench.Span{From: 1_000_000_000, Upto: 2_000_000_000}, counts: make([]int, len(shares))},
		{span: bench.Span{From: 2_000_000_000, Upto: 3_000_000_000}, counts: make([]int, len(shares))},
	}
	if err := countShares(strings.NewReader(`    0.999999000:
	          7404a3 modernc.org/sqlite/lib.x
	          78a45b github.com/tipt/tipt-go/store/sqlite.(*Store).Commit

    1.000000000:
	          7404a3 modernc.org/sqlite/lib.x
	          78a45b github.com/tipt/tipt-go/store/sqlite.(*Store).Commit

    1.200000000:
	ffffffff81 do_syscall_64
	          7404a3 modernc.org/sqlite/lib.x
	          78a45b github.com/tipt/tipt-go/store/sqlite.(*Store).Commit

    1.999999999:
	          1 crypto/ed25519.Verify
	          2 net/http.(*conn).serve

    2.000000000:
	          1 runtime.mallocgc
	          1 somewhere
`), columns); err != nil {
		t.Fatal(err)
	}
	for i, want := range []map[string]int{{"SQLite": 1, "the disk": 1, "signing and verifying": 1}, {"the rest": 1}} {
		got := make(map[string]int)
		for j, n := range columns[i].counts {
			if n > 0 {
				got[shares[j].name] = n
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("shares of column %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(test.values); got != test.want {
			t.Errorf("of %v: %v, want %v", test.values, got, test.want)
		}
	}
}
