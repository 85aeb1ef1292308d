package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

type keyCmd struct {
	New    keyNewCmd    `cmd:"" help:"Make the account's key: what people write to it is then sealed end to end."`
	Accept keyAcceptCmd `cmd:"" help:"Take a person's new key in place of the one that was kept."`
	Show   keyShowCmd   `cmd:"" default:"withargs" help:"Show the account's key, or print that of a node or a person."`
	Export keyExportCmd `cmd:"" help:"Put the account's key into a file, for another device."`
	Import keyImportCmd `cmd:"" help:"Take the account's key from such a file."`
	Remove keyRemoveCmd `cmd:"" help:"Withdraw the account's key and forget it here."`
}

// Help is shown below the flags.
func (keyCmd) Help() string {
	return `The devices of an account share one key. It is made on one of them and brought to the others:
  tipt key new
  tipt key export my.key     where the key is
  tipt key import my.key     on each other device

From then on what people write to the account is sealed end to end: the nodes see that a message
comes, and not what it says. "tipt listen" and "tipt chat" show behind its sender
  [signed]              that it came sealed, and signed with the key kept for the sender
  [sealed, not signed]  that it came sealed; who wrote it is only what the nodes say
  [sealed, NOT signed]  likewise, although there is a signature, which does not count, or the sender
                        has a key, which is then said
  [sealed, not opened]  that no key here opens it
and nothing where nodes could read it. "tipt send" and "tipt chat" send nothing to somebody whose key
has changed before "tipt key accept".

Examples:
  tipt key
  tipt key show bob@example.org`
}

// A keyState is what a device and its account's node have of the account's key.
type keyState struct {
	acc       *account
	client    *client.Client    // signed in; the caller closes it
	here      *seal.UserKey     // nil: none
	published *seal.Certificate // what others seal to; nil: none
}

func (i *invocation) keyState(ctx context.Context, acc *account, here *seal.UserKey) (*keyState, error) {
	c, err := i.open(ctx, acc, true)
	if err != nil {
		return nil, err
	}
	published, err := i.publishedKey(ctx, c, acc)
	if err != nil {
		c.Close()
		return nil, err
	}
	return &keyState{acc: acc, client: c, here: here, published: published}, nil
}

// keyToChange is the keyState before the account gets a key. One here that is damaged may be replaced alone.
func (i *invocation) keyToChange(ctx context.Context, acc *account, replace bool) (*keyState, error) {
	here, err := i.folder.key(acc.address)
	if err != nil && !replace {
		return nil, err
	}
	return i.keyState(ctx, acc, here)
}

// publishedKey asks the account's node for what others seal to, and keeps it among what this device has seen. It
// is nil where there is nothing.
func (i *invocation) publishedKey(ctx context.Context, c *client.Client, acc *account) (*seal.Certificate, error) {
	b, err := c.UserKey(ctx, acc.address)
	if err != nil || b == nil {
		return nil, err
	}
	certificate, err := seal.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("published key of %s: %w", acc.address, err)
	}
	return certificate, i.folder.addSeenKey(acc.address, certificate)
}

// publishes says whether others seal to that key.
func (s *keyState) publishes(k *seal.UserKey) bool { return isKeyOf(s.published, k) }

func isKeyOf(certificate *seal.Certificate, k *seal.UserKey) bool {
	return certificate != nil && k != nil && certificate.Fingerprint() == k.Fingerprint()
}

// bring says how a key comes here from a device that has it.
const bring = "run `tipt key export FILE` where it is, and `tipt key import FILE` here"

type keyNewCmd struct {
	Replace bool `help:"Make another one in place of the one there is."`
}

// Help is shown below the flags.
func (keyNewCmd) Help() string {
	return `The key is kept beside the account, in a file that its owner alone can read, and its certificate
is published: the node gives it to everybody who asks. Whoever loses the key loses what was sealed to
it, so export it to a file and put that away.

--replace is for a key that is lost, or that somebody else has got. People who have written to the
account can then send it nothing before they have run "tipt key accept", so tell them of the new
fingerprint. If the old one is on this device it stays here, and goes on opening what was sealed to it.
Where it is not, messages that wait can only be opened once it is ("tipt key import --old"). Each other
device needs the new one ("tipt key export").

Example:
  tipt key new`
}

func (c *keyNewCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	s, err := i.keyToChange(bounded, acc, c.Replace)
	if err != nil {
		return waited(ctx, err)
	}
	defer s.client.Close()
	here, key := s.here, s.here
	switch {
	case c.Replace, here == nil && s.published == nil:
		if key, err = seal.NewUserKey(acc.Address, time.Now()); err != nil {
			return err
		}
		if err := i.keepKey(acc.address, key); err != nil {
			return err
		}
	case here == nil:
		return usage("%s has a key already, which is not on this device: to bring it, %s; if it is lost, make another one with --replace", acc.address, bring)
	case s.publishes(here):
		return usage("%s has a key already, and it is on this device; --replace makes another one", acc.address)
	case s.published != nil:
		return usage("%s has published another key than the one on this device: to bring that one, %s; to make a new one for all devices, add --replace", acc.address, bring)
	}
	if err := waited(ctx, s.client.SetKey(bounded, key.Certificate())); err != nil {
		return fmt.Errorf("%w; the key is on this device, but perhaps not published: run `tipt key new` again", err)
	}
	_, err = fmt.Fprintf(i.out, "the key of %s is %s\nwhat people write to you is now sealed to it; for your other devices: `tipt key export FILE`\n", acc.address, key.Fingerprint())
	if err == nil && c.Replace {
		err = i.tellReplaced(s, key)
	}
	return err
}

// tellReplaced says what follows from a key that has taken the published one's place.
func (i *invocation) tellReplaced(s *keyState, key *seal.UserKey) error {
	if s.published == nil || s.publishes(key) {
		return nil
	}
	if _, err := fmt.Fprintf(i.err, "tipt: people who have written to you cannot before they run `tipt key accept %s`: tell them of the new key\n", s.acc.address); err != nil {
		return err
	}
	old, err := i.folder.oldKeys(s.acc.address)
	if err != nil || slices.ContainsFunc(old, func(k *seal.UserKey) bool { return s.publishes(k) }) {
		return err
	}
	_, err = fmt.Fprintf(i.err, "tipt: the key before, %s, is not on this device: messages that are sealed to it wait until `tipt key import --old FILE` brings it\n", s.published.Fingerprint())
	return err
}

// keepKey keeps a key here. One that it takes the place of stays in another file, which is named.
func (i *invocation) keepKey(a tipt.Address, key *seal.UserKey) error {
	old, err := i.folder.setKeyAside(a)
	if err != nil {
		return err
	}
	if old != "" {
		if _, err := fmt.Fprintf(i.err, "tipt: the key that was on this device is now in %s, and still opens what was sealed to it\n", old); err != nil {
			return err
		}
	}
	return i.folder.addKey(a, key)
}

type keyAcceptCmd struct {
	Address     string `arg:"" help:"Whose key: NAME@NODE."`
	Fingerprint string `arg:"" optional:"" help:"The one that the person has told you; no other key is taken then."`
	Yes         bool   `help:"Do not ask."`
}

// Help is shown below the flags.
func (keyAcceptCmd) Help() string {
	return `The first key that is seen of a person is kept. When another one comes, or none any more, nothing
is sent to that person, and what is signed with the new key is shown as not signed, until it is
accepted here. Either there is a new key, which the person can say, or somebody on the way wants
to read along. At a terminal the new one is shown and asked about, unless its FINGERPRINT is given.

Examples:
  tipt key accept bob@example.org
  tipt key accept bob@example.org '0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567'`
}

func (c *keyAcceptCmd) Run(ctx context.Context, i *invocation) error {
	person, err := parseAddress(c.Address)
	if err != nil {
		return err
	}
	acc, err := i.choose()
	if err != nil {
		return err
	}
	pins := i.folder.pins(acc.address)
	was, err := pins.UserPin(person)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cl, err := i.open(bounded, acc, true)
	if err != nil {
		return waited(ctx, err)
	}
	defer cl.Close()
	is, err := cl.UserKey(bounded, person)
	if err != nil {
		return waited(ctx, err)
	}
	kept, err := fingerprint(was)
	if err != nil {
		kept = "one that is damaged"
	}
	now, err := fingerprint(is)
	if err != nil {
		return fmt.Errorf("key of %s: %w", person, err)
	}
	if err := c.agree(ctx, i, person, kept, now); err != nil {
		return err
	}
	if err := pins.SetUserPin(person, is); err != nil {
		return fmt.Errorf("keep the key of %s: %w", person, err)
	}
	if now == kept {
		_, err = fmt.Fprintf(i.out, "the key of %s is the one that was kept, %s: nothing has changed\n", person, now)
		return err
	}
	_, err = fmt.Fprintf(i.out, "the key that was kept of %s: %s\nthe one that is kept from now on: %s\n", person, kept, now)
	return err
}

// agree returns nil when the key of a person is the one that is wanted.
func (c *keyAcceptCmd) agree(ctx context.Context, i *invocation, person tipt.Address, kept, now string) error {
	if c.Fingerprint != "" {
		want := strings.ToLower(strings.Join(strings.FieldsFunc(c.Fingerprint, func(r rune) bool { return r == ' ' || r == ':' }), ""))
		if want != now {
			return fmt.Errorf("the key of %s is %s, and not the one that you gave: nothing is accepted", person, now)
		}
		return nil
	}
	if c.Yes || now == kept || !term.IsTerminal(int(i.in.Fd())) {
		return nil
	}
	if _, err := fmt.Fprintf(i.err, "The key that is kept of %s: %s\nThe one that their node shows:   %s\nIs that what %[1]s says, by telephone for instance?\n", person, kept, now); err != nil {
		return err
	}
	return i.confirm(ctx, "Type yes to accept it: ", "not accepted")
}

// fingerprint is that of a certificate, in which there may be nothing.
func fingerprint(b []byte) (string, error) {
	if len(b) == 0 {
		return "none", nil
	}
	certificate, err := seal.ParseCertificate(b)
	if err != nil {
		return "", err
	}
	return certificate.Fingerprint(), nil
}

type keyShowCmd struct {
	Whose string `arg:"" optional:"" help:"The node, or NAME@NODE, whose certificate to print."`
	New   bool   `help:"Fetch a node's anew, past what the account's node keeps for an hour; to do after CANNOT_OPEN."`
}

// Help is shown below the flags.
func (keyShowCmd) Help() string {
	return `Of the account's own key it shows whether this device has the one that is published.
Of a node's or a person's standard output is the fingerprint and the certificate, in the form that gpg
takes. A node's is compared with the one that was seen first, and a change is warned of; that of a
person is only shown, and whether it is another one than was kept is said. Whether it is the right one
only that person can say: compare fingerprints when you meet.

Examples:
  tipt key
  tipt key bob@example.org
  tipt key example.org > key && gpg --recipient-file key --encrypt < request | tipt forward example.org`
}

func (c *keyShowCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if c.Whose == "" {
		return waited(ctx, i.showOwnKey(bounded, acc))
	}
	certificate, err := c.fetch(bounded, i, acc)
	if err != nil {
		return waited(ctx, err)
	}
	text, err := certificate.Armor()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(i.out, "%s\n\n%s", certificate.Fingerprint(), text)
	return err
}

// fetch asks for another's certificate.
func (c *keyShowCmd) fetch(ctx context.Context, i *invocation, acc *account) (*seal.Certificate, error) {
	var ask func(*client.Client) ([]byte, error)
	if strings.Contains(c.Whose, "@") {
		person, err := parseAddress(c.Whose)
		if err != nil {
			return nil, err
		}
		ask = func(cl *client.Client) ([]byte, error) {
			b, err := cl.UserKey(ctx, person)
			if err == nil {
				err = i.compareKept(acc, person, b)
			}
			return b, err
		}
	} else {
		node, err := parseNode(c.Whose)
		if err != nil {
			return nil, usage("%w; for what else there is, see `tipt key --help`", err)
		}
		ask = func(cl *client.Client) ([]byte, error) { return cl.NodeKey(ctx, node, c.New) }
	}
	cl, err := i.open(ctx, acc, true)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	b, err := ask(cl)
	switch {
	case err != nil:
		return nil, err
	case b == nil:
		return nil, fmt.Errorf("%s has no key: nodes can read what you write there", c.Whose)
	}
	return seal.ParseCertificate(b)
}

// compareKept says when a person's certificate is not the one that is kept.
func (i *invocation) compareKept(acc *account, person tipt.Address, is []byte) error {
	was, err := i.folder.pins(acc.address).UserPin(person)
	if err != nil || len(was) == 0 {
		return err
	}
	kept, err := fingerprint(was)
	if err != nil {
		return fmt.Errorf("kept key of %s: %w", person, err)
	}
	if now, err := fingerprint(is); err == nil && now == kept {
		return nil
	}
	_, err = fmt.Fprintf(i.err, "tipt: another key of %s is kept here, %s; see `tipt key accept --help`\n", person, kept)
	return err
}

func (i *invocation) showOwnKey(ctx context.Context, acc *account) error {
	here, damage := i.folder.key(acc.address)
	s, err := i.keyState(ctx, acc, here)
	if err != nil {
		return err
	}
	defer s.client.Close()
	own, published := "none", "none"
	if here != nil {
		own = here.Fingerprint()
	}
	if s.published != nil {
		published = s.published.Fingerprint()
	}
	old, err := i.folder.oldKeys(acc.address)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(i.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "account\t%s\n", acc.Address)
	fmt.Fprintf(table, "published\t%s\n", published)
	fmt.Fprintf(table, "on this device\t%s\n", own)
	for _, k := range old {
		fmt.Fprintf(table, "older, on this device\t%s\n", k.Fingerprint())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if damage != nil {
		return damage
	}
	_, err = fmt.Fprintf(i.out, "\n%s\n", s.verdict())
	return err
}

// verdict says what comes of where the key is, and what to do.
func (s *keyState) verdict() string {
	switch {
	case s.publishes(s.here):
		return "What people write to you is sealed end to end, and this device opens it."
	case s.published == nil && s.here == nil:
		return "What people write to you can be read by the nodes; to have it sealed end to end, run `tipt key new`."
	case s.published == nil:
		return "What people write to you can be read by the nodes, for the key is not published; perhaps another device has withdrawn it. If somebody else may have got it, make another one with `tipt key new --replace`; otherwise `tipt key new` publishes it again."
	case s.here == nil:
		return "What people write to you is sealed end to end, and this device cannot open it: to bring the key, " + bring + "."
	}
	return "What people write to you is sealed end to end, and the key on this device does not open it: to bring the one that is published, " + bring + "."
}
