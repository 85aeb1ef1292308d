package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStatusHandler(t *testing.T) {
	var out strings.Builder
	log := slog.New(&statusHandler{node: "node.example", w: &out}).With("node", "node.example")
	log.Debug("not for people")
	log.Warn("not connected", "error", errors.New("reset\x1b[2J\nby peer"), "pause", 1234567*time.Microsecond)
	log.Warn("not connected", "error", fmt.Errorf("dial: %w", x509.UnknownAuthorityError{}), "pause", time.Second)
	log.Info("connected again")
	want := `tipt: not connected, error: reset\x1b[2J by peer, pause: 1.2s
tipt: not connected, error: the certificate of node.example is signed by an authority that this machine does not know; if it is a private one, give its root certificate with --ca FILE, pause: 1s
tipt: connected again
`
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

// TestWarnKeyChangedWhileTyping: the warning stands above the line that is being typed.
func TestWarnKeyChangedWhileTyping(t *testing.T) {
	e, screen := typed("typing", 80)
	status := &statusHandler{}
	status.redirect(e)
	var err strings.Builder // of the process, which a terminal in raw mode would show in steps
	i := &invocation{streams: streams{err: &err}, status: status}
	if err := i.warnKeyChanged("node.example", "0123", "4567"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.readLine(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	above, row, _ := show(t, screen.String(), 80)
	if !slices.Contains(above, "  it is  4567") || row != "> typing" || err.Len() > 0 {
		t.Errorf("shows %q above %q, and beside the editor %q", above, row, err.String())
	}
}
