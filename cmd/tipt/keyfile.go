package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// ownKeys is the folder of an account's own key and of those that it took the place of.
func (f folder) ownKeys(a tipt.Address) string { return f.base(a) + ".own" }

func (f folder) keyFile(a tipt.Address) string { return filepath.Join(f.ownKeys(a), "key") }

// key reads the key of an account, nil where there is none here.
func (f folder) key(a tipt.Address) (*seal.UserKey, error) {
	b, err := os.ReadFile(f.keyFile(a))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of %s: %w", a, err)
	}
	k, err := seal.ParseUserKey(b, nil)
	if err != nil {
		return nil, fmt.Errorf("the key of %s in %s is damaged: %w; to replace it, run `tipt key import --replace` with an export of it, or `tipt key new --replace`", a, f.keyFile(a), err)
	}
	return k, nil
}

// addKey keeps the key of an account that has none here.
func (f folder) addKey(a tipt.Address, k *seal.UserKey) error {
	err := os.MkdirAll(f.ownKeys(a), 0o700)
	if err == nil {
		err = createFile(f.keyFile(a), k.Append(nil))
	}
	if err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	return nil
}

// oldKeyPrefix starts the name of each file of a key that another took the place of; the time follows.
const oldKeyPrefix = "old-"

func (f folder) newOldKeyFile(a tipt.Address) string {
	return filepath.Join(f.ownKeys(a), oldKeyPrefix+time.Now().UTC().Format("20060102T150405.000000000"))
}

// addOldKey keeps a key to open with what was sealed to it.
func (f folder) addOldKey(a tipt.Address, k *seal.UserKey) error {
	err := os.MkdirAll(f.ownKeys(a), 0o700)
	if err == nil {
		err = createFile(f.newOldKeyFile(a), k.Append(nil))
	}
	if err != nil {
		return fmt.Errorf("keep the key: %w", err)
	}
	return nil
}

// setKeyAside renames the file of an account's key, so that another takes its place, and returns the
// new name, or "" where there was none.
func (f folder) setKeyAside(a tipt.Address) (string, error) {
	old := f.newOldKeyFile(a)
	err := os.Rename(f.keyFile(a), old)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("set the old key aside: %w", err)
	}
	return old, nil
}

// removeKeys removes the key of an account and the older ones.
func (f folder) removeKeys(a tipt.Address) error {
	files, err := f.oldKeyFiles(a)
	if err != nil {
		return err
	}
	for _, file := range append(files, f.keyFile(a)) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// createFile makes a file that only the person can read, and never replaces one.
func createFile(file string, b []byte) error {
	w, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	if err == nil {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, os.Remove(file)) // half of it
	}
	return nil
}
