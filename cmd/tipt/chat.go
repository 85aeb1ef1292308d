package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
)

type chatCmd struct {
	Address  string `arg:"" optional:"" help:"Whom to write with: NAME@NODE."`
	Unopened bool   `help:"Go on without the account's key where this device lacks it; see \"tipt listen --help\"."`
}

// Help is shown below the flags.
func (chatCmd) Help() string {
	return `Each line is sent as a message. What comes in is printed above the line being typed, from
others than ADDRESS too. Ctrl-D or Ctrl-C ends it, and so does the end of standard input, when
everything has been sent; its status is then that of the last line that could not be. At a terminal
such a line is named behind "! not sent".

Behind a sender stands [signed] when the message was sealed end to end and signed with the key kept for
the sender; "tipt key --help" says more. Brackets in an address are shown as \x5b and \x5d.

Only one listen or chat of an account runs on a machine: a second one ends the first.

Where a program starts it, these variables, all together, take the place of ADDRESS and of an
account of this machine; nothing is then kept:
  TIPT_URL   the node, as wss://NODE/ws
  TIPT_USER  name of the user to sign in as
  TIPT_PASS  the password
  TIPT_TO    ADDRESS
and TIPT_KEY, if set, is a file with the user's secret key, without a passphrase.

Example:
  tipt chat bob@example.org`
}

func (c *chatCmd) Run(ctx context.Context, i *invocation) error {
	open := i.chosen
	if to := os.Getenv("TIPT_TO"); c.Address == "" && to != "" {
		c.Address, open = to, i.passing
	}
	if c.Address == "" {
		return usage("say with whom, as in `tipt chat bob@example.org`")
	}
	with, err := parseAddress(c.Address)
	if err != nil {
		return err
	}
	cl, acc, err := open(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	defer cl.Close()
	chat := &chat{client: cl, me: acc.address, with: with, signs: acc.key != nil}
	chat.look = func(ctx context.Context, m client.Message) error {
		return i.lookAtSeal(ctx, cl, acc, m, c.Unopened)
	}
	if term.IsTerminal(int(i.in.Fd())) && term.IsTerminal(int(i.out.Fd())) {
		return chat.interactive(ctx, i)
	}
	lines := bufio.NewScanner(i.lines)
	lines.Buffer(nil, tipt.MaxMessageSize)
	chat.readLine = func() (string, error) {
		if lines.Scan() {
			return lines.Text(), nil
		}
		if err := lines.Err(); err != nil {
			return "", fmt.Errorf("read standard input: %w", err)
		}
		return "", io.EOF
	}
	chat.print = func(text string) error {
		_, err := io.WriteString(i.out, text)
		return err
	}
	chat.inputEnded = func() {}
	return chat.run(ctx)
}

// A chat sends what is typed and prints what comes in.
type chat struct {
	client *client.Client
	me     tipt.Address
	with   tipt.Address
	signs  bool // what is sent

	look       func(context.Context, client.Message) error // before a message is printed
	readLine   func() (string, error)                      // io.EOF at the end
	inputEnded func()                                      // called then
	print      func(string) error                          // whole lines
	echo       bool                                        // print what was typed

	inputErr error // of readLine, if not io.EOF; to be read once typed is closed
}

// interactive runs the chat at a terminal.
func (c *chat) interactive(ctx context.Context, i *invocation) error {
	raw, err := term.MakeRaw(int(i.in.Fd()))
	if err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	e := newEditor(i.lines, i.out, func() int { return columnsOf(i.out) })
	i.status.redirect(e)
	restore := sync.OnceFunc(func() {
		e.hide()
		i.status.redirect(i.err)
		if err := term.Restore(int(i.in.Fd()), raw); err != nil {
			i.log.Error("the terminal could not be restored", "error", err)
		}
	})
	defer restore()
	c.readLine, c.inputEnded, c.print, c.echo = e.readLine, restore, e.print, true
	if err := c.print(fmt.Sprintf("%s with %s; Ctrl-D ends\n", c.me, c.with)); err != nil {
		return err
	}
	return c.run(ctx)
}

// run ends when everything typed was sent, when nothing more can come in, or with ctx.
func (c *chat) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop(nil)

	received := make(chan error, 1)
	running.Go(func() {
		received <- c.client.Receive(ctx, func(ctx context.Context, m client.Message) error {
			if err := c.look(ctx, m); err != nil {
				if isUsage(err) {
					stop(err)
				}
				return err
			}
			err := c.print(c.incoming(m))
			if err != nil {
				stop(err) // nobody reads any more; the message is not acknowledged
			}
			return err
		})
	})
	typed := make(chan string, 100)
	// Reading standard input cannot be called off: where ctx ends first the
	// goroutine is left behind, and the process ends.
	go c.read(ctx, typed)
	if c.echo {
		running.Go(func() { c.tellSealing(ctx) })
	}
	sent := make(chan error, 1)
	running.Go(func() { sent <- c.send(ctx, typed) })
	select {
	case err := <-sent:
		return ended(ctx, err)
	case err := <-received:
		return ended(ctx, err)
	}
}

// tellSealing prints what becomes of what is typed. What stands in the way of knowing that is said when
// something is sent.
func (c *chat) tellSealing(ctx context.Context) {
	b, err := c.client.RecipientKey(ctx, c.with)
	change, changed := errors.AsType[*keyChange](err)
	told := "what you write is sealed end to end, and signed"
	switch {
	case changed:
		told = change.Error()
	case err != nil:
		return
	case b == nil:
		told = fmt.Sprintf("nodes can read what you write: %s has no key", c.with)
	case !c.signs:
		told = "what you write is sealed end to end, but not signed: there is no key of yours here; see `tipt key`"
	}
	_ = c.print(told + "\n") // a terminal that is gone shows when it is read
}

// read puts lines into typed, which it closes at the end of the input.
func (c *chat) read(ctx context.Context, typed chan<- string) {
	defer close(typed)
	for {
		line, err := c.readLine()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.inputErr = err
			}
			c.inputEnded()
			return
		}
		if line == "" {
			continue
		}
		if c.echo && c.print(c.at(time.Now(), string(c.me.User), printable(line))) != nil {
			return
		}
		select {
		case typed <- line:
		case <-ctx.Done():
			return
		}
	}
}

// send sends the lines, in order, until typed is closed. It returns the last failure.
func (c *chat) send(ctx context.Context, typed <-chan string) error {
	var failure error
	why := "" // as told last
	for {
		var line string
		var ok bool
		select {
		case line, ok = <-typed:
		case <-ctx.Done():
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok && c.inputErr != nil:
			return c.inputErr
		case !ok:
			return failure
		}
		failed := c.client.Send(ctx, client.Outgoing{To: c.with, Text: line})
		if failed == nil || ctx.Err() != nil {
			continue
		}
		failure = failed
		if c.echo {
			told := unsent(line, failure)
			if text, _ := explain(failure); text != why {
				why = text
				told += "! " + printable(text) + "\n"
			}
			if err := c.print(told); err != nil {
				return err
			}
		}
	}
}

// unsent names a line that was typed, and printed as if it would be sent, by how it begins.
func unsent(line string, failure error) string {
	what := "not sent"
	if isUnknown(failure) {
		what = "perhaps not sent"
	}
	begin := []rune(line)
	if len(begin) > 40 {
		begin = append(begin[:39], '…')
	}
	return fmt.Sprintf("! %s: %s\n", what, oneLine(string(begin)))
}

func (c *chat) incoming(m client.Message) string {
	from := sender(m)
	if m.From == c.with.String() && c.with.User != c.me.User && plain(c.with.User) {
		from = string(c.with.User)
	}
	return c.at(m.Time, from+mark(m), describe(m))
}

// plain says whether a name can stand alone. Of others the node is shown, so that they do not look like
// something else, a mark for instance.
func plain(name tipt.UserName) bool {
	return !strings.ContainsFunc(string(name), func(r rune) bool {
		return r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r)
	})
}

func (c *chat) at(t time.Time, who, text string) string {
	layout := "15:04"
	if y, m, d := t.Local().Date(); !time.Now().Before(time.Date(y, m, d+1, 0, 0, 0, 0, time.Local)) {
		layout = "2006-01-02 15:04"
	}
	return fmt.Sprintf("%s %s: %s\n", t.Local().Format(layout), who, text)
}
