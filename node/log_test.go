package node_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"sync"
	"testing"

	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// A transcript is a log that is looked at while it is written.
type transcript struct {
	mu   sync.Mutex // guards the following field
	text bytes.Buffer
}

func (l *transcript) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// TestLogNamesTheConnection: what is logged about a connection has its number.
func TestLogNamesTheConnection(t *testing.T) {
	var log transcript
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	n := tipttest.Start(t, func(c *node.Config) { c.Logger = slog.New(handler).With("node", "a") })
	n.Dial(t).Greet().Hang()
	bad := n.Dial(t).Greet()
	bad.SendText("hello")
	bad.WantClose(1003)
	n.Stop()
	for _, want := range []string{
		`msg="connection ended" node=a connection=1 cause=`,
		`msg="peer broke the protocol" node=a connection=2 code=1003 `,
		`msg="connection ended" node=a connection=2 cause=`,
	} {
		if !regexp.MustCompile(want).Match(log.text.Bytes()) {
			t.Errorf("%q is not in the log:\n%s", want, log.text.String())
		}
	}
}
