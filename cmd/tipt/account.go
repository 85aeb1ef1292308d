package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// An account is what its file holds.
type account struct {
	Address string `json:"address"`
	Device  string `json:"device"`            // random, made at the first sign-in
	Token   []byte `json:"token"`             // signs this device in
	CA      string `json:"ca,omitempty"`      // the certificates of --ca, PEM
	Connect string `json:"connect,omitempty"` // --connect

	address tipt.Address
	key     *seal.UserKey   // what choose does not read; nil: none
	oldKeys []*seal.UserKey // that it took the place of, and that only chosen reads
	passing bool            // made of variables: it has no file, and others' keys are kept in memory
}

// folder is where the accounts of the person are: ADDRESS.json, in ADDRESS.own the account's key and older ones,
// in ADDRESS.seen the certificates that it has published, and in ADDRESS.keys those of nodes and people that it has
// seen. Only the person can read it.
type folder string

// accountFolder is TIPT_CONFIG, or tipt in the folder where the system wants configuration.
func accountFolder() (folder, error) {
	if dir := os.Getenv("TIPT_CONFIG"); dir != "" {
		return folder(dir), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder for accounts: %w; set TIPT_CONFIG to say where they are", err)
	}
	return folder(filepath.Join(dir, "tipt")), nil
}

// base is the path of an account's files without the extension.
func (f folder) base(a tipt.Address) string { return filepath.Join(string(f), fileName(a)) }

// fileName is what a file that belongs to an address is called. An address may be longer than a file's name.
func fileName(a tipt.Address) string {
	name := a.String()
	if len(name) > 200 {
		hash := sha256.Sum256([]byte(name))
		name = hex.EncodeToString(hash[:])
	}
	return name
}

func (f folder) file(a tipt.Address) string { return f.base(a) + ".json" }

func (f folder) pins(a tipt.Address) pinFolder { return pinFolder(f.base(a) + ".keys") }

// errNoAccount is load's error when the account is not there.
var errNoAccount = errors.New("no such account here")

func (f folder) load(a tipt.Address) (*account, error) {
	acc, err := readAccount(f.file(a))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoAccount
	}
	return acc, err
}

func readAccount(file string) (*account, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	acc := new(account)
	if err := json.Unmarshal(b, acc); err != nil {
		return nil, fmt.Errorf("account file %s is damaged: %w; sign in again to replace it", file, err)
	}
	if acc.address, err = tipt.ParseAddress(acc.Address); err != nil {
		return nil, fmt.Errorf("account file %s is damaged: %w; sign in again to replace it", file, err)
	}
	return acc, nil
}

func (f folder) save(acc *account) error {
	b, err := json.MarshalIndent(acc, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(f.file(acc.address), append(b, '\n')); err != nil {
		return fmt.Errorf("keep the account: %w", err)
	}
	return nil
}

func (f folder) remove(a tipt.Address) error {
	return errors.Join(os.Remove(f.file(a)), os.RemoveAll(string(f.pins(a))), os.RemoveAll(f.ownKeys(a)), os.RemoveAll(f.seenKeys(a)))
}

// list returns the addresses of all accounts, sorted.
func (f folder) list() ([]tipt.Address, error) {
	entries, err := os.ReadDir(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []tipt.Address
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		acc, err := readAccount(filepath.Join(string(f), e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, acc.address)
	}
	slices.SortFunc(all, func(a, b tipt.Address) int { return strings.Compare(a.String(), b.String()) })
	return all, nil
}

// choose returns the account that as names, or the only one.
func (f folder) choose(as string) (*account, error) {
	if as != "" {
		address, err := parseAddress(as)
		if err != nil {
			return nil, fmt.Errorf("--as: %w", err)
		}
		acc, err := f.load(address)
		if errors.Is(err, errNoAccount) {
			return nil, usage("%s is not signed in here; run `tipt sign-in %s`", address, address)
		}
		return acc, err
	}
	all, err := f.list()
	if err != nil {
		return nil, err
	}
	switch len(all) {
	case 0:
		return nil, usage("there is no account here yet; run `tipt register YOU@NODE`, or `tipt sign-in YOU@NODE` with one that exists")
	case 1:
		return f.load(all[0])
	}
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = a.String()
	}
	return nil, usage("there are several accounts here (%s); choose one with --as ADDRESS or TIPT_AS", strings.Join(names, ", "))
}

func parseAddress(s string) (tipt.Address, error) {
	a, err := tipt.ParseAddress(s)
	if err != nil {
		return a, usage("%s is not an address like alice@example.org: %w", s, err)
	}
	return a, nil
}

func parseNode(s string) (tipt.NodeName, error) {
	node, err := tipt.MapNodeName(s)
	switch at := strings.LastIndex(s, "@"); {
	case err == nil:
		return node, nil
	case at >= 0:
		return "", usage("%s is not a node's name: give the part behind the @, %s", s, s[at+1:])
	case strings.ContainsAny(s, ":/"):
		return "", usage("%s is not a node's name: give one without port and path; --connect HOST:PORT says where the node is reached", s)
	}
	return "", usage("%s is not a node's name: %w", s, err)
}

// newDevice makes up the name of this installation among the account's devices.
func newDevice() string {
	return "tipt-" + strings.ToLower(rand.Text()[:10])
}

func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate in PEM form is in it")
	}
	return all, nil
}

// pinFolder keeps the certificate of each node, and of each person, in a file of its name. It is a client.Pins
// and a client.UserPins.
type pinFolder string

func (p pinFolder) read(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(string(p), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Pin implements client.Pins.
func (p pinFolder) Pin(node tipt.NodeName) ([]byte, error) { return p.read(string(node)) }

// SetPin implements client.Pins.
func (p pinFolder) SetPin(node tipt.NodeName, certificate []byte) error {
	return writeFile(filepath.Join(string(p), string(node)), certificate)
}

// UserPin implements client.UserPins.
func (p pinFolder) UserPin(user tipt.Address) ([]byte, error) { return p.read(fileName(user)) }

// SetUserPin implements client.UserPins.
func (p pinFolder) SetUserPin(user tipt.Address, certificate []byte) error {
	return writeFile(filepath.Join(string(p), fileName(user)), certificate)
}

// writeFile makes or replaces a file that only the person can read, so that at any moment it
// is the old or the new one. The folder is made if missing.
func writeFile(file string, b []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // of no effect after the renaming
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
