package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
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
	key, err := ReadKey(dir)
	if errors.Is(err, os.ErrNotExist) {
		key, err = seal.NewNodeKey(string(name), fault.Now())
		if err != nil {
			return nil, fmt.Errorf("make the node's key: %w", err)
		}
		return key, SaveKey(dir, key)
	}
	if err != nil {
		return nil, err
	}
	if key.Name() != string(name) {
		return nil, fmt.Errorf("the data folder %s is that of the node %s, not of %s", dir, key.Name(), name)
	}
	return key, nil
}

// ReadKey reads the node's key from the data folder. Without one the error is
// [os.ErrNotExist].
func ReadKey(dir string) (*seal.NodeKey, error) {
	path := filepath.Join(dir, keyFile)
	file, err := os.Open(path)
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
	return key, nil
}

// SaveKey puts a node's key into the data folder, in place of the one that is
// there. A crash leaves the one or the other.
func SaveKey(dir string, key *seal.NodeKey) (err error) {
	file, err := os.CreateTemp(dir, keyFile+".*") // made 0600
	if err != nil {
		return fmt.Errorf("write the node's key: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the node's key: %w", err)
			_ = os.Remove(file.Name()) // gone already once it has its name
		}
	}()
	_, err = file.Write(key.Append(nil))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err = os.Rename(file.Name(), filepath.Join(dir, keyFile)); err != nil {
		return err
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// A KeyChange is what an operator does to the node's key.
type KeyChange string

const (
	KeyRotate   KeyChange = "rotate"    // new subkeys under the same primary key
	KeyAddMLKEM KeyChange = "add-mlkem" // a subkey that a quantum computer cannot break
)

var errNoSuchChange = errors.New("no such change of a key")

// ChangeKey returns the key after a change.
func ChangeKey(key *seal.NodeKey, change KeyChange, now time.Time) (*seal.NodeKey, error) {
	switch change {
	case KeyRotate:
		return key.Rotate(now)
	case KeyAddMLKEM:
		return key.AddMLKEM(now)
	default:
		return nil, fmt.Errorf("%w: %q", errNoSuchChange, change)
	}
}

// changeKey changes the key of the running node, on the disk first.
func (n *Node) changeKey(change KeyChange) (*seal.NodeKey, error) {
	n.keyChange.Lock()
	defer n.keyChange.Unlock()
	key, err := ChangeKey(n.key.Load(), change, fault.Now())
	if err != nil {
		return nil, err
	}
	if err := SaveKey(n.config.Data, key); err != nil {
		return nil, err
	}
	n.key.Store(key)
	n.opener.Swap(seal.NewOpener(key)).Close()
	n.log.Info("the node's key has changed", "change", change)
	return key, nil
}
