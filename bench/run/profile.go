package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// A share is a part of the time that a profile shows: the stacks that one of the functions is in,
// and that no earlier share has.
type share struct {
	name      string
	functions []string
	kernel    bool // only where the stack is in the kernel
}

// committing are the functions under which a transaction is made, of the node and of the floor.
var committing = []string{"store/sqlite.(*Store).Commit", "main.(*floor).transact"}

// shares are all, the more special before the more general.
var shares = []share{
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcDrain"}, false},
	{"opening OpenPGP messages", []string{"seal.(*Opener).Open", "seal.(*NodeKey).Open"}, false},
	{"the disk", committing, true},
	{"SQLite", committing, false},
	{"hashing passwords", []string{"x/crypto/argon2."}, false},
	{"signing and verifying", []string{"crypto/ed25519."}, false},
	{"TLS handshakes", []string{"crypto/tls.(*Conn).handshakeContext"}, false},
	{"writing to clients", []string{"link.(*Link).write", "bare.(*Conn).Flush"}, false},
	{"reading from clients", []string{"link.(*Link).read", "bare.(*Conn).Next"}, false},
	{"HTTP", []string{"net/http."}, false},
	{"scheduling", []string{"runtime.schedule", "runtime.mcall", "runtime.mstart", "runtime.sysmon", "schedule"}, false},
	{"the rest", []string{""}, false},
}

// printProfile prints the shares of the time in profiles of perf, one for each subject.
func printProfile(ctx context.Context, w io.Writer, subjects []subject, files []string) error {
	counts := make([][]int, len(files))
	samples := make([]int, len(files))
	for i, file := range files {
		var err error
		if counts[i], samples[i], err = readProfile(ctx, file); err != nil {
			return err
		}
	}
	fmt.Fprint(w, "| share of the time |")
	for i, s := range subjects {
		fmt.Fprintf(w, " %s, %d samples |", s.name, samples[i])
	}
	fmt.Fprintf(w, "\n|%s\n", strings.Repeat("---|", 1+len(subjects)))
	for j, s := range shares {
		line := fmt.Sprintf("| %s |", s.name)
		seen := false
		for i := range files {
			seen = seen || counts[i][j] > 0
			line += fmt.Sprintf(" %.0f %% |", 100*float64(counts[i][j])/float64(max(samples[i], 1)))
		}
		if seen {
			fmt.Fprintln(w, line)
		}
	}
	fmt.Fprintln(w)
	return nil
}

// readProfile counts the samples of a profile, for each share.
func readProfile(ctx context.Context, file string) (counts []int, samples int, err error) {
	cmd := exec.CommandContext(ctx, "perf", "script", "-i", file, "-F", "ip,sym")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	counts, samples, err = countShares(out)
	if err != nil {
		_, _ = io.Copy(io.Discard, out) // so that perf ends
	}
	if werr := cmd.Wait(); err == nil && werr != nil {
		err = fmt.Errorf("perf script: %w", werr)
	}
	return counts, samples, err
}

// countShares reads stacks, a function a line, with an empty line behind each.
func countShares(r io.Reader) (counts []int, samples int, err error) {
	counts = make([]int, len(shares))
	var stack []string
	count := func() {
		if len(stack) == 0 {
			return
		}
		samples++
		for i, s := range shares {
			if s.has(stack) {
				counts[i]++
				break
			}
		}
		stack = stack[:0]
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			count()
			continue
		}
		stack = append(stack, fields[len(fields)-1])
	}
	count()
	return counts, samples, lines.Err()
}

// has reports whether a stack belongs to a share.
func (s share) has(stack []string) bool {
	in := !s.kernel
	found := false
	for _, f := range stack {
		in = in || f == "do_syscall_64"
		for _, name := range s.functions {
			found = found || strings.Contains(f, name)
		}
	}
	return in && found
}
