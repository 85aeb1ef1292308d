package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

var testTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTestKey(t testing.TB) *NodeKey {
	t.Helper()
	k, err := NewNodeKey("node.example", testTime)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// changeKey returns k after change, which signs what it changes.
func changeKey(t testing.TB, k *NodeKey, change func(*openpgp.Entity, *packet.Config) error) *NodeKey {
	t.Helper()
	entity := readEntity(t, k.secret)
	config := &packet.Config{
		Time:      func() time.Time { return testTime },
		Algorithm: packet.PubKeyAlgoEdDSA,
	}
	if err := change(entity, config); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := entity.SerializePrivateWithoutSigning(&b, nil); err != nil {
		t.Fatal(err)
	}
	changed, err := ParseNodeKey(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// withoutAEAD takes version 2 of encrypted packets out of a key's features.
func withoutAEAD(t testing.TB, k *NodeKey) *NodeKey {
	return changeKey(t, k, takeAEAD)
}

func takeAEAD(e *openpgp.Entity, c *packet.Config) error {
	var err error
	for _, identity := range e.Identities {
		self := identity.SelfCertifications[0].Packet
		self.SEIPDv2, self.PreferredCipherSuites = false, nil
		err = errors.Join(err, self.SignUserId(identity.Name, e.PrimaryKey, e.PrivateKey, c))
	}
	return err
}

// withMLKEM adds an ML-KEM-768+X25519 subkey to a key.
func withMLKEM(t testing.TB, k *NodeKey) *NodeKey {
	return changeKey(t, k, func(e *openpgp.Entity, c *packet.Config) error {
		c.Algorithm = packet.PubKeyAlgoMlkem768X25519
		c.Time = func() time.Time { return testTime.Add(-time.Hour) } // older than the other subkey
		return e.AddEncryptionSubkey(c)
	})
}

func readEntity(t testing.TB, b []byte) *openpgp.Entity {
	t.Helper()
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	return entity
}

func certificateOf(t testing.TB, k *NodeKey) *Certificate {
	t.Helper()
	c, err := ParseCertificate(k.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustSeal(t testing.TB, c *Certificate, plaintext []byte) []byte {
	t.Helper()
	msg, err := c.Seal(plaintext, testTime)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// makePacket makes a packet with a length of five bytes.
func makePacket(kind byte, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	return append(binary.BigEndian.AppendUint32([]byte{0xc0 | kind, 0xff}, uint32(len(b))), b...)
}

func makeLiteral(contents string) []byte {
	return makePacket(typeLiteral, []byte{'b', 4, 'n', 'a', 'm', 'e', 1, 2, 3, 4}, []byte(contents))
}

// makeSessionKey makes a packet of version 3, or 6, that holds key for k.
func makeSessionKey(t testing.TB, k *NodeKey, version int, key []byte, hidden bool) []byte {
	t.Helper()
	var b bytes.Buffer
	to := &k.decryption[0].key.PublicKey
	if err := packet.SerializeEncryptedKeyAEADwithHiddenOption(&b, to, packet.CipherAES256, version == 6, key, hidden, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// makeEncrypted encrypts packets under key, in chunks of 256 bytes unless
// another size is given.
func makeEncrypted(t testing.TB, version int, key, packets []byte, chunk ...uint64) []byte {
	t.Helper()
	suite := packet.CipherSuite{Cipher: packet.CipherAES256, Mode: packet.AEADModeGCM}
	config := &packet.AEADConfig{ChunkSize: 256}
	if len(chunk) > 0 {
		config.ChunkSize = chunk[0]
	}
	var b bytes.Buffer
	w, err := packet.SerializeSymmetricallyEncrypted(&b, packet.CipherAES256, version == 2, suite, key, &packet.Config{AEADConfig: config})
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, packets)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
