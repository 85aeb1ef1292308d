package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// maxKeyFile is how much of a file is read, in bytes: more than a key may have.
const maxKeyFile = 1 << 20

type keyExportCmd struct {
	File string `arg:"" help:"The file to make; there must be none of that name. Standard output is \"-\"."`
}

// Help is shown below the flags.
func (keyExportCmd) Help() string {
	return `A passphrase is asked for, or is the first line of standard input where that is no terminal; it has at
least 8 bytes. Whoever
has the file and the passphrase reads what people write to the account, and signs in its name. gpg
--import takes the file, too.

Keys that this one took the place of do not go along. Each is a file of its own, which "tipt key new" or "tipt
key import" named when it was replaced: carry it by a safe way, for it has no passphrase, and run "tipt key
import --old" with it where messages to that key still wait.

Example:
  tipt key export my.key`
}

func (c *keyExportCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	key, err := i.folder.key(acc.address)
	switch {
	case err != nil:
		return err
	case key == nil:
		return usage("there is no key of %s on this device; `tipt key show` says what to do", acc.address)
	}
	if err := c.checkFile(); err != nil {
		return err
	}
	passphrase, err := i.newSecret(ctx, "passphrase", "Passphrase for "+c.File)
	switch {
	case err != nil:
		return err
	case passphrase == "":
		return usage("the passphrase is empty; without one, whoever finds the file has the key")
	case len(passphrase) < minPassphrase:
		return usage("the passphrase has less than %d bytes; whoever finds the file can guess it", minPassphrase)
	}
	b, err := key.Export([]byte(passphrase))
	if err != nil {
		return err
	}
	if c.File == "-" {
		_, err = i.out.Write(b)
		return err
	}
	if err := createFile(c.File, b); err != nil {
		return fmt.Errorf("export the key: %w", err)
	}
	_, err = fmt.Fprintf(i.out, "the key of %s is in %s; carry that to the other device, run `tipt key import FILE` there, and delete it where nobody keeps it safe\n", acc.address, c.File)
	return err
}

// minPassphrase is the length of the shortest passphrase for an export, in bytes, as of passwords.
const minPassphrase = tipt.MinPasswordSize

// checkFile returns why the file cannot be made, before a passphrase is asked for.
func (c *keyExportCmd) checkFile() error {
	if c.File == "-" {
		return nil
	}
	if _, err := os.Lstat(c.File); err == nil {
		return usage("%s exists, and is not written over; name another file", c.File)
	}
	dir := filepath.Dir(c.File)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return usage("there is no folder %s for %s", dir, c.File)
	}
	return nil
}

type keyImportCmd struct {
	File    string `arg:"" help:"What \"tipt key export\" made, or gpg --export-secret-keys."`
	Replace bool   `xor:"which" help:"Also in place of another key that is published or here."`
	Publish bool   `help:"Also where no key is published."`
	Old     bool   `xor:"which" help:"Only to open what was sealed to it before another took its place."`
}

// Help is shown below the flags.
func (keyImportCmd) Help() string {
	return `The passphrase is asked for, or is the first line of standard input where that is no terminal.

A key that is not the published one is only taken with --replace, and published in its place: people
who have written to the account can then send it nothing before they have run "tipt key accept". If
another key is on this device it stays here, and goes on opening what was sealed to it. Where none is
published, perhaps because it was withdrawn when somebody else had got it, --publish is needed.

With --old the account's key stays what it is, and nothing is published.

Examples:
  tipt key import my.key
  tipt key import --old before.key`
}

func (c *keyImportCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	key, err := c.read(ctx, i)
	if err != nil {
		return err
	}
	certificate, err := seal.ParseCertificate(key.Certificate())
	if err != nil {
		return err
	}
	if !certificate.IsOf(acc.address) {
		return usage("%s holds the key of another address than %s, and nobody would take it for yours", c.File, acc.address)
	}
	if c.Old {
		return c.keepOld(i, acc, key)
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	s, err := i.keyToChange(bounded, acc, c.Replace)
	if err != nil {
		return waited(ctx, err)
	}
	defer s.client.Close()
	here := s.here
	has := here != nil && here.Fingerprint() == key.Fingerprint()
	switch {
	case s.published == nil && !c.Publish:
		return usage("%s has no key published, perhaps because it was withdrawn when somebody else had got it; if nobody but you has the key %s, add --publish; only to open what was sealed to it, --old", acc.address, key.Fingerprint())
	case c.Replace, s.publishes(key):
	case s.published != nil:
		return usage("%s has published the key %s, and %s holds another one, %s: look for the export of the former, publish this one with --replace, or keep it with --old, only to open what was sealed to it", acc.address, s.published.Fingerprint(), c.File, key.Fingerprint())
	case here != nil && !has:
		return usage("this device has the key %s, and %s holds another one, %s: take it with --replace", here.Fingerprint(), c.File, key.Fingerprint())
	}
	if !has {
		if err := i.keepKey(acc.address, key); err != nil {
			return err
		}
	}
	if !s.publishes(key) {
		if err := waited(ctx, s.client.SetKey(bounded, key.Certificate())); err != nil {
			return fmt.Errorf("%w; the key is on this device, but perhaps not published: run `tipt key new`", err)
		}
	}
	published := ""
	if !s.publishes(key) {
		published = ", and is published"
	}
	_, err = fmt.Fprintf(i.out, "the key of %s is %s%s\nthis device opens from now on what is sealed to it\n", acc.address, key.Fingerprint(), published)
	if err == nil {
		err = i.tellReplaced(s, key)
	}
	return err
}

// keepOld keeps a key to open with what was sealed to it.
func (c *keyImportCmd) keepOld(i *invocation, acc *account, key *seal.UserKey) error {
	here, err := i.folder.key(acc.address)
	if err != nil {
		return err
	}
	keys, err := i.folder.oldKeys(acc.address)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(append(keys, here), func(k *seal.UserKey) bool { return k != nil && k.Fingerprint() == key.Fingerprint() }) {
		if err := i.folder.addOldKey(acc.address, key); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(i.out, "this device opens what was sealed to the key %s\n", key.Fingerprint())
	return err
}

// read reads the key from the file and asks for a passphrase where it needs one.
func (c *keyImportCmd) read(ctx context.Context, i *invocation) (*seal.UserKey, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return nil, usage("import the key: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("import the key: %w", err)
	}
	key, err := seal.ParseUserKey(b, nil)
	for tries := 1; errors.Is(err, seal.ErrPassphrase); tries++ {
		passphrase, asked := i.secret(ctx, "passphrase", "Passphrase of "+c.File)
		if asked != nil {
			return nil, asked
		}
		if key, err = seal.ParseUserKey(b, []byte(passphrase)); !errors.Is(err, seal.ErrPassphrase) {
			break
		}
		wrong := fmt.Errorf("that is not the passphrase of %s: it was chosen when the file was made", c.File)
		if tries == maxTries || !term.IsTerminal(int(i.in.Fd())) {
			return nil, wrong
		}
		if _, err := fmt.Fprintln(i.err, wrong); err != nil {
			return nil, err
		}
	}
	if err != nil {
		why := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "seal: "), "user key: ")
		return nil, usage("%s holds no key to be used: %s; `tipt key export` makes such a file", c.File, why)
	}
	return key, nil
}

// maxTries is how often a passphrase is asked for at a terminal.
const maxTries = 3

type keyRemoveCmd struct {
	Yes bool `help:"Do not ask."`
}

// Help is shown below the flags.
func (keyRemoveCmd) Help() string {
	return `Older keys that are on this device go with it. Other devices of the account keep their copies, until
they are removed there too.

Example:
  tipt key remove`
}

func (c *keyRemoveCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	published, err := c.published(ctx, i, acc)
	if err != nil {
		return err
	}
	kept, err := os.ReadDir(i.folder.ownKeys(acc.address))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case len(kept) == 0 && published == nil:
		return usage("there is no key of %s, on this device or published", acc.address)
	}
	fmt.Fprintf(i.err, `What people write to %s is then no longer sealed end to end, and nodes can
read it. What is sealed already and was not read yet waits, and can only be opened with an export of
the key ("tipt key import --old").
`, acc.address)
	if !c.Yes {
		if err := i.confirm(ctx, "Type yes to remove the key: ", "not removed"); err != nil {
			return err
		}
	}
	if err := c.withdraw(ctx, i, acc); err != nil {
		return err
	}
	if err := i.folder.removeKeys(acc.address); err != nil {
		return fmt.Errorf("the key is withdrawn, but still on this device: %w", err)
	}
	_, err = fmt.Fprintf(i.out, "the key of %s is withdrawn, and no longer on this device\n", acc.address)
	return err
}

// published returns the certificate that is published, which need not be one that can be read.
func (c *keyRemoveCmd) published(ctx context.Context, i *invocation, acc *account) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cl, err := i.open(bounded, acc, true)
	if err != nil {
		return nil, waited(ctx, err)
	}
	defer cl.Close()
	b, err := cl.UserKey(bounded, acc.address)
	if err != nil {
		return nil, waited(ctx, err)
	}
	if certificate, err := seal.ParseCertificate(b); err == nil {
		return b, i.folder.addSeenKey(acc.address, certificate)
	}
	return b, nil
}

func (c *keyRemoveCmd) withdraw(ctx context.Context, i *invocation, acc *account) error {
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cl, err := i.open(bounded, acc, true)
	if err != nil {
		return waited(ctx, err)
	}
	defer cl.Close()
	return waited(ctx, cl.SetKey(bounded, nil))
}

// confirm returns nil after a yes, and otherwise an error of that text.
func (s streams) confirm(ctx context.Context, question, otherwise string) error {
	if !term.IsTerminal(int(s.in.Fd())) {
		return usage("standard input is no terminal to ask at; add --yes")
	}
	fmt.Fprint(s.err, question)
	answered := make(chan error, 1)
	// A read from a terminal cannot be called off: when ctx ends first the goroutine is left
	// behind, and the process ends.
	go func() {
		line, err := s.lines.ReadString('\n')
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			err = fmt.Errorf("read the answer: %w", err)
		case strings.TrimSpace(line) != "yes":
			err = errors.New(otherwise)
		default:
			err = nil
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		fmt.Fprintln(s.err)
		return ctx.Err()
	}
}
