package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tipt/tipt-go/conform"
)

type conformCmd struct {
	URL        string   `arg:"" placeholder:"wss://NODE[:PORT]/ws" help:"The node to test, as wss://NODE[:PORT]/ws."`
	UserPrefix string   `default:"conform-" placeholder:"P" help:"What the names of the accounts it makes begin with (${default})."`
	Invite     []string `placeholder:"CODE" sep:"none" help:"An invitation, for a node that registers by invitation. May be given again and again."`
	Only       string   `placeholder:"PATTERN" help:"Only clauses and scenarios whose name this regular expression matches as a whole."`
	Slow       bool     `help:"Also what takes minutes."`
	Admin      string   `placeholder:"CMD" help:"Shell command that does what the operator must: it is run with \"maintenance on\", \"maintenance off\", \"invite new\", \"user disable NAME\" or \"user enable NAME\" behind it."`
	Format     string   `enum:"text,json,junit" default:"text" help:"Form of the report: text, json or junit (${default})."`
}

// Help is shown below the flags.
func (conformCmd) Help() string {
	return `It makes accounts, whose names begin with --user-prefix, and deletes them at the end. The
clauses are in docs/conformance.md.

Example, with a node of tiptd on this machine:
  tipt conform wss://node.example/ws --ca ca.pem --connect 127.0.0.1:7443 \
      --admin 'f() { tiptd "$@" --data /var/lib/tipt; }; f'

Exit status:
  0  nothing that was tested failed
  1  the node broke a clause that says must
  2  the node could not be used`
}

func (c *conformCmd) Run(ctx context.Context, i *invocation) error {
	options := conform.Options{
		URL: c.URL, Connect: i.flags.Connect, UserPrefix: c.UserPrefix, Invites: c.Invite, Only: c.Only, Slow: c.Slow, Admin: c.Admin,
	}
	if i.flags.CA != "" {
		pem, err := os.ReadFile(i.flags.CA)
		if err != nil {
			return usage("read --ca: %w", err)
		}
		if options.Roots, err = x509.SystemCertPool(); err != nil {
			return fmt.Errorf("read this machine's root certificates: %w", err)
		}
		if !options.Roots.AppendCertsFromPEM(pem) {
			return usage("--ca: there is no certificate in %s", i.flags.CA)
		}
	}
	report, err := conform.Run(ctx, options)
	if err != nil {
		return usage("test the node: %w", err) // the status that says so too
	}
	write := map[string]func(io.Writer) error{"text": report.WriteText, "json": report.WriteJSON, "junit": report.WriteJUnit}[c.Format]
	if err := write(i.out); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	switch {
	case report.Broken(conform.Must):
		return errors.New("the node broke a clause that says must")
	case len(report.Blocked) > 0:
		return usage("some scenarios could not be set up")
	}
	return nil
}
