//go:build external && slow

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// slowly checks the report of a run with --slow: each clause that only that tests was tested and holds, but for those
// that cannot be here.
func slowly(t *testing.T, out []byte, status int, slow, cannot []string) {
	t.Helper()
	var report conformed
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("exit status %d: %v in\n%s", status, err, out)
	}
	if status != 0 || len(report.Blocked) > 0 || report.AccountsLeft > 0 {
		t.Errorf("exit status %d, not set up: %q, accounts left: %d", status, report.Blocked, report.AccountsLeft)
	}
	came := make(map[string]string)
	for _, c := range report.Clauses {
		came[c.ID] = c.Status
		if c.Status == "failed" || c.Status == "warning" {
			t.Errorf("%s: %+v", c.ID, c.Findings)
		}
	}
	for _, id := range slow {
		want := "passed"
		if slices.Contains(cannot, id) {
			want = "not tested"
		}
		if came[id] != want {
			t.Errorf("%s: %q, want %s", id, came[id], want)
		}
	}
}

// only is a pattern for these clauses alone.
func only(ids []string) string {
	return strings.ReplaceAll(strings.Join(ids, "|"), ".", `\.`)
}

// Silence, and what is full where the suite does not know how little fills it.
func TestSlowConformance(t *testing.T) {
	t.Parallel()
	programs := built(t, "tipt", "tiptd")
	for _, revision := range []string{"seed", "draft"} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			n := keptDaemon(t, programs["tiptd"],
				"--registration", "open", "--limits", "on", "--mailbox-messages", "120", "--outbox-user-entries", "120")
			out, status := conformTest(t, programs["tipt"], n,
				"--slow", "--only", only(slowOfNodes), "--revision", revision, "--format", "json")
			slowly(t, out, status, slowOfNodes, nil)
			n.stop()
		})
	}
}

// The PING of each five minutes, its absent answer, and a key that changed.
func TestSlowClientConformance(t *testing.T) {
	t.Parallel()
	tipt, chat := clients(t)
	for name, tt := range map[string]struct {
		command string
		cannot  []string
	}{
		"tipt chat":    {"'" + tipt + "' chat", []string{"T-1.26"}},     // no script in a browser
		"tipt_chat.py": {"'" + chat + "'", []string{"T-1.26", "T-8.8"}}, // opens nothing that is sealed to its user
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, stderr, status := conformClient(t, tipt, tt.command, "--slow", "--only", only(slowOfClients), "--format", "json")
			slowly(t, out, status, slowOfClients, tt.cannot)
			if t.Failed() {
				t.Log(stderr)
			}
		})
	}
}
