//go:build external

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// clients returns where our client and the example are.
func clients(t *testing.T) (tipt, chat string) {
	t.Helper()
	chat, err := filepath.Abs("../../examples/python/tipt_chat.py")
	if err != nil {
		t.Fatal(err)
	}
	return built(t, "tipt")["tipt"], chat
}

// conformClient runs `tipt conform --client` and returns what it prints and its status.
func conformClient(t *testing.T, tipt, command string, args ...string) (stdout []byte, stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patienceForRun)
	defer cancel()
	cmd := exec.CommandContext(ctx, tipt, append([]string{"conform", "--client", "--run", command}, args...)...)
	config := t.TempDir()
	cmd.Env = tipttest.Env("TIPT_CONFIG=" + config)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(config, "*")); err != nil || len(left) > 0 {
		t.Errorf("the clients left %q, %v", left, err)
	}
	return out.Bytes(), errs.String(), cmd.ProcessState.ExitCode()
}

// What no client is tested for without --slow, and what the seed's form has no place for.
var untested = []string{
	"T-1.5", "T-1.25", "T-1.26", "T-4.159", "T-5.171", "T-5.172", "T-5.173", "T-5.174", "T-7.3", "T-7.170", "T-7.171", "T-8.8", "T-8.12", "T-8.13",
	"T-8.124", "T-8.170", "T-9.7", "T-9.170",
}

// What ours are not tested for besides: they are no scripts in browsers, send one line after the other, and
// make no key by themselves.
var untestedOfOurs = append([]string{"T-1.36", "T-3.78", "T-8.11"}, untested...)

// What the example is not tested for besides: it answers before it has printed, knows no ML-KEM, and has no key.
var untestedOfExample = append([]string{
	"T-3.76", "T-5.104", "T-8.3", "T-8.7", "T-8.10", "T-8.14", "T-8.15", "T-8.16", "T-8.17", "T-8.20", "T-8.21",
	"T-8.120", "T-8.121", "T-8.122", "T-8.123", "T-8.126",
}, untestedOfOurs...)

// Our client and the example pass, and leave no more untested than is known.
func TestClientConformance(t *testing.T) {
	tipt, chat := clients(t)
	for _, tt := range []struct {
		name, command string
		untested      []string
	}{
		{"tipt chat", "'" + tipt + "' chat", untestedOfOurs},
		{"tipt_chat.py", "'" + chat + "'", untestedOfExample},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out, stderr, status := conformClient(t, tipt, tt.command, "--format", "json")
			if status != 0 {
				t.Errorf("exit status %d: %s", status, stderr)
			}
			var report conformed
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v in\n%s", err, out)
			}
			if len(report.Blocked) > 0 {
				t.Errorf("not set up: %q", report.Blocked)
			}
			passed, left := 0, []string(nil)
			for _, c := range report.Clauses {
				switch c.Status {
				case "passed":
					passed++
				case "not tested":
					left = append(left, c.ID)
					if !slices.Contains(tt.untested, c.ID) {
						t.Errorf("%s was not tested: %s", c.ID, c.Why)
					}
				default:
					t.Errorf("%s: %s: %+v", c.ID, c.Status, c.Findings)
				}
			}
			for _, id := range tt.untested {
				if !slices.Contains(left, id) {
					t.Errorf("%s is not among what was not tested: take it off the list", id)
				}
			}
			t.Logf("%d clauses passed in %.1f s", passed, report.Seconds)
		})
	}
	t.Run("unusable", func(t *testing.T) {
		t.Parallel()
		if _, stderr, status := conformClient(t, tipt, "false"); status != exitUsage || !strings.Contains(stderr, "TIPT_CONNECT") {
			t.Errorf("exit status %d, and %q", status, stderr)
		}
	})
	t.Run("of the other form", func(t *testing.T) {
		t.Parallel()
		_, stderr, status := conformClient(t, tipt, "'"+tipt+"' chat", "--revision", "draft")
		if status != exitUsage || !strings.Contains(stderr, "speaks the seed's form") {
			t.Errorf("exit status %d, and %q", status, stderr)
		}
	})
	t.Run("old TLS", func(t *testing.T) {
		t.Parallel()
		// It breaks what should be alone, which is no failure.
		config := filepath.Join(t.TempDir(), "openssl.cnf")
		const old = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv1.2\n"
		if err := os.WriteFile(config, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _, status := conformClient(t, tipt, "OPENSSL_CONF='"+config+"' '"+chat+"'", "--only", "T-1.7", "--format", "json")
		var report conformed
		if err := json.Unmarshal(out, &report); err != nil || status != 0 || len(report.Clauses) != 1 || report.Clauses[0].Status != "warning" {
			t.Errorf("exit status %d, %v, want 0 and a warning:\n%s", status, err, out)
		}
	})
	t.Run("broken", func(t *testing.T) {
		t.Parallel()
		// One that answers before anybody has seen anything.
		command := "'" + tipt + "' chat | { sleep 1; exec cat; }"
		out, _, status := conformClient(t, tipt, command, "--only", "T-4.126", "--format", "junit")
		var suite struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
		}
		if err := xml.Unmarshal(out, &suite); err != nil || suite.Failures != 1 || status != exitFailed {
			t.Errorf("exit status %d, %d of %d tests failed, %v:\n%s", status, suite.Failures, suite.Tests, err, out)
		}
	})
}
