package main

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/tipt/tipt-go"
)

type infoCmd struct{}

// Help is shown below the flags.
func (infoCmd) Help() string {
	return `Example:
  tipt info --as alice@example.org`
}

func (infoCmd) Run(ctx context.Context, i *invocation) error {
	c, acc, err := i.openChosen(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	registration := info.Registration.String()
	switch info.Registration {
	case tipt.RegistrationOpen:
		registration = "open to everybody"
	case tipt.RegistrationInvite:
		registration = "by invitation"
	case tipt.RegistrationClosed:
		registration = "closed"
	}
	table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "account\t%s\n", acc.Address)
	fmt.Fprintf(table, "device\t%s\n", acc.Device)
	fmt.Fprintf(table, "node\t%s\n", oneLine(info.Node))
	fmt.Fprintf(table, "software\t%s\n", oneLine(info.Software))
	fmt.Fprintf(table, "registration\t%s\n", registration)
	fmt.Fprintf(table, "its time\t%s\n", info.Time.Local().Format(time.DateTime))
	return table.Flush()
}

type devicesCmd struct {
	List   devicesListCmd   `cmd:"" default:"1" help:"List the account's devices."`
	Remove devicesRemoveCmd `cmd:"" help:"Sign a device out for good."`
}

// Help is shown below the flags.
func (devicesCmd) Help() string {
	return `Examples:
  tipt devices
  tipt devices remove tipt-k3v9w2qz5m`
}

type devicesListCmd struct{}

func (devicesListCmd) Run(ctx context.Context, i *invocation) error {
	c, acc, err := i.openChosen(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	devices, err := c.Devices(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DEVICE\tLAST SEEN\t")
	for _, d := range devices {
		seen := d.Seen.Local().Format("2006-01-02 15:04")
		if d.Online {
			seen = "receiving now"
		}
		note := ""
		if d.Name == acc.Device {
			note = "this one"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", oneLine(d.Name), seen, note)
	}
	return table.Flush()
}

type devicesRemoveCmd struct {
	Device string `arg:"" help:"The device's name, as \"tipt devices\" shows it."`
}

func (c *devicesRemoveCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	if c.Device == acc.Device {
		return usage("%s is this device; run `tipt sign-out` to remove it", c.Device)
	}
	cl, err := i.open(ctx, acc, true)
	if err != nil {
		return err
	}
	defer cl.Close()
	devices, err := cl.Devices(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(devices, func(d tipt.Device) bool { return d.Name == c.Device }) {
		return usage("there is no device %s; `tipt devices` lists them", c.Device)
	}
	if err := cl.RemoveDevice(ctx, c.Device); err != nil {
		return err
	}
	_, err = fmt.Fprintf(i.out, "removed %s\n", oneLine(c.Device))
	return err
}
