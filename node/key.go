package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// keyFile is the name, in the data folder, of the node's OpenPGP key.
const keyFile = "node.key"

// maxKeyFile bounds what is read of it, in bytes.
const maxKeyFile = 64 << 10

// LoadKey reads the node's key from the data folder, or makes it there at the
// first start. The file is 0600 and on the disk when LoadKey returns: clients
// remember the key, so it must not change.
func LoadKey(dir string, name tipt.NodeName) (*seal.NodeKey, error) {
	path := filepath.Join(dir, keyFile)
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return makeKey(dir, path, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the node's key: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the node's key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("the node's key %s can be read by others (mode %04o); see who did, then chmod 600 it", path, mode)
	}
	encoded, err := io.ReadAll(io.LimitReader(file, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the node's key: %w", err)
	}
	key, err := seal.ParseNodeKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("read the node's key %s: %w", path, err)
	}
	if key.Name() != string(name) {
		return nil, fmt.Errorf("the data folder %s is that of the node %s, not of %s", dir, key.Name(), name)
	}
	return key, nil
}

func makeKey(dir, path string, name tipt.NodeName) (_ *seal.NodeKey, err error) {
	key, err := seal.NewNodeKey(string(name), time.Now())
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	// Under another name first: a crash leaves a whole key or none.
	file, err := os.CreateTemp(dir, keyFile+".*") // made 0600
	if err != nil {
		return nil, fmt.Errorf("write the node's key: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the node's key: %w", errors.Join(err, os.Remove(file.Name())))
		}
	}()
	_, err = file.Write(key.Append(nil))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return nil, err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err = errors.Join(folder.Sync(), folder.Close()); err != nil {
		return nil, err
	}
	return key, nil
}
