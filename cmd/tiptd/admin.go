package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/tipt/tipt-go/node"
)

// dataFlag says which running node an operator's command is for.
type dataFlag struct {
	Data string `required:"" placeholder:"DIR" type:"path" help:"The data folder of the running node."`
}

type maintenanceCmd struct {
	State string `arg:"" enum:"on,off" help:"on closes all connections and answers new ones 503; off ends that."`
	dataFlag
}

func (c *maintenanceCmd) Run(ctx context.Context, s streams) error {
	on := c.State == "on"
	if err := c.ask(ctx, http.MethodPost, "/maintenance", node.AdminMaintenance{On: on}, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "maintenance is %s\n", c.State)
	return err
}

type inviteCmd struct {
	New inviteNewCmd `cmd:"" help:"Print a new invitation. It serves for one registration."`
}

type inviteNewCmd struct{ dataFlag }

func (c *inviteNewCmd) Run(ctx context.Context, s streams) error {
	var answer node.AdminInvite
	if err := c.ask(ctx, http.MethodPost, "/invites", struct{}{}, &answer); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, answer.Invite)
	return err
}

type userCmd struct {
	List    userListCmd    `cmd:"" help:"List users by name, without those that are deleted."`
	Disable userDisableCmd `cmd:"" help:"Lock a user out. Messages to it are still kept."`
	Enable  userEnableCmd  `cmd:"" help:"Let a user in again."`
}

type userListCmd struct {
	All bool `env:"-" help:"List deleted users, too."`
	dataFlag
}

func (c *userListCmd) Run(ctx context.Context, s streams) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tREGISTERED\tSTATE")
	for after := ""; ; {
		var users []node.AdminUser
		if err := c.ask(ctx, http.MethodGet, "/users?after="+url.QueryEscape(after), nil, &users); err != nil {
			return err
		}
		if len(users) == 0 {
			return table.Flush()
		}
		for _, u := range users {
			after = u.Name
			if u.Deleted && !c.All {
				continue
			}
			state := "active"
			switch {
			case u.Deleted:
				state = "deleted"
			case u.Disabled:
				state = "disabled"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\n", u.Name, u.Created.Local().Format(time.DateTime), state)
		}
	}
}

type userDisableCmd struct {
	User string `arg:"" help:"The user's name; @NODE may follow."`
	dataFlag
}

func (c *userDisableCmd) Run(ctx context.Context, s streams) error {
	return c.set(ctx, s, c.User, "disable", "disabled")
}

type userEnableCmd struct {
	User string `arg:"" help:"The user's name; @NODE may follow."`
	dataFlag
}

func (c *userEnableCmd) Run(ctx context.Context, s streams) error {
	return c.set(ctx, s, c.User, "enable", "enabled")
}

func (d dataFlag) set(ctx context.Context, s streams, user, verb, done string) error {
	if err := d.ask(ctx, http.MethodPost, "/users/"+url.PathEscape(user)+"/"+verb, struct{}{}, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s is %s\n", user, done)
	return err
}

// errNoNode says that nobody listens on the admin socket.
var errNoNode = errors.New("no node runs on the data folder")

// maxAnswer bounds what is read of an answer: a page of users is the largest.
const maxAnswer = 1 << 20

// ask asks the node that runs on the data folder.
func (d dataFlag) ask(ctx context.Context, method, path string, body, answer any) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(d.Data, node.AdminSocket))
		},
	}}
	var encoded bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&encoded).Encode(body); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://tiptd"+path, &encoded)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("%w %s; give the --data of its `tiptd serve`", errNoNode, d.Data)
		}
		return fmt.Errorf("reach the node: %w", err)
	}
	defer response.Body.Close()
	limited := io.LimitReader(response.Body, maxAnswer)
	if response.StatusCode != http.StatusOK {
		var failure node.AdminError
		if err := json.NewDecoder(limited).Decode(&failure); err != nil {
			return fmt.Errorf("the node answered %s", response.Status)
		}
		return errors.New(failure.Error)
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(limited).Decode(answer); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	return nil
}
