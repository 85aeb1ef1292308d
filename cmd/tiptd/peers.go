package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/peer"
)

// peerFlags say how the node deals with others.
type peerFlags struct {
	RootCA    string            `name:"root-ca" placeholder:"FILE" type:"path" help:"A further root, in PEM, for the certificates of other nodes."`
	Resolve   map[string]string `mapsep:"none" placeholder:"NAME=HOST:PORT" help:"Where another node is reached, instead of by DNS. May be repeated."`
	Block     string            `placeholder:"FILE" type:"path" help:"Nodes to have nothing to do with, a pattern such as *.example.org a line; read again on SIGHUP."`
	Allow     string            `placeholder:"FILE" type:"path" help:"The only nodes to have to do with, likewise."`
	Anonymous bool              `help:"Take messages from other nodes that nobody vouches for."`
}

// peers is what peerFlags mean.
type peers struct {
	roots     *x509.CertPool
	resolve   map[tipt.NodeName]string
	policy    *peer.Policy
	anonymous bool
}

// read refuses what forwarding could not use, at the start and not at the
// first message.
func (f *peerFlags) read() (p peers, err error) {
	p.anonymous = f.Anonymous
	if f.RootCA != "" {
		if p.roots, err = x509.SystemCertPool(); err != nil {
			return p, fmt.Errorf("read the system's root certificates: %w", err)
		}
		pem, err := os.ReadFile(f.RootCA)
		if err != nil {
			return p, fmt.Errorf("--root-ca: %w", err)
		}
		if !p.roots.AppendCertsFromPEM(pem) {
			return p, fmt.Errorf("--root-ca: %s holds no certificate in PEM", f.RootCA)
		}
	}
	p.resolve = make(map[tipt.NodeName]string)
	for raw, address := range f.Resolve {
		name, err := tipt.ParseNodeName(raw)
		if err != nil {
			return p, fmt.Errorf("--resolve: %w", err)
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			return p, fmt.Errorf("--resolve: %s=%s: %w; write NAME=HOST:PORT", raw, address, err)
		}
		p.resolve[name] = address
	}
	p.policy, err = peer.LoadPolicy(f.Block, f.Allow)
	return p, err
}

// reloadOnHangup reads the lists of nodes again on each SIGHUP until stop is called.
func (p peers) reloadOnHangup(log *slog.Logger) (stop func()) {
	if p.policy == nil {
		return func() {}
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for range hangups {
			if err := p.policy.Reload(); err != nil {
				log.Error("the lists of nodes stay as they were", "error", err)
				continue
			}
			log.Info("lists of nodes read again")
		}
	})
	return func() {
		signal.Stop(hangups)
		close(hangups)
		reloading.Wait()
	}
}

const day = 24 * time.Hour

// limitFlags bound what users and other nodes can have the node do.
type limitFlags struct {
	Limits string `enum:"on,off" default:"on" help:"off switches all limits off but those of mailboxes, and the waits after failed sign-ins: for tests and benchmarks."`

	UserMessages      int64 `default:"${userMessages}" placeholder:"N" help:"Messages of one user a minute (${default})."`
	UserBytes         int64 `default:"${userBytes}" placeholder:"N" help:"Bytes of one user's messages a day (${default})."`
	UserKeys          int64 `default:"${userKeys}" placeholder:"N" help:"Keys of nodes that one user asks for a minute (${default})."`
	UserDestinations  int64 `default:"${userDestinations}" placeholder:"N" help:"Nodes that one user writes to for the first time, a day (${default})."`
	PeerMessages      int64 `default:"${peerMessages}" placeholder:"N" help:"Messages from one node a minute (${default})."`
	PeerBytes         int64 `default:"${peerBytes}" placeholder:"N" help:"Bytes of one node's messages a day (${default})."`
	PeerRecipients    int64 `default:"${peerRecipients}" placeholder:"N" help:"Users that one node writes to for the first time, a day (${default})."`
	OutboxUserEntries int   `default:"${outboxUserEntries}" placeholder:"N" help:"Messages of one user that wait to be forwarded (${default})."`
	OutboxUserBytes   int64 `default:"${outboxUserBytes}" placeholder:"N" help:"Their bytes (${default})."`
	OutboxNodeEntries int   `default:"${outboxNodeEntries}" placeholder:"N" help:"Messages to one node that wait to be forwarded (${default})."`
	OutboxNodeBytes   int64 `default:"${outboxNodeBytes}" placeholder:"N" help:"Their bytes (${default})."`
	MailboxMessages   int   `default:"${mailboxMessages}" placeholder:"N" help:"Messages in one mailbox (${default})."`
	MailboxBytes      int64 `default:"${mailboxBytes}" placeholder:"N" help:"Their bytes (${default})."`
	MailboxDays       int   `default:"${mailboxDays}" placeholder:"N" help:"Days that a message waits in a mailbox (${default})."`
}

// limitDefaults are the variables of limitFlags' defaults.
func limitDefaults() map[string]string {
	l := node.DefaultLimits()
	return map[string]string{
		"userMessages":      fmt.Sprint(l.UserMessages),
		"userBytes":         fmt.Sprint(l.UserBytes),
		"userKeys":          fmt.Sprint(l.UserKeys),
		"userDestinations":  fmt.Sprint(l.UserDestinations),
		"peerMessages":      fmt.Sprint(l.PeerMessages),
		"peerBytes":         fmt.Sprint(l.PeerBytes),
		"peerRecipients":    fmt.Sprint(l.PeerRecipients),
		"outboxUserEntries": fmt.Sprint(l.Outbox.UserEntries),
		"outboxUserBytes":   fmt.Sprint(l.Outbox.UserBytes),
		"outboxNodeEntries": fmt.Sprint(l.Outbox.NodeEntries),
		"outboxNodeBytes":   fmt.Sprint(l.Outbox.NodeBytes),
		"mailboxMessages":   fmt.Sprint(tipt.MaxMailboxCount),
		"mailboxBytes":      fmt.Sprint(tipt.MaxMailboxBytes),
		"mailboxDays":       fmt.Sprint(int(tipt.MessageRetention / day)),
	}
}

var errNegativeLimit = errors.New("a limit is below 0; 0 switches one off")

func (f *limitFlags) limits() (node.Limits, error) {
	if f.Limits == "off" {
		return node.Limits{}, nil
	}
	if min(f.UserMessages, f.UserBytes, f.UserKeys, f.UserDestinations, f.PeerMessages, f.PeerBytes, f.PeerRecipients,
		int64(f.OutboxUserEntries), f.OutboxUserBytes, int64(f.OutboxNodeEntries), f.OutboxNodeBytes) < 0 {
		return node.Limits{}, errNegativeLimit
	}
	return node.Limits{
		UserMessages:     f.UserMessages,
		UserBytes:        f.UserBytes,
		UserKeys:         f.UserKeys,
		UserDestinations: f.UserDestinations,
		PeerMessages:     f.PeerMessages,
		PeerBytes:        f.PeerBytes,
		PeerRecipients:   f.PeerRecipients,
		Outbox: peer.OutboxLimits{
			UserEntries: f.OutboxUserEntries,
			UserBytes:   f.OutboxUserBytes,
			NodeEntries: f.OutboxNodeEntries,
			NodeBytes:   f.OutboxNodeBytes,
		},
	}, nil
}

// mailboxes are the limits that hold with --limits off too: they are the protocol's.
func (f *limitFlags) mailboxes() (mailbox.Options, error) {
	if min(int64(f.MailboxMessages), f.MailboxBytes, int64(f.MailboxDays)) < 0 {
		return mailbox.Options{}, errNegativeLimit
	}
	o := mailbox.Options{MaxCount: f.MailboxMessages, MaxBytes: f.MailboxBytes, Messages: math.MaxInt64}
	if o.MaxCount == 0 {
		o.MaxCount = math.MaxInt
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = math.MaxInt64
	}
	if days := time.Duration(f.MailboxDays); days > 0 && days <= math.MaxInt64/day {
		o.Messages = days * day
	}
	return o, nil
}
