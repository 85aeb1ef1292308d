package main

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// At a terminal one sees what the suite does, and it ends like everything else.
func TestConformAtTerminal(t *testing.T) {
	// Whatever started this test may have hangups ignored; what the test starts does not, as the test
	// itself takes them.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for name, end := range map[string]func(*terminal){
		"Ctrl-C": func(p *terminal) { p.press("\x03") },
		"hangup": func(p *terminal) {
			if err := p.tipt.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			// A client that does nothing has a quarter of a minute for it.
			p := startAtTerminal(t, []string{"TIPT_CONFIG=" + t.TempDir()}, "conform", "--client", "--run", "cat")
			p.wantShown("client-correct: 0 of 1")
			end(p)
			p.wantShown("\r\x1b[Ktipt: interrupted\r\n")
			p.wantEnd(exitFailed)
		})
	}
}

// Whoever has a hangup ignored is not ended by it.
func TestConformWithoutHangup(t *testing.T) {
	// The shell that runs the client is a child of tipt.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap '' HUP; exec tipt conform --client --run 'kill -HUP $PPID; false'`)
	cmd.Env = tipttest.Env("TIPT_CONFIG=" + t.TempDir())
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "TIPT_CONNECT") {
		t.Errorf("%v, printed\n%s\nwant that the client did not connect", err, out)
	}
}
