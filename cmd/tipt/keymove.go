package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/tipt/tipt-go/seal"
)

// maxKeyFile is how much of a file is read, in bytes: more than a key may have.
const maxKeyFile = 1 << 20

type keyExportCmd struct {
	File string `arg:"" help:"The file to make; there must be none of that name."`
}

// Help is shown below the flags.
func (keyExportCmd) Help() string {
	return `A passphrase is asked for, or is the first line of standard input where that is no terminal. Whoever
has the file and the passphrase reads what people write to the account, and signs in its name. gpg
--import takes the file, too.

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
	if _, err := os.Lstat(c.File); err == nil {
		return usage("%s exists, and is not written over; name another file", c.File)
	}
	passphrase, err := i.newPassword(ctx, "Passphrase for "+c.File, true)
	if err != nil {
		return err
	}
	if passphrase == "" {
		return usage("the passphrase is empty; without one, whoever finds the file has the key")
	}
	b, err := key.Export([]byte(passphrase))
	if err != nil {
		return err
	}
	if err := createFile(c.File, b); err != nil {
		return fmt.Errorf("export the key: %w", err)
	}
	_, err = fmt.Fprintf(i.out, "the key of %s is in %s; on the other device: `tipt key import FILE`\n", acc.address, c.File)
	return err
}

type keyImportCmd struct {
	File    string `arg:"" help:"What \"tipt key export\" made, or gpg --export-secret-keys."`
	Replace bool   `help:"Also in place of another key that is published."`
}

// Help is shown below the flags.
func (keyImportCmd) Help() string {
	return `The passphrase is asked for, or is the first line of standard input where that is no terminal.

A key that is not the published one is only taken with --replace, and published in its place: people
who have written to the account are warned once that its key has changed. If another key is on this
device it stays in a file, which is named.

Example:
  tipt key import my.key`
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
	here, err := i.folder.key(acc.address)
	if err != nil && !c.Replace {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	s, err := i.keyState(bounded, acc, here)
	if err != nil {
		return waited(ctx, err)
	}
	defer s.client.Close()
	has := here != nil && here.Fingerprint() == key.Fingerprint()
	switch {
	case c.Replace, s.publishes(key):
	case s.published != nil:
		return usage("%s has published the key %s, and %s holds another one, %s: look for the export of the former, or publish this one with --replace", acc.address, s.published.Fingerprint(), c.File, key.Fingerprint())
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
	_, err = fmt.Fprintf(i.out, "the key of %s is %s\nthis device opens from now on what is sealed to it\n", acc.address, key.Fingerprint())
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
	if errors.Is(err, seal.ErrPassphrase) {
		passphrase, asked := i.password(ctx, "Passphrase of "+c.File)
		if asked != nil {
			return nil, asked
		}
		key, err = seal.ParseUserKey(b, []byte(passphrase))
	}
	switch {
	case errors.Is(err, seal.ErrPassphrase):
		return nil, fmt.Errorf("that is not the passphrase of %s: it was chosen when the file was made", c.File)
	case err != nil:
		return nil, usage("%s holds no key to be used: %w; `tipt key export` makes such a file", c.File, err)
	}
	return key, nil
}

type keyRemoveCmd struct {
	Yes bool `help:"Do not ask."`
}

// Help is shown below the flags.
func (keyRemoveCmd) Help() string {
	return `Other devices of the account keep their copy of the key, until it is removed there too.

Example:
  tipt key remove`
}

func (c *keyRemoveCmd) Run(ctx context.Context, i *invocation) error {
	acc, err := i.choose()
	if err != nil {
		return err
	}
	fmt.Fprintf(i.err, `What people write to %s is then no longer sealed end to end, and nodes can
read it. What is sealed already and was not read yet can only be opened with an export of the key.
`, acc.address)
	if !c.Yes {
		if err := i.confirm(ctx, "Type yes to remove the key: "); err != nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cl, err := i.open(bounded, acc, true)
	if err != nil {
		return waited(ctx, err)
	}
	defer cl.Close()
	if err := waited(ctx, cl.SetKey(bounded, nil)); err != nil {
		return err
	}
	if err := os.Remove(i.folder.keyFile(acc.address)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the key is withdrawn, but still on this device: %w", err)
	}
	_, err = fmt.Fprintf(i.out, "the key of %s is withdrawn, and no longer on this device\n", acc.address)
	return err
}

// confirm returns nil after a yes.
func (s streams) confirm(ctx context.Context, question string) error {
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
			err = errors.New("not removed")
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
