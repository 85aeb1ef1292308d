package conform

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

var errRefused = errors.New("refused by section 5.2")

// openStrictly opens what section 5.2 does not refuse.
func openStrictly(me *correspondent, msg []byte) (*endToEnd, error) {
	opened, err := me.openEndToEnd(msg)
	if err == nil && len(opened.how.against) > 0 {
		err = errRefused
	}
	return opened, err
}

// openUnchecked opens whatever it can decrypt.
func openUnchecked(me *correspondent, msg []byte) (*endToEnd, error) {
	if opened, err := openStrictly(me, msg); err == nil || errors.Is(err, errRefused) {
		return opened, err
	}
	var session *pgp.EncryptedKey
	r := pgp.NewOpaqueReader(bytes.NewReader(msg))
	for {
		p, err := r.Next()
		switch {
		case err != nil:
			return nil, err
		case p.Tag == tagSessionKey:
			session = me.session(p)
			continue
		case p.Tag != tagSealed || session == nil:
			continue
		}
		parsed, err := p.Parse()
		if err != nil {
			return nil, err
		}
		plain, err := parsed.(*pgp.SymmetricallyEncrypted).Decrypt(session.CipherFunc, session.Key)
		if err != nil {
			return nil, err
		}
		inside, _ := io.ReadAll(plain) // whose error may be that the integrity check fails
		e := &endToEnd{to: me, how: new(opened)}
		_ = e.read(inside, false) // what has been read serves
		e.content, err = unpack(e.how.plain)
		return e, err
	}
}

// knowingNo is openStrictly but for messages in or outside of whose encryption is a packet of one of these kinds.
func knowingNo(outside bool, tags ...byte) func(*correspondent, []byte) (*endToEnd, error) {
	return func(me *correspondent, msg []byte) (*endToEnd, error) {
		packets := msg
		if !outside {
			var err error
			if _, packets, err = me.unseal(msg); err != nil {
				return nil, err
			}
		}
		for r := pgp.NewOpaqueReader(bytes.NewReader(packets)); ; {
			p, err := r.Next()
			if err != nil {
				break
			}
			if slices.Contains(tags, p.Tag) {
				return nil, errRefused
			}
		}
		return openStrictly(me, msg)
	}
}

// reads is a client that opens what is sealed to its user in another way.
func reads(clause, name string, open func(me *correspondent, msg []byte) (*endToEnd, error)) clientDefect {
	return writes(clause, "", name, func(p *penman) { p.open = open })
}

// makesKey is a client that makes its user a key, whose certificate may be none of section 8.
func makesKey(clause, name string, certificate func(address string) ([]byte, error)) clientDefect {
	return clientDefect{defect: defect{clause: clause, name: name}, certificate: certificate}
}

// setKey SETs the certificate of a key that the client makes.
func (w *wrapper) setKey(ctx context.Context, c *client.Client) error {
	if w.d.certificate == nil || os.Getenv("TIPT_KEY") != "" {
		return nil
	}
	b, err := w.d.certificate(os.Getenv("TIPT_USER") + "@" + w.name)
	if err != nil {
		return err
	}
	return c.SetKey(ctx, b)
}

// goodKey is a certificate as section 8 has it.
func goodKey(address string) ([]byte, error) {
	key, err := seal.NewUserKey(address, time.Now())
	if err != nil {
		return nil, err
	}
	return key.Certificate(), nil
}

// madeBy is a certificate that a library makes as it likes.
func madeBy(config *pgp.Config) func(address string) ([]byte, error) {
	return func(address string) ([]byte, error) {
		e, err := openpgp.NewEntity(address, "", "", config)
		if err != nil {
			return nil, err
		}
		key, err := asOpeningKey(e)
		if err != nil {
			return nil, err
		}
		return key.certificate, nil
	}
}

// Whoever makes its user a key as section 8 wants it passes.
func TestClientThatMakesAKey(t *testing.T) {
	cmd, err := command(letterClient, "makes a key")
	if err != nil {
		t.Fatal(err)
	}
	report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: `T-8\.11`})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, report, clientDraftAlone)
}

var clientSealedDefects = []clientDefect{
	reads("T-8.120", "opens what it can decrypt", openUnchecked),
	reads("T-8.121", "minds no form", (*correspondent).openEndToEnd),
	reads("T-8.122", "knows no padding", knowingNo(false, tagPadding)),
	reads("T-8.122", "knows no marker", knowingNo(true, tagMarker)),
	reads("T-8.122", "wants what is signed", func(me *correspondent, msg []byte) (*endToEnd, error) {
		opened, err := openStrictly(me, msg)
		if err == nil && len(opened.signatures) == 0 {
			err = errRefused
		}
		return opened, err
	}),
	reads("T-8.122", "opens SEIPD 1 alone", func(me *correspondent, msg []byte) (*endToEnd, error) {
		opened, err := openStrictly(me, msg)
		if err == nil && opened.how.seipd != 1 {
			err = errRefused
		}
		return opened, err
	}),
	reads("T-8.123", "opens nothing compressed", knowingNo(false, tagCompressed)),
	reads("T-8.21", "opens with the newest subkey alone", func(me *correspondent, msg []byte) (*endToEnd, error) {
		now, key := *me, *me.openingKey
		e := *key.entity
		e.Subkeys = slices.DeleteFunc(slices.Clone(e.Subkeys), func(sub openpgp.Subkey) bool {
			sig, err := sub.LatestValidBindingSignature(time.Now(), nil)
			return err != nil || sub.Expired(sig, time.Now())
		})
		key.entity, now.openingKey = &e, &key
		return openStrictly(&now, msg)
	}),
	makesKey("T-8.11", "a name that is no address", func(address string) ([]byte, error) { return goodKey("x-" + address) }),
	makesKey("T-8.11", "a primary key that signs", madeBy(&pgp.Config{Algorithm: pgp.PubKeyAlgoEdDSA, AEADConfig: new(pgp.AEADConfig)})),
	makesKey("T-8.11", "RSA", madeBy(&pgp.Config{RSABits: 2048})),
}
