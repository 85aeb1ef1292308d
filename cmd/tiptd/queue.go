package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/peer"
)

type queueCmd struct {
	List  queueListCmd  `cmd:"" help:"List the nodes for which messages wait, and why."`
	Retry queueRetryCmd `cmd:"" help:"Try a node now, also one that is held."`
	Hold  queueHoldCmd  `cmd:"" help:"Keep what waits for a node until it is retried; it comes back after five days all the same."`
	Drop  queueDropCmd  `cmd:"" help:"Give everything that waits for a node back to its senders."`
}

type queueListCmd struct{ dataFlag }

func (c *queueListCmd) Run(ctx context.Context, s streams) error {
	var list []peer.Waiting
	if err := c.ask(ctx, http.MethodGet, "/queue", nil, &list); err != nil {
		return err
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(s.out, "nothing waits")
		return err
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tMESSAGES\tBYTES\tUSERS\tNEXT TRY\tWHY")
	for _, w := range list {
		next, why := "now", w.Reason
		switch {
		case w.Held:
			next = "held"
		case time.Until(w.Next) > 0:
			next = "in " + time.Until(w.Next).Round(time.Second).String()
		}
		if why == "" {
			why = "being sent"
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\t%s\n", w.Node, w.Entries, w.Bytes, w.Users, next, why)
	}
	return table.Flush()
}

// otherNode names the node that a verb is about.
type otherNode struct {
	Name string `arg:"" name:"node" help:"The other node's name."`
	dataFlag
}

func (o *otherNode) act(ctx context.Context, verb string) (answer node.AdminQueue, err error) {
	err = o.ask(ctx, http.MethodPost, "/queue/"+url.PathEscape(o.Name)+"/"+verb, struct{}{}, &answer)
	return answer, err
}

type queueRetryCmd struct{ otherNode }

func (c *queueRetryCmd) Run(ctx context.Context, s streams) error {
	if _, err := c.act(ctx, "retry"); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s is being tried\n", c.Name)
	return err
}

type queueHoldCmd struct{ otherNode }

func (c *queueHoldCmd) Run(ctx context.Context, s streams) error {
	if _, err := c.act(ctx, "hold"); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s is held; `tiptd queue retry %s` ends that\n", c.Name, c.Name)
	return err
}

type queueDropCmd struct{ otherNode }

func (c *queueDropCmd) Run(ctx context.Context, s streams) error {
	answer, err := c.act(ctx, "drop")
	if err != nil {
		return err
	}
	if answer.Messages == 1 {
		_, err = fmt.Fprintln(s.out, "1 message goes back to its sender")
	} else {
		_, err = fmt.Fprintf(s.out, "%d messages go back to their senders\n", answer.Messages)
	}
	return err
}
