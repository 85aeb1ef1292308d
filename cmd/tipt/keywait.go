package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

const (
	maxOldKeys  = 32  // that are tried, the newest
	maxSeenKeys = 128 // that are kept; an account's node could show a new one each time
)

// seenKeys is the folder of the certificates that an account has published, as far as this device saw them:
// what is sealed to one of these is worth waiting for its key.
func (f folder) seenKeys(a tipt.Address) string { return f.base(a) + ".seen" }

// addSeenKey keeps one of them.
func (f folder) addSeenKey(a tipt.Address, certificate *seal.Certificate) error {
	file := filepath.Join(f.seenKeys(a), certificate.Fingerprint())
	if kept, err := os.ReadFile(file); err == nil && bytes.Equal(kept, certificate.Bytes()) {
		return nil
	}
	if kept, err := os.ReadDir(f.seenKeys(a)); err == nil && len(kept) >= maxSeenKeys {
		return nil
	}
	if err := writeFile(file, certificate.Bytes()); err != nil {
		return fmt.Errorf("keep the certificate of %s: %w", a, err)
	}
	return nil
}

// sealedTo returns which of them a message says that it is sealed to, nil for none.
func (f folder) sealedTo(a tipt.Address, msg []byte) (*seal.Certificate, error) {
	entries, err := os.ReadDir(f.seenKeys(a))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(f.seenKeys(a), e.Name()))
		if err != nil {
			return nil, err
		}
		certificate, err := seal.ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("certificate in %s: %w", filepath.Join(f.seenKeys(a), e.Name()), err)
		}
		if certificate.Names(msg) {
			return certificate, nil
		}
	}
	return nil, nil
}

// oldKeys reads the keys that the account's key took the place of, the newest first. One that is damaged, which
// is a reason to be set aside, is left out.
func (f folder) oldKeys(a tipt.Address) ([]*seal.UserKey, error) {
	files, err := f.oldKeyFiles(a)
	if err != nil {
		return nil, err
	}
	var keys []*seal.UserKey
	for _, file := range files[:min(len(files), maxOldKeys)] {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read an old key of %s: %w", a, err)
		}
		if k, err := seal.ParseUserKey(b, nil); err == nil {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// oldKeyFiles returns the files of those keys, the newest first.
func (f folder) oldKeyFiles(a tipt.Address) ([]string, error) {
	entries, err := os.ReadDir(f.ownKeys(a))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("find the old keys of %s: %w", a, err)
	}
	var files []string
	for _, e := range slices.Backward(entries) { // which are sorted by name
		if e.Name() > oldKeyPrefix && e.Name()[:len(oldKeyPrefix)] == oldKeyPrefix {
			files = append(files, filepath.Join(f.ownKeys(a), e.Name()))
		}
	}
	return files, nil
}

// opens says whether this device has the key of a certificate.
func (acc *account) opens(certificate *seal.Certificate) bool {
	return isKeyOf(certificate, acc.key) || slices.ContainsFunc(acc.oldKeys, func(k *seal.UserKey) bool { return isKeyOf(certificate, k) })
}

// awaitKey returns an error for a message that no key here opens, when it is sealed to a key of the account: the message
// then waits until that is here. Anything else would let whoever seals to no key of ours end every listen.
func (i *invocation) awaitKey(ctx context.Context, c *client.Client, acc *account, m client.Message) error {
	published, err := i.publishedKey(ctx, c, acc)
	if err != nil {
		return err
	}
	const waits = "the message waits for it, unless you add --unopened to this command"
	if published != nil && !acc.opens(published) {
		if here, err := i.folder.key(acc.address); err == nil && isKeyOf(published, here) {
			return usage("the key of %s has been replaced since this command began, and a message is sealed to the new one: run it again", acc.address)
		}
		return usage("a message is sealed to the key of %s, which is not on this device: to bring the key, %s; %s", acc.address, bring, waits)
	}
	var content tipt.Content
	if err := content.Parse(m.Body); err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	to, err := i.folder.sealedTo(acc.address, content.Sealed)
	if err != nil || to == nil || acc.opens(to) {
		return err
	}
	return usage("a message is sealed to an earlier key of %s, %s, which is not on this device: to bring it, run `tipt key import --old FILE` with an export of it; %s", acc.address, to.Fingerprint(), waits)
}
