package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/tipt/tipt-go/client"
)

type listenCmd struct {
	JSON     bool   `name:"json" xor:"form" help:"Print each message as one line of JSON."`
	Exec     string `placeholder:"CMD" xor:"form" help:"Run a shell command for each message instead of printing it."`
	Unopened bool   `help:"Go on without the account's key where this device lacks it."`
}

// Help is shown below the flags.
func (listenCmd) Help() string {
	return `A message that was printed, or whose CMD ended with status 0, is acknowledged: the node need not
keep it for this device any longer. After another status CMD is run again for the same
message, after pauses of up to 5 minutes; the messages behind it wait. SIGINT and SIGTERM end
listen with status 0.

CMD gets the text on standard input and these variables:
  TIPT_FROM  the sender's address, empty when anonymous
  TIPT_TO    the account's address
  TIPT_ID    the message's id
  TIPT_TIME  when the node stored it (RFC 3339)
  TIPT_FORM  text, or other: standard input is then the message's bytes as they came
  TIPT_SEAL  how it came sealed end to end: signed (with the key kept for the sender), unsigned or
             unopened (no key here opens it); empty where nodes could read it
Reports of messages that could not be delivered go to standard error, not to CMD.

The lines of --json are objects with id, from, time and one of
  text    of a text
  body    of anything else, in base64
  return  {ref, node, error}: the message ref was not delivered
and, for a message that came sealed end to end,
  sealed    true
  signed    true: with the key kept for the sender
  unsigned  why it does not count as signed, where it has a signature or the sender a key
  unopened  why no key here opens it; body is then what came
  reason    a code of these: key-changed, key-withdrawn (nothing is sent there before "tipt key
            accept"), key-unavailable, other-key, missing (no signature) or invalid; unopened ones
            have no-key, other-key or invalid

When a message comes that is sealed to a key of the account's, this or an earlier one, which this device
lacks, listen ends, and the message waits until the key is here ("tipt key import"). With --unopened such
messages are shown as what they are, and acknowledged; what is sealed to another key always is.

Only one listen or chat of an account runs on a machine: a second one ends the first.

Examples:
  tipt listen
  tipt listen --json | jq -r .text
  tipt listen --exec 'notify-send "$TIPT_FROM" "$(cat)"'`
}

func (c *listenCmd) Run(ctx context.Context, i *invocation) error {
	cl, acc, err := i.chosen(ctx)
	if err != nil {
		return ended(ctx, err)
	}
	defer cl.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	handle := func(ctx context.Context, m client.Message) error {
		if err := i.lookAtSeal(ctx, cl, acc, m, c.Unopened); err != nil {
			if isUsage(err) {
				stop(err)
			}
			return err
		}
		if c.Exec != "" && m.Return == nil {
			return i.exec(ctx, c.Exec, acc, m)
		}
		err := c.print(i, m)
		if err != nil {
			stop(err) // nobody reads any more; the message is not acknowledged
		}
		return err
	}
	return ended(ctx, cl.Receive(ctx, handle))
}

// ended is the error of a command that an interrupt ends in good order.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (c *listenCmd) print(i *invocation, m client.Message) error {
	if c.JSON {
		line, err := jsonLine(m)
		if err == nil {
			_, err = i.out.Write([]byte(line))
		}
		return err
	}
	var out io.Writer = i.out
	if c.Exec != "" {
		out = i.err
	}
	line := fmt.Sprintf("%s %s%s: %s\n", m.Time.Local().Format("2006-01-02 15:04"), sender(m), mark(m), describe(m))
	_, err := io.WriteString(out, fold(line, columnsOf(out)))
	return err
}

// exec runs a shell command with a message. It returns nil when that ends with status 0.
func (i *invocation) exec(ctx context.Context, command string, acc *account, m client.Message) error {
	body, form := string(m.Body), "other"
	if text, ok := m.Text(); ok {
		body, form = text, "text"
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdin = strings.NewReader(body)
	cmd.Stdout, cmd.Stderr = i.out, i.err
	cmd.Env = append(os.Environ(),
		"TIPT_FROM="+m.From,
		"TIPT_TO="+acc.Address,
		"TIPT_ID="+m.ID.String(),
		"TIPT_TIME="+m.Time.UTC().Format(time.RFC3339Nano),
		"TIPT_FORM="+form,
		"TIPT_SEAL="+sealOf(m),
	)
	return cmd.Run()
}
