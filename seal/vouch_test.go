package seal

import (
	"bytes"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func TestVouchedBy(t *testing.T) {
	const name = "node.example"
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	at := func(t time.Time) *packet.Config {
		return &packet.Config{Time: func() time.Time { return t }, Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519}
	}
	newEntity := func(t *testing.T, name string) *openpgp.Entity {
		t.Helper()
		e, err := openpgp.NewEntity(name, "", "", at(now))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	certificate := func(t *testing.T, e *openpgp.Entity) *Certificate {
		t.Helper()
		var b bytes.Buffer
		if err := e.Serialize(&b); err != nil {
			t.Fatal(err)
		}
		c, err := ParseCertificate(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := newEntity(t, name)
	certify := func(t *testing.T, e *openpgp.Entity, name string, by *openpgp.Entity, kind packet.SignatureType, lifetime uint32) {
		t.Helper()
		sig := &packet.Signature{
			Version:           by.PrimaryKey.Version,
			SigType:           kind,
			PubKeyAlgo:        by.PrimaryKey.PubKeyAlgo,
			Hash:              at(now).Hash(),
			CreationTime:      now,
			IssuerKeyId:       &by.PrimaryKey.KeyId,
			IssuerFingerprint: by.PrimaryKey.Fingerprint,
		}
		if lifetime != 0 {
			sig.SigLifetimeSecs = &lifetime
		}
		if err := sig.SignUserId(name, e.PrimaryKey, by.PrivateKey, at(now)); err != nil {
			t.Fatal(err)
		}
		identity := e.Identities[name]
		identity.OtherCertifications = append(identity.OtherCertifications, packet.NewVerifiableSig(sig))
	}
	tests := []struct {
		name string
		make func(t *testing.T, e *openpgp.Entity)
		at   time.Time
		want bool
	}{
		{"not certified", func(*testing.T, *openpgp.Entity) {}, now, false},
		{"certified", func(t *testing.T, e *openpgp.Entity) {
			certify(t, e, name, old, packet.SigTypeGenericCert, 0)
		}, now, true},
		{"certified by another", func(t *testing.T, e *openpgp.Entity) {
			certify(t, e, name, newEntity(t, name), packet.SigTypeGenericCert, 0)
		}, now, false},
		{"for a time, within it", func(t *testing.T, e *openpgp.Entity) {
			certify(t, e, name, old, packet.SigTypePositiveCert, 3600)
		}, now.Add(30 * time.Minute), true},
		{"for a time, after it", func(t *testing.T, e *openpgp.Entity) {
			certify(t, e, name, old, packet.SigTypePositiveCert, 3600)
		}, now.Add(2 * time.Hour), false},
		{"taken back", func(t *testing.T, e *openpgp.Entity) {
			certify(t, e, name, old, packet.SigTypeGenericCert, 0)
			certify(t, e, name, old, packet.SigTypeCertificationRevocation, 0)
		}, now, false},
		{"taken back and never given", func(t *testing.T, e *openpgp.Entity) {
			certify(t, e, name, old, packet.SigTypeCertificationRevocation, 0)
		}, now, false},
		{"signature for another key", func(t *testing.T, e *openpgp.Entity) {
			other := newEntity(t, name)
			certify(t, other, name, old, packet.SigTypeGenericCert, 0)
			e.Identities[name].OtherCertifications = other.Identities[name].OtherCertifications
		}, now, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEntity(t, name)
			tt.make(t, e)
			if got := certificate(t, e).VouchedBy(certificate(t, old), name, tt.at); got != tt.want {
				t.Errorf("VouchedBy = %v, want %v", got, tt.want)
			}
		})
	}
	t.Run("user id of another node", func(t *testing.T) {
		e := newEntity(t, "other.example")
		certify(t, e, "other.example", old, packet.SigTypeGenericCert, 0)
		if certificate(t, e).VouchedBy(certificate(t, old), name, now) {
			t.Error("VouchedBy = true for a certificate that has not the name")
		}
	})
}
