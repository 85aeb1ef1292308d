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
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// Clauses that are tested with --slow alone, which TestSlowConformance and TestSlowClientConformance give.
var (
	slowOfNodes   = []string{"T-1.27", "T-1.28", "T-1.144", "T-4.94", "T-4.102", "T-4.103", "T-5.25", "T-6.9"}
	slowOfTwo     = []string{"T-4.148", "T-5.108"} // with a second node; package conform tests them
	ofQuota       = []string{"T-2.142"}            // where it is known how little the node holds, as of "limits"
	slowOfClients = []string{"T-1.25", "T-1.26", "T-7.3", "T-8.8"}
)

// conformed is what the tests read of a report in JSON.
type conformed struct {
	Clauses []struct {
		ID, Status, Why string
		Side            string
		Findings        []struct{ Scenario, Expected, Got string }
	}
	Blocked      []string
	Seconds      float64
	AccountsLeft int `json:"accounts_left"`
}

// A keptNode is a process that is started again when it has ended, until stop is called.
type keptNode struct {
	t      *testing.T
	daemon *tipttest.Daemon
	// Files: the process's number, and the nodes that it is to have nothing to do with.
	pid, blocked string
	stop         func()            // ends it in good order
	running      *tipttest.Process // owned by keep, once that runs
}

func keptDaemon(t *testing.T, tiptd string, flags ...string) *keptNode {
	t.Helper()
	d := tipttest.NewDaemon(t, tiptd)
	n := &keptNode{t: t, daemon: d, pid: filepath.Join(d.Dir, "pid"), blocked: filepath.Join(d.Dir, "blocked")}
	if err := os.WriteFile(n.blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Flags = append(flags, "--block", n.blocked)
	n.running = d.Start(t)
	d.Listen = n.running.Addr
	n.note()
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		n.keep(stopping)
	}()
	n.stop = sync.OnceFunc(func() { close(stopping); <-stopped })
	t.Cleanup(n.stop)
	return n
}

// note writes the process's number down, for the operator.
func (n *keptNode) note() {
	if err := os.WriteFile(n.pid, fmt.Append(nil, n.running.PID()), 0o600); err != nil {
		n.t.Error(err)
	}
}

func (n *keptNode) keep(stopping <-chan struct{}) {
	for {
		last := false
		select {
		case <-stopping:
			last = true
			_ = n.running.Signal(syscall.SIGTERM) // fails when it has ended
		case <-n.running.Done():
		}
		if status := n.running.Status(); status > 0 { // -1 where it was killed
			n.t.Errorf("tiptd ended with status %d:\n%s", status, n.running.Log())
		}
		if last {
			return
		}
		var err error
		if n.running, err = n.daemon.Exec(); err != nil {
			n.t.Error(err)
			return
		}
		n.note()
	}
}

// operator is the operator's command.
func (n *keptNode) operator() string {
	return fmt.Sprintf(`f() { case "$1 $2" in
"restart ") kill -TERM "$(cat '%[1]s')" ;;
"kill ") kill -KILL "$(cat '%[1]s')" ;;
"node block") echo "$3" >>'%[2]s' && kill -HUP "$(cat '%[1]s')" ;;
"node unblock") sed -i "/^$3\$/d" '%[2]s' && kill -HUP "$(cat '%[1]s')" ;;
*) '%[3]s' "$@" --data '%[4]s' ;;
esac; }; f`, n.pid, n.blocked, n.daemon.Binary, n.daemon.Data)
}

// patienceForRun bounds a run, with --slow too, and decides nothing in one that passes.
const patienceForRun = 15 * time.Minute

// conformTest runs `tipt conform` and returns what it prints and its status.
func conformTest(t *testing.T, tipt string, n *keptNode, args ...string) (stdout []byte, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patienceForRun)
	defer cancel()
	d := n.daemon
	cmd := exec.CommandContext(ctx, tipt, append([]string{
		"conform", "wss://" + string(d.Name) + "/ws", "--ca", d.Root, "--connect", d.Listen, "--admin", n.operator(),
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

// built returns where programs of this project are, by their names.
func built(t *testing.T, names ...string) map[string]string {
	t.Helper()
	dir, programs := t.TempDir(), make(map[string]string)
	for _, name := range names {
		path, err := tipttest.Build(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = path
	}
	return programs
}

// A node as `tiptd serve` starts it passes, however it registers and whomever it lets in.
func TestConformance(t *testing.T) {
	programs := built(t, "tipt", "tiptd")
	for _, tt := range []struct {
		name   string
		served []string // flags of tiptd
		flags  []string // of tipt
		second bool     // the suite plays a second node
		// untested are reasons that this node leaves, besides those that all leave.
		untested []string
	}{
		{
			"open",
			[]string{"--registration", "open"},
			nil, true,
			[]string{"--connections", "--peer-rate", "no BUSY", "by invitation", "not closed", "no anonymous"},
		},
		{
			"limits",
			[]string{
				"--registration", "open", "--limits", "on", "--mailbox-messages", "120", "--outbox-user-entries", "120",
				"--max-connections", "300", "--peer-messages", "100",
			},
			[]string{"--quota", "120", "--connections", "300", "--peer-rate", "100"},
			true,
			[]string{"by invitation", "not closed", "no anonymous"},
		},
		{
			"invite",
			[]string{"--registration", "invite", "--anonymous"},
			nil, false,
			[]string{"--peer", "--connections", "--peer-rate", "no BUSY", "not closed", "registration is not open"},
		},
		{
			"draft",
			[]string{"--registration", "open", "--limits", "on"},
			[]string{"--revision", "draft"},
			true,
			[]string{"--connections", "--peer-rate", "by invitation", "not closed", "no anonymous", "--revision"},
		},
		{
			"closed", nil, nil, false,
			[]string{"--peer", "--connections", "--peer-rate", "by invitation", "registration is closed", "registration is not open"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--format", "json"}, tt.flags...)
			if tt.second {
				peer, served := secondNode(t, programs["tipt"])
				args, tt.served = append(args, peer...), append(tt.served, served...)
			}
			n := keptDaemon(t, programs["tiptd"], tt.served...)
			out, status := conformTest(t, programs["tipt"], n, args...)
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
				case "failed", "warning":
					t.Errorf("%s: %+v", c.ID, c.Findings)
				default:
					known := c.Side == "client" || strings.Contains(c.Why, "--slow") && slices.Contains(slices.Concat(slowOfNodes, slowOfTwo, ofQuota), c.ID)
					for _, why := range append(
						tt.untested, "needs names", "needs other addresses", "shows only", "happens inside", "which no guest",
						"may have the outcome", "no ML-KEM", "so small that it is full", "bars nodes only", "an address that does not answer",
						"can bring a node to that",
					) {
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
			t.Logf("%d clauses passed in %.1f s", passed, report.Seconds)
			n.stop()
		})
	}
	t.Run("junit", func(t *testing.T) {
		n := keptDaemon(t, programs["tiptd"])
		out, status := conformTest(t, programs["tipt"], n, "--only", "info", "--format", "junit")
		var suite struct {
			Tests int `xml:"tests,attr"`
		}
		if err := xml.Unmarshal(out, &suite); err != nil || suite.Tests == 0 || status != 0 {
			t.Errorf("exit status %d, %d tests, %v:\n%s", status, suite.Tests, err, out)
		}
		// The operator's command is a child of tipt.
		out, status = conformTest(t, programs["tipt"], n, "--admin", "kill -INT $PPID; :", "--only", "info")
		if status != exitFailed || !strings.Contains(string(out), ": the run was interrupted\n") {
			t.Errorf("exit status %d when interrupted:\n%s", status, out)
		}
		if out, status := conformTest(t, programs["tipt"], n, "--admin", "./absent", "--only", "info"); status != exitUsage || len(out) > 0 {
			t.Errorf("exit status %d for an operator's command that is absent:\n%s", status, out)
		}
		n.stop()
		if out, status := conformTest(t, programs["tipt"], n, "--only", "info"); status != exitUsage {
			t.Errorf("exit status %d for a node that is gone:\n%s", status, out)
		}
	})
}
