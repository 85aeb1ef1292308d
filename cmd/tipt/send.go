package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
)

// sendTimeout is how long send and forward try, over lost connections.
const sendTimeout = 2 * time.Minute

type sendCmd struct {
	Address string   `arg:"" help:"Whom to send to: NAME@NODE."`
	Text    []string `arg:"" optional:"" help:"The message; standard input when left out, or \"-\"."`
	Queue   bool     `help:"Leave it with the account's node, which tries for five days, once the recipient's node's key is known; a failure comes back to \"tipt listen\"."`
	Sealed  bool     `help:"Send it sealed end to end or not at all: to nobody who has no key."`
	ID      string   `name:"id" placeholder:"ID" help:"The message's id, to send one of unknown outcome again: it then arrives once."`
}

// Help is shown below the flags.
func (sendCmd) Help() string {
	return `When it ends with status 0 the message is on the disk of the recipient's node; with --queue, on
that of the account's, and its id on standard error, by which a report that it was not delivered names it.
When the outcome is unknown (status 6) it says with which --id to repeat the command. At a terminal it
says when nodes could read the message, as the recipient has no key, and when it is not signed.

Examples:
  tipt send bob@example.org 'See you at eight'
  tipt send bob@example.org < letter.txt
  tipt send --queue bob@example.org 'When your node is back'
  df -h | tipt send --as backup@example.org ops@example.org`
}

func (c *sendCmd) Run(ctx context.Context, i *invocation) error {
	to, err := parseAddress(c.Address)
	if err != nil {
		return err
	}
	id := tipt.NewMessageID()
	if c.ID != "" {
		if id, err = parseID(c.ID); err != nil {
			return err
		}
	}
	acc, err := i.chooseWithKey()
	if err != nil {
		return err
	}
	text := strings.Join(c.Text, " ")
	if len(c.Text) == 0 || text == "-" {
		if text, err = i.readText(); err != nil {
			return err
		}
	}
	if text == "" {
		return usage("the message is empty")
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cl, err := i.open(bounded, acc, true)
	if err != nil {
		return err
	}
	defer cl.Close()
	err = waited(ctx, cl.Send(bounded, client.Outgoing{To: to, Text: text, ID: id, Queue: c.Queue, Sealed: c.Sealed}))
	if err != nil {
		return c.advise(err, id)
	}
	if c.Queue {
		if _, err := fmt.Fprintf(i.err, "queued as message %s\n", id); err != nil {
			return err
		}
	}
	if columnsOf(i.err) == 0 {
		return nil
	}
	return i.sayHowSent(acc, to)
}

// sayHowSent says what a text that was sent lacks: a seal, or a signature.
func (i *invocation) sayHowSent(acc *account, to tipt.Address) error {
	sealedTo, err := i.folder.pins(acc.address).UserPin(to)
	if err != nil {
		return fmt.Errorf("the message is sent; whether sealed end to end is not known: %w", err)
	}
	told := ""
	switch {
	case len(sealedTo) == 0:
		told = fmt.Sprintf("sent; nodes could read it, as %s has no key", to)
	case acc.key == nil:
		told = "sent, sealed end to end, but not signed: there is no key of yours on this device; see `tipt key`"
	default:
		return nil
	}
	_, err = io.WriteString(i.err, fold("tipt: "+printable(told)+"\n", columnsOf(i.err)))
	return err
}

// advise adds to the error of sending what can be done now.
func (c *sendCmd) advise(err error, id tipt.MessageID) error {
	switch {
	case isUnknown(err):
		return fmt.Errorf("%w; the message may have arrived: to send it again without doubling it, add --id %s", err, id)
	case errors.Is(err, tipt.ErrNodeUnreachable) && isKey(err):
		return fmt.Errorf("%w; its key is not known yet, so nothing can be left for it: check the spelling, or try later", err)
	case errors.Is(err, tipt.ErrNodeUnreachable) && c.Queue && isUserKey(err):
		return fmt.Errorf("%w; whether there is a key to seal to is not known yet, so nothing can be left: try later", err)
	case errors.Is(err, tipt.ErrNodeUnreachable) && !c.Queue:
		return fmt.Errorf("%w; to leave the message with your own node, which tries for five days, add --queue", err)
	}
	return err
}

// readText reads a message from standard input, without its last line end.
func (s streams) readText() (string, error) {
	if term.IsTerminal(int(s.in.Fd())) {
		fmt.Fprintln(s.err, "Type the message; Ctrl-D on a line of its own ends it.")
	}
	b, err := io.ReadAll(io.LimitReader(s.lines, tipt.MaxMessageSize+1))
	if err != nil {
		return "", fmt.Errorf("read the message: %w", err)
	}
	if len(b) > tipt.MaxMessageSize {
		return "", usage("the message is longer than %d bytes", tipt.MaxMessageSize)
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

type forwardCmd struct {
	Node string `arg:"" help:"The node to hand it to."`
}

// Help is shown below the flags.
func (forwardCmd) Help() string {
	return `Standard input is the sealed request: an OpenPGP message to the node's key, at most
2,000,000 bytes. Standard output is the node's answer, as it came.

Example:
  tipt forward example.org < sealed > answer`
}

func (c *forwardCmd) Run(ctx context.Context, i *invocation) error {
	node, err := parseNode(c.Node)
	if err != nil {
		return err
	}
	acc, err := i.choose()
	if err != nil {
		return err
	}
	sealed, err := io.ReadAll(io.LimitReader(i.lines, tipt.MaxSealedSize+1))
	if err != nil {
		return fmt.Errorf("read the sealed request: %w", err)
	}
	if len(sealed) == 0 || len(sealed) > tipt.MaxSealedSize {
		return usage("standard input must be a sealed request of 1 to %d bytes", tipt.MaxSealedSize)
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cl, err := i.open(bounded, acc, true)
	if err != nil {
		return err
	}
	defer cl.Close()
	answer, err := cl.Forward(bounded, node, sealed)
	if err != nil {
		return waited(ctx, err)
	}
	_, err = i.out.Write(answer)
	return err
}
