// Command tiptd is a Tipt node and what its operator needs to run it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/node"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// cli is the command line. Each flag is also a variable TIPT_….
type cli struct {
	Serve       serveCmd       `cmd:"" help:"Serve the users of one name."`
	Dev         devCmd         `cmd:"" help:"Run a node to play with: no set-up, on loopback, open to everybody there."`
	Demo        demoCmd        `cmd:"" help:"Show a whole conversation, packet by packet, and end."`
	Maintenance maintenanceCmd `cmd:"" help:"Turn clients away while the node keeps running, or let them in again."`
	Invite      inviteCmd      `cmd:"" help:"Invite new users."`
	Key         keyCmd         `cmd:"" help:"Show or change the node's OpenPGP key."`
	Queue       queueCmd       `cmd:"" help:"Show what waits for other nodes, and decide about it."`
	User        userCmd        `cmd:"" help:"List users, lock them out or let them in again."`
	GC          gcCmd          `cmd:"" name:"gc" help:"Have the node give back the memory it does not need, and print how much it holds."`
	Hash        hashCmd        `cmd:"" hidden:"" help:"Hash passwords for the node that has started this."`
	Version     versionCmd     `cmd:"" help:"Print the versions of this program and of its protocol."`

	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"The same as the command version."`
}

func main() {
	// A commit holds its thread until the disk has it. With one processor the runtime lets nothing
	// else run meanwhile until it finds out, which may take it as long as that.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// streams is where a command prints.
type streams struct {
	out, err io.Writer
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	exited := -1 // kong exits by itself after --help
	parser, err := kong.New(&c,
		kong.Name("tiptd"),
		kong.Description("A node of the Tipt messaging protocol. Try `tiptd demo` first, then `tiptd dev`."),
		kong.DefaultEnvars("TIPT"),
		kong.Vars(limitDefaults()),
		kong.Vars{"version": versions},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{stdout, stderr}),
	)
	if err != nil {
		fmt.Fprintf(stderr, "tiptd: %v\n", err)
		return exitFailed
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		var parse *kong.ParseError
		if errors.As(err, &parse) {
			fmt.Fprintf(stderr, "tiptd: %s\n", usage(parse))
		} else {
			fmt.Fprintf(stderr, "tiptd: %v\n", err)
		}
		return exitUsage
	}
	if err := parsed.Run(); err != nil {
		fmt.Fprintf(stderr, "tiptd: %v\n", err)
		return exitFailed
	}
	return 0
}

// usage says what is wrong with a command line, and where it is told what is right.
func usage(err *kong.ParseError) string {
	command := err.Context.Selected()
	if command == nil {
		command = err.Context.Model.Node
	}
	// One letter is near to every other: that guess is no help.
	what := strings.TrimSuffix(err.Error(), `, did you mean "-h"?`)
	children := slices.DeleteFunc(slices.Clone(command.Children), func(child *kong.Node) bool { return child.Hidden })
	if n := len(children); n > 0 && strings.HasPrefix(what, "expected ") {
		what = "say what: "
		for i, child := range children {
			switch i {
			case 0:
			case n - 1:
				what += " or "
			default:
				what += ", "
			}
			what += child.Name
		}
	}
	return fmt.Sprintf("%s\nSee `%s --help`.", what, command.FullPath())
}

// versions are those of this program and of its protocol.
const versions = "tiptd " + node.Release + ", Tipt protocol " + tipt.Version

type versionCmd struct{}

func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, versions)
	return err
}
