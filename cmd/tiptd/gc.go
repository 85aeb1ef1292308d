package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tipt/tipt-go/node"
)

type gcCmd struct{ dataFlag }

// Help is shown below the flags.
func (gcCmd) Help() string {
	return `The node empties its caches, collects its garbage and returns free memory to the
system. It does so by itself, with time; ask for it to see what its connections really
need. Clients do not notice.`
}

func (c *gcCmd) Run(ctx context.Context, s streams) error {
	var answer node.AdminMemory
	if err := c.ask(ctx, http.MethodPost, "/gc", struct{}{}, &answer); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "before: %s\nafter:  %s\nconnections: %d\n",
		inWords(answer.Before), inWords(answer.After), answer.Connections)
	return err
}

// inWords is how a person reads m.
func inWords(m node.Memory) string {
	parts := fmt.Sprintf("%s of objects, %s of stacks", mebibytes(m.Objects), mebibytes(m.Stacks))
	if m.Resident == 0 {
		return parts // all that the system tells
	}
	return mebibytes(m.Resident) + " resident, of which " + parts
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
