package main_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
)

// A mailbox has the quota that the flags give it, with --limits off too.
func TestMailboxQuota(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags []string
		fits  int // messages of 100 bytes, of 3
	}{
		{"messages", []string{"--mailbox-messages", "2"}, 2},
		{"bytes", []string{"--mailbox-bytes", "150"}, 1},
		{"none", []string{"--mailbox-messages", "0", "--mailbox-bytes", "0", "--mailbox-days", "0"}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := tipttest.NewDaemon(t, tiptd, append([]string{"--registration", "open"}, tt.flags...)...)
			p := d.Start(t)
			register(t, d, p.Addr, "ada", "bob")
			ada := signIn(t, d, p.Addr, "ada", func(r *link.Request) { r.Reply(nil) })
			for i := range 3 {
				err := ada.send("bob", make([]byte, 100))
				switch {
				case i < tt.fits && err != nil:
					t.Errorf("message %d: %v", i, err)
				case i >= tt.fits && !errors.Is(err, tipt.ErrMailboxFull):
					t.Errorf("message %d: %v, want MAILBOX_FULL", i, err)
				}
			}
			p.Stop()
		})
	}
}

func TestMailboxQuotaBelowZero(t *testing.T) {
	for _, flag := range []string{"--mailbox-messages", "--mailbox-bytes", "--mailbox-days"} {
		d := tipttest.NewDaemon(t, tiptd)
		_, errs, status := run(t, "serve", "--node", "a.example", "--data", d.Data, "--cert", d.Cert, "--key", d.Key, flag+"=-1")
		if status == 0 || !strings.Contains(errs, "below 0") {
			t.Errorf("%s=-1: exit status %d\n%s", flag, status, errs)
		}
	}
}
