//go:build external

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// conformed is what the tests read of a report in JSON.
type conformed struct {
	Clauses []struct {
		ID, Status, Why string
		Side            string
		Findings        []struct{ Scenario, Expected, Got string }
	}
	Blocked      []string
	AccountsLeft int `json:"accounts_left"`
}

// conformTest runs `tipt conform` and returns what it prints and its status.
func conformTest(t *testing.T, tipt string, d *tipttest.Daemon, p *tipttest.Process, args ...string) (stdout []byte, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	admin := fmt.Sprintf(`f() { '%s' "$@" --data '%s'; }; f`, d.Binary, d.Data)
	cmd := exec.CommandContext(ctx, tipt, append([]string{
		"conform", "wss://" + string(d.Name) + "/ws", "--ca", d.Root, "--connect", p.Addr, "--admin", admin,
	}, args...)...)
	cmd.Env = tipttest.Env("TIPT_CONFIG=" + t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if errs.Len() > 0 {
		t.Logf("standard error: %s", errs.String())
	}
	return out.Bytes(), cmd.ProcessState.ExitCode()
}

// secondNode returns the flags of `tipt conform` for a second node, and those that it says a node has
// to be started with.
func secondNode(t *testing.T, tipt string) (flags, served []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	flags = []string{"--peer", "second.example=" + listener.Addr().String(), "--peer-ca", filepath.Join(t.TempDir(), "second.pem")}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tipt, append([]string{"conform"}, flags...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return flags, strings.Fields(string(out))
}

// A node as `tiptd serve` starts it passes, however it registers and whomever it lets in.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	programs := make(map[string]string)
	for _, name := range []string{"tipt", "tiptd"} {
		path, err := tipttest.Build(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = path
	}
	peer, peerFlags := secondNode(t, programs["tipt"])
	for _, tt := range []struct {
		name  string
		flags []string
		// untested are reasons that this node leaves.
		untested []string
	}{
		{"open", append([]string{"--registration", "open"}, peerFlags...), []string{"--slow", "by invitation", "not closed", "no anonymous"}},
		{"limits", []string{"--registration", "open", "--limits", "on", "--mailbox-messages", "120", "--outbox-user-entries", "120"}, []string{"--slow", "--peer", "by invitation", "not closed", "no anonymous"}},
		{"invite", []string{"--registration", "invite", "--anonymous"}, []string{"--slow", "--peer", "not closed"}},
		{"draft", []string{"--registration", "open"}, []string{"--slow", "--peer", "by invitation", "not closed", "no anonymous", "--revision"}},
		{"closed", nil, []string{"--slow", "--peer", "by invitation", "registration is closed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := tipttest.NewDaemon(t, programs["tiptd"], tt.flags...)
			p := d.Start(t)
			args := []string{"--format", "json"}
			switch tt.name {
			case "open":
				args = append(args, peer...)
			case "draft":
				args = append(args, "--revision", "draft")
			case "limits":
				args = append(args, "--quota", "120")
			}
			out, status := conformTest(t, programs["tipt"], d, p, args...)
			if status != 0 {
				t.Errorf("exit status %d", status)
			}
			var report conformed
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v in\n%s", err, out)
			}
			if len(report.Blocked) > 0 || report.AccountsLeft > 0 {
				t.Errorf("not set up: %q; accounts left: %d", report.Blocked, report.AccountsLeft)
			}
			passed := 0
			for _, c := range report.Clauses {
				switch c.Status {
				case "passed":
					passed++
				case "failed":
					t.Errorf("%s: %+v", c.ID, c.Findings)
				default:
					known := c.Side == "client"
					for _, why := range append(tt.untested, "needs a", "needs names", "depends on", "shows only", "happens inside", "does not restart", "which no guest") {
						known = known || strings.Contains(c.Why, why)
					}
					if !known {
						t.Errorf("%s was not tested: %s", c.ID, c.Why)
					}
				}
			}
			if passed == 0 {
				t.Error("nothing was tested")
			}
			p.Stop()
		})
	}
	t.Run("junit", func(t *testing.T) {
		d := tipttest.NewDaemon(t, programs["tiptd"])
		p := d.Start(t)
		out, status := conformTest(t, programs["tipt"], d, p, "--only", "info", "--format", "junit")
		var suite struct {
			Tests int `xml:"tests,attr"`
		}
		if err := xml.Unmarshal(out, &suite); err != nil || suite.Tests == 0 || status != 0 {
			t.Errorf("exit status %d, %d tests, %v:\n%s", status, suite.Tests, err, out)
		}
		p.Stop()
		if out, status := conformTest(t, programs["tipt"], d, p, "--only", "info"); status != exitUsage {
			t.Errorf("exit status %d for a node that is gone:\n%s", status, out)
		}
	})
}
