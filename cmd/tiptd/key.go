package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store/sqlite"
)

type keyCmd struct {
	Show     keyShowCmd     `cmd:"" help:"Print the fingerprint and the certificate, for gpg --import."`
	Rotate   keyRotateCmd   `cmd:"" help:"Make new subkeys. What is sealed to the old ones opens for 30 days more."`
	AddMLKEM keyAddMLKEMCmd `cmd:"" name:"add-mlkem" help:"Add an encryption subkey that withstands quantum computers, for programs that know it."`
}

type keyShowCmd struct{ dataFlag }

func (c *keyShowCmd) Run(ctx context.Context, s streams) error {
	var answer node.AdminKey
	err := c.ask(ctx, http.MethodGet, "/key", nil, &answer)
	if errors.Is(err, errNoNode) {
		var key *seal.NodeKey
		if key, err = node.ReadKey(c.Data); err == nil {
			answer.Certificate = key.Certificate()
		}
	}
	if err != nil {
		return err
	}
	return showKey(s.out, answer.Certificate)
}

type keyRotateCmd struct{ dataFlag }

func (c *keyRotateCmd) Run(ctx context.Context, s streams) error {
	return c.changeKey(ctx, s, node.KeyRotate)
}

type keyAddMLKEMCmd struct{ dataFlag }

func (c *keyAddMLKEMCmd) Run(ctx context.Context, s streams) error {
	return c.changeKey(ctx, s, node.KeyAddMLKEM)
}

// changeKey has the running node change its key, or changes it in the folder of
// one that does not run.
func (d dataFlag) changeKey(ctx context.Context, s streams, change node.KeyChange) error {
	var answer node.AdminKey
	err := d.ask(ctx, http.MethodPost, "/key/"+string(change), struct{}{}, &answer)
	if errors.Is(err, errNoNode) {
		answer.Certificate, err = d.changeStored(change)
	}
	if err != nil {
		return err
	}
	return showKey(s.out, answer.Certificate)
}

func (d dataFlag) changeStored(change node.KeyChange) (certificate []byte, err error) {
	if _, err := node.ReadKey(d.Data); err != nil {
		return nil, err // there is no node here, and none is made
	}
	// Its lock keeps a node from starting with the old key meanwhile, and another of these commands away.
	st, err := sqlite.Open(d.Data, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	key, err := node.ReadKey(d.Data)
	if err != nil {
		return nil, err
	}
	if key, err = node.ChangeKey(key, change, fault.Now()); err != nil {
		return nil, err
	}
	return key.Certificate(), node.SaveKey(d.Data, key)
}

func showKey(w io.Writer, certificate []byte) error {
	cert, err := seal.ParseCertificate(certificate)
	if err != nil {
		return err
	}
	text, err := cert.Armor()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n\n%s", cert.Fingerprint(), text)
	return err
}
