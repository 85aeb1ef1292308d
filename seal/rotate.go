package seal

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// signingGrace is how long a signing subkey stays valid when another takes its
// place: requests signed by it are on their way, and a receiver may fetch the
// new certificate before they arrive.
const signingGrace = 15 * time.Minute

// ErrHasMLKEM is AddMLKEM's error for a key that has such a subkey.
var ErrHasMLKEM = errors.New("seal: the key has an ML-KEM subkey already")

// Rotate returns the key with new subkeys under the same primary key (section
// 5.1). The old encryption subkeys expire now and open messages for 30 days more; the old signing
// subkey expires in a quarter of an hour. What ended longer ago is left out. A
// certificate has room for some twenty rotations within 30 days.
func (k *NodeKey) Rotate(now time.Time) (*NodeKey, error) {
	entity, err := k.entity()
	if err != nil {
		return nil, err
	}
	config := keyConfig(now)
	kept := entity.Subkeys[:0]
	mlkem := false
	for i := range entity.Subkeys {
		subkey := entity.Subkeys[i]
		keep, pq, err := retire(&subkey, now, config)
		if err != nil {
			return nil, fmt.Errorf("seal: retire a subkey: %w", err)
		}
		mlkem = mlkem || pq
		if keep {
			kept = append(kept, subkey)
		}
	}
	entity.Subkeys = kept
	if err := entity.AddSigningSubkey(config); err != nil {
		return nil, fmt.Errorf("seal: new signing subkey: %w", err)
	}
	if err := entity.AddEncryptionSubkey(config); err != nil {
		return nil, fmt.Errorf("seal: new encryption subkey: %w", err)
	}
	if mlkem {
		if err := addMLKEM(entity, now); err != nil {
			return nil, err
		}
	}
	return nodeKeyOf(entity, config)
}

// retire gives a subkey that has no end one. It reports whether the subkey is still
// of use, and whether it was an ML-KEM one in use.
func retire(subkey *openpgp.Subkey, now time.Time, config *packet.Config) (keep, mlkem bool, err error) {
	binding, err := subkey.LatestValidBindingSignature(time.Time{}, nil)
	if err != nil {
		return false, false, err
	}
	if end := endOf(subkey.PublicKey, binding); !end.IsZero() {
		if encrypts(binding) {
			end = end.Add(oldKeyRetention)
		}
		return now.Before(end), false, nil
	}
	end := now
	if binding.FlagSign {
		end = now.Add(signingGrace)
	}
	// A lifetime of 0 would be one without end.
	lifetime := uint32(max(end.Sub(subkey.PublicKey.CreationTime)/time.Second, 1))
	binding.KeyLifetimeSecs = &lifetime
	binding.CreationTime = now
	return true, subkey.IsPQ(), subkey.ReSign(config)
}

// AddMLKEM returns the key with an ML-KEM-768+X25519 encryption subkey besides the
// others, which programs that know it prefer (section 5.1).
func (k *NodeKey) AddMLKEM(now time.Time) (*NodeKey, error) {
	entity, err := k.entity()
	if err != nil {
		return nil, err
	}
	for i := range entity.Subkeys {
		subkey := &entity.Subkeys[i]
		binding, err := subkey.LatestValidBindingSignature(time.Time{}, nil)
		if err == nil && subkey.IsPQ() && endOf(subkey.PublicKey, binding).IsZero() {
			return nil, ErrHasMLKEM
		}
	}
	if err := addMLKEM(entity, now); err != nil {
		return nil, err
	}
	return nodeKeyOf(entity, keyConfig(now))
}

func addMLKEM(entity *openpgp.Entity, now time.Time) error {
	config := keyConfig(now)
	config.Algorithm = packet.PubKeyAlgoMlkem768X25519
	if err := entity.AddEncryptionSubkey(config); err != nil {
		return fmt.Errorf("seal: new ML-KEM subkey: %w", err)
	}
	return nil
}

// entity parses the key for a change.
func (k *NodeKey) entity() (*openpgp.Entity, error) {
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(k.secret)))
	if err != nil {
		return nil, fmt.Errorf("seal: node key: %w", err)
	}
	return entity, nil
}
