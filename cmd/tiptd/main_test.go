// Package main_test runs the program tiptd as its users do: as a process.
package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// patience is how long a test waits for what must come. It bounds a failing test, and
// decides nothing in one that passes.
const patience = time.Minute

// tiptd is the path of the program, built for this run.
var tiptd string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) (status int) {
	dir, err := os.MkdirTemp("", "tiptd-test-")
	if err == nil {
		defer func() {
			if err := os.RemoveAll(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				status = 1
			}
		}()
		tiptd, err = tipttest.Build(dir, "tiptd")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status = m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// run runs tiptd to its end and returns what it printed.
func run(t testing.TB, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return runCommand(t, command(t, args...))
}

// command is tiptd, to be run to its end.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, tiptd, args...)
	cmd.Env = tipttest.Env()
	return cmd
}

func runCommand(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", cmd.Args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// admin runs one of an operator's commands, which is to succeed, and returns what it printed.
func admin(t testing.TB, d *tipttest.Daemon, args ...string) string {
	t.Helper()
	out, errs, status := run(t, append(args, "--data", d.Data)...)
	if status != 0 || errs != "" {
		t.Fatalf("%v: exit status %d, printed\n%s\non standard error:\n%s", args, status, out, errs)
	}
	return out
}
