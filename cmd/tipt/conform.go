package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/tipt/tipt-go/conform"
)

type conformCmd struct {
	URL         string   `arg:"" optional:"" placeholder:"wss://NODE[:PORT]/ws" help:"The node to test, as wss://NODE[:PORT]/ws."`
	Client      bool     `help:"Test a client, which --run starts, and play the node for it."`
	Command     string   `name:"run" placeholder:"CMD" help:"Shell command that runs the client to test."`
	UserPrefix  string   `default:"conform-" placeholder:"P" help:"What the names of the accounts it makes begin with (${default})."`
	Invite      []string `placeholder:"CODE" sep:"none" help:"An invitation, for a node that registers by invitation. May be given again and again."`
	Only        string   `placeholder:"PATTERN" help:"Only clauses and scenarios whose name this regular expression matches as a whole."`
	Slow        bool     `help:"Also what takes minutes."`
	Quota       int      `placeholder:"N" help:"The most messages that a mailbox of the node, and a user's outbox, hold: a few hundred, for the suite fills them."`
	Connections int      `placeholder:"N" help:"The most connections that the node takes: a few hundred, for the suite takes them all."`
	PeerRate    int      `placeholder:"N" help:"The most messages of another node that it takes a minute: a few hundred, for the suite sends more."`
	Revision    string   `enum:"seed,draft," default:"" placeholder:"seed|draft" help:"The form of the packets: the protocol as first published, or that of its later drafts. Without it a node is tested in the former, a client in the one that it chooses."`
	Admin       string   `placeholder:"CMD" help:"Shell command that does what the operator must: it is run with \"maintenance on\", \"maintenance off\", \"invite new\", \"user disable NAME\", \"user enable NAME\", \"node block NAME\", \"node unblock NAME\", \"queue drop NAME\", \"key rotate\", \"restart\" or \"kill\" behind it. \"node block\" and \"queue drop\" take --peer too."`
	Peer        string   `placeholder:"NAME=HOST:PORT" help:"Play a second node there, under names below NAME, which the node must reach at this address: without a URL it prints how one of tiptd is told."`
	PeerCA      string   `name:"peer-ca" placeholder:"FILE" type:"path" help:"Certificate authority of the second node, which the node must trust; the file is made where missing."`
	Format      string   `enum:"text,json,junit" default:"text" help:"Form of the report: text, json or junit (${default})."`
}

// Help is shown below the flags.
func (conformCmd) Help() string {
	return `It makes accounts, whose names begin with --user-prefix, and deletes them at the end. The
clauses are in docs/conformance.md.

Example, with a node of tiptd on this machine that was started with --block /etc/tipt/block:
  tipt conform wss://node.example/ws --ca ca.pem --connect 127.0.0.1:7443 --admin ./operator
and the file operator:
  #!/bin/sh
  case "$1 $2" in
  "restart ") systemctl restart tiptd ;;
  "kill ") systemctl kill -s KILL tiptd ;; # which has Restart=always
  "node block") echo "$3" >>/etc/tipt/block && systemctl kill -s HUP tiptd ;;
  "node unblock") sed -i "/^$3\$/d" /etc/tipt/block && systemctl kill -s HUP tiptd ;;
  *) exec tiptd "$@" --data /var/lib/tipt ;;
  esac
What the command does not know may fail, and is reported as not tested; so is what shows no effect. One that
cannot be run is an error: it is run with "maintenance off" first, to see that it can be. "key rotate" is for
good: the node has a new subkey afterwards. Only the node of --peer is blocked, and only what
waits for it dropped, so that needs both flags.

With a node of "tiptd dev --data DIR", which knows no restart, no kill and no other nodes:
  tipt conform wss://tipt.localhost/ws --ca DIR/ca.pem --connect 127.0.0.1:7443 --admin 'TIPT_DATA=DIR tiptd'


What concerns a second node is tested with --peer, where it plays that node itself. Without a URL
it prints what tiptd serve has to be started with for that, all of it, besides the --block that
--admin writes to, and makes the file of --peer-ca:
  tipt conform --peer second.example=127.0.0.1:7444 --peer-ca second.pem
  tipt conform --peer second.example=127.0.0.1:7444 --peer-ca second.pem wss://node.example/ws

What happens when a mailbox or an outbox is full is tested at once where --quota says how little they
hold, and with --slow otherwise, as far as the node's limits on messages let it. The messages in that
outbox are for a name below .invalid, and stay until the node gives them up.
  tiptd serve --mailbox-messages 200 --outbox-user-entries 200 ...
  tipt conform --quota 200 wss://node.example/ws

What happens when connections run short, or another node sends too much, is tested where --connections and
--peer-rate say how little the node takes:
  tiptd serve --max-connections 300 --peer-messages 100 ...
  tipt conform --connections 300 --peer-rate 100 --peer ... wss://node.example/ws

With --client it plays a node on this machine, now a good one, now one that misbehaves, and starts
CMD for each scenario anew, with these variables:
  TIPT_URL      the node, as wss://NODE/ws
  TIPT_CONNECT  HOST:PORT to connect to instead of port 443 of NODE
  TIPT_CA       file of a root certificate to trust too
  TIPT_USER     name of the user to sign in as
  TIPT_PASS     the password
  TIPT_TO       address of the user to write to
  TIPT_KEY      file of the user's OpenPGP key, secret and armored, where messages are sealed to that
CMD is to sign in, to send each line of its standard input to TIPT_TO as a message, and to print
each message that it gets on a line of standard output, until its standard input ends. "tipt chat"
is such a command:
  tipt conform --client --run 'tipt chat'
A client that sends an Origin with its upgrade is taken for a script in a browser, where that may do less.
The node that it plays serves the seed's form of the packets and that of the later drafts, as the
HANDSHAKE of each connection chooses. The form of the first connection is the one tested, and named
in the report; with --revision a client that speaks the other cannot be used.

Exit status:
  0  nothing that was tested failed
  1  the node, or the client, broke a clause that says must
  2  it could not be used
A clause that says should never fails: where it is not followed the report has a warning in its place, which
is no pass either, and in the form of JUnit a test that was skipped.`
}

func (c *conformCmd) Run(ctx context.Context, i *invocation) error {
	var report *conform.Report
	var err error
	who := "node"
	var tell conform.Progress
	p := progress{w: i.err}
	if f, ok := i.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		tell = p.show
	}
	switch {
	case c.Client && c.URL == "" && c.Command != "":
		who = "client"
		report, err = conform.RunClient(ctx, conform.ClientOptions{
			Command: c.Command, Only: c.Only, Slow: c.Slow, Revision: conform.Revision(c.Revision), Progress: tell,
		})
	case !c.Client && c.URL != "" && c.Command == "":
		report, err = c.runNode(ctx, i, tell)
	case !c.Client && c.URL == "" && c.PeerCA != "":
		return c.preparePeer(i)
	default:
		return usage("give the URL of a node, or --client and --run CMD")
	}
	p.clear()
	switch {
	case report != nil: // of an interrupted run as far as it came
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return usage("test the %s: %w", who, err) // the status that says so too
	}
	write := map[string]func(io.Writer) error{"text": report.WriteText, "json": report.WriteJSON, "junit": report.WriteJUnit}[c.Format]
	if err := write(i.out); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case report.Count(conform.Failed) > 0:
		return fmt.Errorf("the %s broke a clause that says must", who)
	case len(report.Blocked) > 0:
		return usage("some scenarios could not be set up")
	}
	return nil
}

// preparePeer makes the second node's authority and prints how a node of tiptd is told of it.
func (c *conformCmd) preparePeer(i *invocation) error {
	base, address, _ := strings.Cut(c.Peer, "=")
	if base == "" || address == "" {
		return usage("--peer: %q is no NAME=HOST:PORT", c.Peer)
	}
	if _, err := conform.PeerCA(c.PeerCA); err != nil {
		return err
	}
	fmt.Fprintf(i.out, "--root-ca %s\n", c.PeerCA)
	for _, name := range conform.PeerNames(base) {
		fmt.Fprintf(i.out, "--resolve %s=%s\n", name, address)
	}
	return nil
}

func (c *conformCmd) runNode(ctx context.Context, i *invocation, tell conform.Progress) (*conform.Report, error) {
	target, err := i.target(c.URL)
	if err != nil {
		return nil, err
	}
	if err := i.reach(ctx, target); err != nil {
		return nil, err
	}
	options := conform.Options{
		URL: c.URL, Connect: i.flags.Connect, UserPrefix: c.UserPrefix, Invites: c.Invite, Only: c.Only, Slow: c.Slow, Admin: c.Admin,
		Quota: c.Quota, Connections: c.Connections, PeerRate: c.PeerRate, Revision: conform.Revision(c.Revision), Peer: c.Peer, Authority: c.PeerCA, Progress: tell,
	}
	if i.flags.CA != "" {
		options.Roots = target.TLS.RootCAs
	}
	return conform.Run(ctx, options)
}
