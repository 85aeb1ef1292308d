package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tipt/tipt-go/internal/tap"
)

type replayCmd struct {
	File    string        `arg:"" type:"path" help:"What \"tipt tap --record\" wrote."`
	To      string        `required:"" placeholder:"wss://NODE[:PORT]/ws" help:"The node to have the conversation with."`
	Secrets string        `placeholder:"FILE" type:"path" help:"Values of masked secrets, a line for each: its number in the record, a space, and the password or invitation, or the token in hex."`
	Wait    time.Duration `default:"10s" help:"How long the node may take for each thing that it said in the record (${default})."`
}

// Help is shown below the flags.
func (replayCmd) Help() string {
	return `It sends what the client sent, in the order of the record, and waits before each packet for
what the node had said by then. What the node says is compared by its meaning: not the widths of
values nor the order of keys, of responses and of ids. Compared by shape alone, that they are there
and of their type, are
  versions, times, tokens, the wait of errors and of GOING_AWAY, soft of GET_INFO,
  key of GET_NODE_KEY, mid of DELIVER and RETURN, sealed answers and sealed messages.
Not compared are texts for people (msg of errors, the reason of a close) and PINGs of the node.

The node must be in the state that the recorded one was in: its accounts and mailboxes, and its key,
for what the record has sealed. Start from a copy of its data folder.

Masked passwords are made up where the record registers them or has them refused; tokens are those
that the node gives now. Any other masked secret must be given with --secrets.

Example, with a node of "tiptd dev":
  tipt replay session.jsonl --to wss://tipt.localhost/ws --ca ca.pem --connect 127.0.0.1:7443

Exit status:
  0  the node said the same
  1  it said something else: the lines tell what, with - as recorded and + as it is now
  2  the conversation could not be had`
}

func (c *replayCmd) Run(ctx context.Context, i *invocation) error {
	target, err := i.target(c.To)
	if err != nil {
		return err
	}
	r := tap.Replay{Target: target, Wait: c.Wait}
	if c.Wait <= 0 {
		return usage("--wait: %v; write a time such as 10s", c.Wait)
	}
	file, err := os.Open(c.File)
	if err != nil {
		return usage("read the record: %w", err)
	}
	defer file.Close()
	if r.Head, r.Lines, err = tap.ReadRecord(file); err != nil {
		return usage("%s: %w", c.File, err)
	}
	if len(r.Lines) == 0 {
		return usage("%s: there is no connection in it", c.File)
	}
	if c.Secrets != "" {
		if r.Secrets, err = readSecrets(c.Secrets); err != nil {
			return err
		}
	}
	result, err := r.Run(ctx)
	i.printDifferences(result)
	missing, masked := errors.AsType[*tap.MissingError](err)
	switch {
	case masked:
		return usage("%s: %w; give their values with --secrets FILE, or record with --show-secrets", c.File, missing)
	case err != nil:
		reached := &unreachableError{node: i.status.node, connect: i.flags.Connect, err: err}
		if known := reached.known(); known != "" {
			return usage("%s", known)
		}
		return usage("%s: %w", c.File, err)
	case len(result.Differences) > 0:
		return fmt.Errorf("of %d things that the node said, %d were others than in the record", result.Compared, len(result.Differences))
	}
	fmt.Fprintf(i.out, "the node said the same: %d things compared\n", result.Compared)
	return nil
}

func (i *invocation) printDifferences(result tap.Result) {
	for _, d := range result.Differences {
		where := fmt.Sprintf("line %d: %s", d.Line, d.Said)
		if d.Line == 0 {
			where = d.Said + ", which is not in the record"
		}
		fmt.Fprintln(i.out, where)
		for _, line := range d.Lines() {
			fmt.Fprintln(i.out, "  "+line)
		}
	}
	for _, note := range result.Notes {
		fmt.Fprintln(i.err, "tipt: "+note)
	}
}

// readSecrets reads the file of --secrets.
func readSecrets(name string) (map[int]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, usage("--secrets: %w", err)
	}
	defer file.Close()
	secrets := make(map[int]string)
	s := bufio.NewScanner(file)
	for n := 1; s.Scan(); n++ {
		if s.Text() == "" {
			continue
		}
		number, value, ok := strings.Cut(s.Text(), " ")
		secret, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, usage("--secrets: %s: line %d: write the secret's number, a space and its value", name, n)
		}
		secrets[secret] = value
	}
	if err := s.Err(); err != nil {
		return nil, usage("--secrets: %w", err)
	}
	return secrets, nil
}
