package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
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
