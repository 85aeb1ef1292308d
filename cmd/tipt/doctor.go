package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

type doctorCmd struct {
	Name string `arg:"" help:"The node's name."`
}

// Help is shown below the flags.
func (doctorCmd) Help() string {
	return `It goes the way that clients and other nodes go to a node, says of each step whether it is
well, and what to change where it is not. It needs no account and changes nothing. Of the flags below
it heeds --ca and --connect. The exit status is 0 when all is well and 1 otherwise.

Examples:
  tipt doctor example.org
  tipt doctor tipt.localhost --ca ca.pem --connect 127.0.0.1:7443`
}

func (c *doctorCmd) Run(ctx context.Context, i *invocation) error {
	node, err := parseNode(c.Name)
	if err != nil {
		return err
	}
	var given account
	if err := i.flags.remember(&given); err != nil {
		return err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return fmt.Errorf("read the system's root certificates: %w", err)
	}
	roots.AppendCertsFromPEM([]byte(given.CA))
	d := &doctor{
		node:     node,
		connect:  given.Connect,
		roots:    roots,
		lookup:   net.DefaultResolver.LookupHost,
		patience: 10 * time.Second,
		out:      i.out,
	}
	well, err := d.examine(ctx)
	if err == nil && !well {
		err = fmt.Errorf("not all is well with %s", node)
	}
	return err
}

// A doctor looks at one node.
type doctor struct {
	node     tipt.NodeName
	connect  string // --connect, if given
	roots    *x509.CertPool
	lookup   func(ctx context.Context, host string) ([]string, error)
	patience time.Duration // for each step
	out      io.Writer

	// What the steps find, for those behind them.
	hosts []string // addresses of the host
	addr  string   // the first that takes connections, with its port
	link  *link.Link
	ended chan struct{} // closed when link has ended, with the error
	end   error
}

// A complaint is why a step failed.
type complaint struct {
	what   string
	change string // what to do about it
}

func (c *complaint) Error() string { return c.what }

// complain makes a complaint. The change is a sentence of its own.
func complain(change, format string, args ...any) error {
	return &complaint{what: fmt.Sprintf(format, args...), change: change}
}

// A step is one hop of the way.
type step struct {
	name  string
	after string // the step without which this one cannot be tried
	do    func(ctx context.Context) (found string, err error)
}

func (d *doctor) steps() []step {
	return []step{
		{"DNS", "", d.resolve},
		{"TCP", "DNS", d.dial},
		{"TLS", "TCP", d.verify},
		{"upgrade /", "TLS", d.upgradeRoot},
		{"upgrade /ws", "TLS", d.upgrade},
		{"PONG", "upgrade /ws", d.ping},
		{"HANDSHAKE", "PONG", d.handshake},
		{"status", "TLS", d.status},
		{"key", "TLS", d.key},
		{"forward", "TLS", d.forward},
		{"clock", "HANDSHAKE", d.clock},
	}
}

// examine tries all steps, prints a line about each, and reports whether all went well. Its error is
// that nobody waits any longer, or that it could not print.
func (d *doctor) examine(ctx context.Context) (well bool, err error) {
	defer d.hangUp()
	failed := make(map[string]bool)
	for _, s := range d.steps() {
		if failed[s.after] {
			failed[s.name] = true
			if _, err := fmt.Fprintf(d.out, "%-12s skipped\n", s.name); err != nil {
				return false, err
			}
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, d.patience)
		found, err := s.do(bounded)
		cancel()
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		lines := fmt.Sprintf("%-12s ok       %s", s.name, oneLine(found))
		if err != nil {
			failed[s.name] = true
			lines = fmt.Sprintf("%-12s failed   %s", s.name, oneLine(err.Error()))
			var c *complaint
			if errors.As(err, &c) {
				lines += fmt.Sprintf("\n%-22s%s", "", oneLine(c.change))
			}
		}
		if _, err := fmt.Fprintln(d.out, strings.TrimRight(lines, " ")); err != nil {
			return false, err
		}
	}
	return len(failed) == 0, nil
}

// target is where the node is looked for.
func (d *doctor) target() (host, port string) {
	if d.connect == "" {
		return string(d.node), "443"
	}
	host, port, err := net.SplitHostPort(d.connect)
	if err != nil { // it has been looked at
		panic(err)
	}
	return host, port
}

func (d *doctor) resolve(ctx context.Context) (string, error) {
	host, _ := d.target()
	hosts, err := d.lookup(ctx, host)
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown) && unknown.IsNotFound:
		return "", complain("Give it an A or AAAA record, or say with --connect HOST:PORT where the node is reached.",
			"there is no host %s", host)
	case errors.As(err, &unknown) && unknown.IsTimeout || errors.Is(err, context.DeadlineExceeded):
		return "", complain("Look at the name servers of the domain, and at the resolver of this machine.",
			"the look-up of %s has no answer", host)
	case err != nil:
		return "", complain("Look at the name servers of the domain, and at the resolver of this machine.",
			"the look-up of %s failed: %v", host, err)
	}
	d.hosts = hosts
	if len(hosts) == 1 && hosts[0] == host {
		return "not asked: " + host + " is an address, of --connect", nil
	}
	found := fmt.Sprintf("%s is at %s", host, strings.Join(hosts, ", "))
	if d.connect == "" {
		if inward := notPublic(hosts); len(inward) > 0 {
			found += fmt.Sprintf("; other nodes do not connect to %s, which is no public address", strings.Join(inward, ", "))
		}
	}
	return found, nil
}

// notPublic returns the addresses to which other nodes do not connect (section 5.6). From elsewhere
// a name may have others.
func notPublic(hosts []string) (inward []string) {
	rules := ssrf.New(ssrf.WithPorts(443), ssrf.WithNetworks("tcp4", "tcp6"))
	for _, host := range hosts {
		network := "tcp4"
		if strings.Contains(host, ":") {
			network = "tcp6"
		}
		if rules.Safe(network, net.JoinHostPort(host, "443"), nil) != nil {
			inward = append(inward, host)
		}
	}
	return inward
}

// dial looks for the addresses that take connections: one is enough, since programs try all.
func (d *doctor) dial(ctx context.Context) (string, error) {
	_, port := d.target()
	var silent []string
	for _, host := range d.hosts {
		addr := net.JoinHostPort(host, port)
		conn, err := d.dialOne(ctx, addr, len(d.hosts))
		if err != nil {
			silent = append(silent, fmt.Sprintf("%s: %v", addr, bare(err)))
			continue
		}
		_ = conn.Close() // it was only to see whether there is one
		if d.addr == "" {
			d.addr = addr
		}
	}
	if d.addr == "" {
		return "", complain("Is the node running, does it --listen on that port, and does the firewall let it through?",
			"no connection to %s", strings.Join(silent, ", "))
	}
	if len(silent) > 0 {
		return fmt.Sprintf("%s takes connections; not so %s", d.addr, strings.Join(silent, ", ")), nil
	}
	return d.addr + " takes connections", nil
}

// dialOne tries one of n addresses, for its share of the time.
func (d *doctor) dialOne(ctx context.Context, addr string, n int) (net.Conn, error) {
	return (&net.Dialer{Timeout: d.patience / time.Duration(n)}).DialContext(ctx, "tcp", addr)
}

// bare is an error of the network without the operation and addresses.
func bare(err error) error {
	var op *net.OpError
	var call *os.SyscallError
	switch {
	case errors.As(err, &op) && op.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return errors.New("it took too long")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the connection was ended")
	case errors.As(err, &call):
		return call.Err
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

func (d *doctor) tls() *tls.Config {
	return &tls.Config{ServerName: string(d.node), RootCAs: d.roots, MinVersion: tls.VersionTLS12}
}

func (d *doctor) verify(ctx context.Context) (string, error) {
	conn, err := d.dialOne(ctx, d.addr, 1)
	if err != nil {
		return "", complain("Try again: it took a connection a moment ago.", "no connection to %s: %v", d.addr, bare(err))
	}
	defer func() { _ = conn.Close() }() // nothing more is wanted of it
	secure := tls.Client(conn, d.tls())
	if err := secure.HandshakeContext(ctx); err != nil {
		return "", d.explainTLS(err)
	}
	state := secure.ConnectionState()
	end := state.PeerCertificates[0].NotAfter
	return fmt.Sprintf("the certificate is for %s and ends %s, in %d days; %s",
		d.node, end.UTC().Format(time.DateOnly), int(time.Until(end)/(24*time.Hour)), tls.VersionName(state.Version)), nil
}

// explainTLS is the complaint about a TLS handshake that failed.
func (d *doctor) explainTLS(err error) error {
	var (
		unverified *tls.CertificateVerificationError
		wrongName  x509.HostnameError
		invalid    x509.CertificateInvalidError
		unknown    x509.UnknownAuthorityError
		notTLS     tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &notTLS):
		return complain("Something else answers on this port: have the node, or a proxy for it, speak TLS there.",
			"what answers does not speak TLS")
	case !errors.As(err, &unverified):
		return complain("Have the node, or the proxy in front of it, speak TLS 1.2 or 1.3, with a certificate for the name.",
			"no TLS: %v", bare(err))
	case errors.As(err, &wrongName):
		return complain(fmt.Sprintf("Get a certificate for %s, or look at where the name leads.", d.node),
			"the certificate is for another name: %v", wrongName)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		leaf := unverified.UnverifiedCertificates[0]
		return complain("Renew it; a node reads its files again when they change. If it is not over, set the clock of this machine.",
			"a certificate is valid from %s to %s only, and it is %s", leaf.NotBefore.UTC().Format(time.DateOnly),
			leaf.NotAfter.UTC().Format(time.DateOnly), time.Now().UTC().Format(time.DateOnly))
	case errors.As(err, &unknown) && len(unverified.UnverifiedCertificates) == 1:
		return complain("If the authority is a public one, serve the whole chain (fullchain.pem); if it is a private one, give its root certificate with --ca FILE.",
			"the certificate is signed by an authority that this machine does not know, and no other certificate comes with it")
	case errors.As(err, &unknown):
		return complain("If the authority is a private one, give its root certificate with --ca FILE.",
			"the certificate is signed by an authority that this machine does not know")
	}
	return complain("Get another certificate.", "the certificate is not valid: %v", unverified.Err)
}

// http returns what asks the node by HTTP, as other nodes do: it follows no redirect.
func (d *doctor) http() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: d.tls(), DialContext: d.dialNode},
	}
}

// dialNode connects to the node wherever it was told to.
func (d *doctor) dialNode(ctx context.Context, _, _ string) (net.Conn, error) {
	return d.dialOne(ctx, d.addr, 1)
}
