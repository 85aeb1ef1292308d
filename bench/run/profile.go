package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/tipt/tipt-go/bench"
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
	{"mailboxes and deliveries", []string{"node.(*delivery)", "tipt-go/mailbox.", "main.(*user)"}, false},
	{"sessions and connections", []string{"tipt-go/node.", "tipt-go/account.", "tipt-go/link.", "tipt-go/internal/ws.", "tipt-go/store.", "main.(*floor)", "main.(*session)"}, false},
	{"stacks that grow", []string{"runtime.newstack"}, false},
	// Assembly hides who has called it.
	{"cryptography, whose is unknown", []string{"crypto/internal/fips140", "p256"}, false},
	{"scheduling", []string{"runtime.schedule", "runtime.mcall", "runtime.mstart", "runtime.sysmon", "schedule"}, false},
	{"the rest", []string{""}, false},
}

// A column is what a profile shows of one span.
type column struct {
	name    string
	span    bench.Span
	samples int
	counts  []int // of each share
}

// printProfile prints the shares of the time.
func printProfile(w io.Writer, columns []column) {
	fmt.Fprint(w, "| share of the time |")
	for _, c := range columns {
		fmt.Fprintf(w, " %s, %d samples |", c.name, c.samples)
	}
	fmt.Fprintf(w, "\n|%s\n", strings.Repeat("---|", 1+len(columns)))
	for i, s := range shares {
		line := fmt.Sprintf("| %s |", s.name)
		seen := false
		for _, c := range columns {
			seen = seen || c.counts[i] > 0
			line += fmt.Sprintf(" %.0f %% |", 100*float64(c.counts[i])/float64(max(c.samples, 1)))
		}
		if seen {
			fmt.Fprintln(w, line)
		}
	}
	fmt.Fprintln(w)
}

// readProfile counts the samples of a subject's profile, for each span and share.
func readProfile(ctx context.Context, file, subject string, spans []bench.Span) ([]column, error) {
	var columns []column
	for _, span := range spans {
		columns = append(columns, column{name: subject + ", " + span.Name, span: span, counts: make([]int, len(shares))})
	}
	cmd := exec.CommandContext(ctx, "perf", "script", "-i", file, "-F", "time,ip,sym", "--ns")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err = countShares(out, columns)
	if err != nil {
		_, _ = io.Copy(io.Discard, out) // so that perf ends
	}
	if werr := cmd.Wait(); err == nil && werr != nil {
		err = fmt.Errorf("perf script: %w", werr)
	}
	return columns, err
}

// countShares reads samples: the time in seconds with a colon, the stack, a function a line, and an empty
// line.
func countShares(r io.Reader, columns []column) error {
	var stack []string
	var at int64
	count := func() {
		i := slices.IndexFunc(shares, func(s share) bool { return s.has(stack) })
		for j := range columns {
			if c := &columns[j]; len(stack) > 0 && at >= c.span.From && at < c.span.Upto {
				c.samples++
				c.counts[i]++
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
		if seconds, ok := strings.CutSuffix(fields[0], ":"); ok && len(fields) == 1 {
			f, err := strconv.ParseFloat(seconds, 64)
			if err != nil {
				return fmt.Errorf("read a sample's time: %w", err)
			}
			at = int64(f * 1e9)
			continue
		}
		stack = append(stack, fields[len(fields)-1])
	}
	count()
	return lines.Err()
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
