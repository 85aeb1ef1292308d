// Command tipt is a Tipt client for the terminal: it registers, signs in, sends
// and receives, for people and for scripts.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tipt/tipt-go"
)

// cli is the command line.
type cli struct {
	accountFlags
	tapFlags

	Register registerCmd `cmd:"" help:"Make an account on a node and sign in."`
	SignIn   signInCmd   `cmd:"" help:"Sign in with an account that exists."`
	SignOut  signOutCmd  `cmd:"" help:"Sign this device out and forget the account here."`
	Send     sendCmd     `cmd:"" help:"Send a message."`
	Listen   listenCmd   `cmd:"" help:"Print messages as they come, until interrupted."`
	Chat     chatCmd     `cmd:"" help:"Write with somebody, line by line."`
	Forward  forwardCmd  `cmd:"" help:"Hand a sealed request to a node and print the answer."`
	Info     infoCmd     `cmd:"" help:"Show the account and what its node says about itself."`
	Devices  devicesCmd  `cmd:"" help:"List the account's devices, or remove one."`
	Passwd   passwdCmd   `cmd:"" help:"Change the password and sign out all other devices."`
	Conform  conformCmd  `cmd:"" help:"Test a node or a client, clause by clause, against the specification of the protocol."`
	Tap      tapCmd      `cmd:"" help:"Stand between clients and a node, and show what crosses."`
	Replay   replayCmd   `cmd:"" help:"Make a recorded conversation again and compare what the node answers."`
	Key      keyCmd      `cmd:"" help:"Have what people write to the account sealed end to end; show and move its key, print those of others."`
	Bench    benchCmd    `cmd:"" help:"Put a node under load and measure it."`
	Doctor   doctorCmd   `cmd:"" help:"Find out what is wrong on the way to a node."`
	Version  versionCmd  `cmd:"" help:"Print the versions of this program and of its protocol."`

	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"The same as the command version."`
}

// accountFlags choose the account and say how its node is reached.
type accountFlags struct {
	As      string `placeholder:"ADDRESS" env:"TIPT_AS" help:"The account to use; needed when there are several."`
	CA      string `name:"ca" placeholder:"FILE" env:"TIPT_CA" help:"Trust this root certificate (PEM) too; register and sign-in remember it."`
	Connect string `placeholder:"HOST:PORT" env:"TIPT_CONNECT" help:"Where the node is reached, instead of port 443 of its name; register and sign-in remember it."`
}

const description = `A client for Tipt, messaging between people at domains.

  tipt register alice@example.org     make an account and sign in
  tipt send bob@example.org 'Hello!'  send a message
  tipt listen                         print what comes in
  tipt chat bob@example.org           do both

Accounts are kept in ${folder}; the variable TIPT_CONFIG names another folder.

Exit status:
  0  done
  1  failed for another reason
  2  wrong usage, or no account to use
  3  not signed in: wrong password, device signed out, account disabled
  4  the node cannot be reached, or takes no requests now; try again later
  5  refused by the node or by the recipient's; trying again will not help
  6  unknown: the connection was lost before the answer`

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, lines: bufio.NewReaderSize(os.Stdin, maxLine), out: os.Stdout, err: os.Stderr}))
}

// versions are those of this program and of its protocol.
const versions = "tipt " + tipt.Release + ", Tipt protocol " + tipt.Version

type versionCmd struct{}

func (versionCmd) Run(i *invocation) error {
	_, err := fmt.Fprintln(i.out, versions)
	return err
}

// streams is where a command reads and prints.
type streams struct {
	in    *os.File
	lines *bufio.Reader // of in
	out   *os.File
	err   io.Writer
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string, s streams) int {
	folder, err := accountFolder()
	if err != nil {
		return s.fail(err)
	}
	var c cli
	exited := -1 // kong exits by itself after --help
	parser, err := kong.New(&c,
		kong.Name("tipt"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Vars{"folder": string(folder), "version": versions},
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return s.fail(err)
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		return s.fail(mistyped(err))
	}
	status := &statusHandler{w: s.err}
	i := &invocation{
		streams: s,
		flags:   c.accountFlags,
		tap:     c.tapFlags,
		folder:  folder,
		status:  status,
		log:     slog.New(status),
	}
	if err := i.tap.check(parsed.Command()); err != nil {
		return s.fail(err)
	}
	err = parsed.Run(i, &c.Bench)
	if i.tapped != nil {
		err = errors.Join(err, i.tapped())
	}
	return s.fail(err)
}

// mistyped makes a usageError of a command line that cannot be parsed. It names the help of the command
// that was meant.
func mistyped(err error) error {
	command := "tipt"
	if e, ok := errors.AsType[*kong.ParseError](err); ok && e.Context != nil {
		for _, p := range e.Context.Path {
			if p.Command != nil {
				command += " " + p.Command.Name
			}
		}
	}
	text := err.Error()
	if flag, _, ok := strings.Cut(text, ", did you mean"); ok && strings.HasPrefix(flag, "unknown flag -") && !strings.HasPrefix(flag, "unknown flag --") {
		text = flag // every letter is close to every other
	}
	return usage("%s; see `%s --help`", text, command)
}

// An invocation is what the commands are run with.
type invocation struct {
	streams
	flags  accountFlags
	tap    tapFlags
	folder folder
	status *statusHandler
	log    *slog.Logger // to status: what becomes of the connection
	tapped func() error // ends the client's own tap, once there is one
}

// fail prints the error, if there is one, and returns the exit status.
func (s streams) fail(err error) int {
	if err == nil {
		return 0
	}
	text, status := explain(err)
	fmt.Fprint(s.err, fold(fmt.Sprintf("tipt: %s\n", printable(text)), columnsOf(s.err)))
	return status
}

// A usageError is the caller's mistake.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

func isUsage(err error) bool {
	var u usageError
	return errors.As(err, &u)
}
