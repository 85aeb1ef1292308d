package seal

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/google/go-cmp/cmp"

	tipt "github.com/tipt/tipt-go"
)

// testKeys are a node key of each kind of certificate to seal to.
func testKeys(t testing.TB) map[string]*NodeKey {
	k := newTestKey(t)
	return map[string]*NodeKey{
		"version 2": k,
		"version 1": withoutAEAD(t, k),
		"ML-KEM":    withMLKEM(t, k),
		"ML-KEM 1":  withoutAEAD(t, withMLKEM(t, k)),
	}
}

func TestSealAndOpen(t *testing.T) {
	for name, k := range testKeys(t) {
		c := certificateOf(t, k)
		for _, size := range []int{0, 1, 185, 186, 300, chunkSize - 9, chunkSize - 8, chunkSize, 5*chunkSize - 9, 8377, 8378, 65_536, 1_000_001} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				plaintext := make([]byte, size)
				rand.Read(plaintext)
				msg := mustSeal(t, c, plaintext)
				got, err := k.Open(msg, testTime)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, plaintext) {
					t.Error("opened to something else")
				}
				if bytes.Equal(msg, mustSeal(t, c, plaintext)) {
					t.Error("sealed twice to the same bytes")
				}
			})
		}
	}
}

// What Seal writes, packet by packet (section 5.2).
func TestSealPackets(t *testing.T) {
	seen := make(map[string]bool)
	for _, tt := range []struct {
		name          string
		key           string
		version       byte // of the encrypted packet
		keyVersion    byte
		algorithm     packet.PublicKeyAlgorithm
		cipher, mode  byte
		chunkExponent int
	}{
		{"features SEIPD 1 and 2", "version 2", 2, 6, packet.PubKeyAlgoECDH, byte(packet.CipherAES256), byte(packet.AEADModeGCM), 12},
		{"features SEIPD 1", "version 1", 1, 3, packet.PubKeyAlgoECDH, 0, 0, 0},
		{"ML-KEM", "ML-KEM", 2, 6, packet.PubKeyAlgoMlkem768X25519, byte(packet.CipherAES256), byte(packet.AEADModeGCM), 12},
		{"ML-KEM, features SEIPD 1", "ML-KEM 1", 1, 3, packet.PubKeyAlgoMlkem768X25519, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := testKeys(t)[tt.key]
			e, err := parseEnvelope(mustSeal(t, certificateOf(t, k), []byte("hello")))
			if err != nil {
				t.Fatal(err)
			}
			if len(e.keys) != 1 || e.keys[0].version != tt.keyVersion || e.keys[0].fields[0] != byte(tt.algorithm) {
				t.Errorf("session keys %+v", e.keys)
			}
			if e.version() != tt.version {
				t.Errorf("encrypted packet of version %d", e.version())
			}
			if tt.version == 2 {
				if h := e.data.head; h[1] != tt.cipher || h[2] != tt.mode || int(h[3])+6 != tt.chunkExponent {
					t.Errorf("encrypted packet starts with % x", h[:4])
				}
			}
			key, err := unwrapFirst(e.keys, k.decryption, testTime)
			if err != nil {
				t.Fatal(err)
			}
			if seen[string(key.key)] {
				t.Errorf("session key %x twice", key.key)
			}
			seen[string(key.key)] = true
			packets, err := e.decrypt(key)
			if err != nil {
				t.Fatal(err)
			}
			if want := []byte("\xcb\x0bb\x00\x00\x00\x00\x00hello"); !bytes.Equal(packets, want) {
				t.Errorf("inside % x, want % x", packets, want)
			}
		})
	}
}

// One subkey, the newest, also where there are more (a rotation's certificate).
func TestSealToNewestSubkey(t *testing.T) {
	rotated := changeKey(t, newTestKey(t), func(e *openpgp.Entity, c *packet.Config) error {
		for _, age := range []time.Duration{0, 2 * time.Hour} {
			c.Time = func() time.Time { return testTime.Add(time.Hour - age) }
			if err := e.AddEncryptionSubkey(c); err != nil {
				return err
			}
		}
		return nil
	})
	c := certificateOf(t, rotated)
	for _, tt := range []struct {
		at   time.Time
		want *packet.PrivateKey
	}{
		{testTime, rotated.decryption[0].key},
		{testTime.Add(time.Hour), rotated.decryption[1].key},
	} {
		msg, err := c.Seal([]byte("hello"), tt.at)
		if err != nil {
			t.Fatal(err)
		}
		e, err := parseEnvelope(msg)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.keys) != 1 || !e.keys[0].isFor(&tt.want.PublicKey) {
			t.Errorf("at %v: session keys %+v", tt.at, e.keys)
		}
	}
}

// An ML-KEM subkey comes before any other, wherever it stands and however old.
func TestSealPrefersMLKEM(t *testing.T) {
	last := withMLKEM(t, newTestKey(t))
	first := changeKey(t, last, func(e *openpgp.Entity, _ *packet.Config) error {
		slices.Reverse(e.Subkeys)
		return nil
	})
	for name, k := range map[string]*NodeKey{"last": last, "first": first} {
		e, err := parseEnvelope(mustSeal(t, certificateOf(t, k), []byte("hello")))
		if err != nil {
			t.Fatal(err)
		}
		if got := packet.PublicKeyAlgorithm(e.keys[0].fields[0]); got != packet.PubKeyAlgoMlkem768X25519 {
			t.Errorf("%s: sealed to a key of algorithm %d", name, got)
		}
	}
}

// The random part of encrypted packets is what makes them differ under one key.
func TestEncryptedPacketsDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for range 2 {
		v1, err := appendMDC(nil, testSessionKey, nil, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		suite := packet.CipherSuite{Cipher: packet.CipherAES256, Mode: packet.AEADModeGCM}
		v2, err := appendAEAD(nil, suite, testSessionKey, nil, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{v1, v2} {
			if seen[string(b)] {
				t.Errorf("twice % x", b)
			}
			seen[string(b)] = true
		}
	}
}

func TestChooseCipher(t *testing.T) {
	for _, tt := range []struct {
		preferred []uint8
		want      packet.CipherFunction
	}{
		{nil, packet.CipherAES128},
		{[]uint8{2, 3, 10, 0}, packet.CipherAES128},
		{[]uint8{3, 8, 9}, packet.CipherAES192},
		{[]uint8{9, 7}, packet.CipherAES256},
	} {
		if got := chooseCipher(tt.preferred); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.preferred, got, tt.want)
		}
	}
}

func TestChooseSuite(t *testing.T) {
	for _, tt := range []struct {
		preferred [][2]uint8
		want      packet.CipherSuite
	}{
		{nil, packet.CipherSuite{Cipher: packet.CipherAES128, Mode: packet.AEADModeOCB}},
		{[][2]uint8{{3, 3}, {9, 4}, {10, 2}}, packet.CipherSuite{Cipher: packet.CipherAES128, Mode: packet.AEADModeOCB}},
		{[][2]uint8{{3, 3}, {8, 1}, {9, 3}}, packet.CipherSuite{Cipher: packet.CipherAES192, Mode: packet.AEADModeEAX}},
		{[][2]uint8{{9, 2}, {9, 3}}, packet.CipherSuite{Cipher: packet.CipherAES256, Mode: packet.AEADModeOCB}},
	} {
		if diff := cmp.Diff(tt.want, chooseSuite(tt.preferred)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.preferred, diff)
		}
	}
}

// Every suite that a certificate may ask for is one that Open opens.
func TestSealSuites(t *testing.T) {
	k := newTestKey(t)
	plaintext := make([]byte, 3*chunkSize)
	rand.Read(plaintext)
	for _, cipher := range []packet.CipherFunction{packet.CipherAES128, packet.CipherAES192, packet.CipherAES256} {
		for _, mode := range []packet.AEADMode{packet.AEADModeEAX, packet.AEADModeOCB, packet.AEADModeGCM} {
			to := recipient{&k.decryption[0].key.PublicKey, true, 0, packet.CipherSuite{Cipher: cipher, Mode: mode}}
			msg, err := to.seal(plaintext)
			if err != nil {
				t.Fatal(err)
			}
			got, err := k.Open(msg, testTime)
			if err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("cipher %d, mode %d: opened to %d bytes, %v", cipher, mode, len(got), err)
			}
		}
	}
}

// The greatest message of a client must fit into a FORWARD, sealed to whatever
// kind of node key, in the CNNodeForwardRequest that section 5.3 puts around it.
func TestSealGreatestMessage(t *testing.T) {
	const around = 200
	plaintext := make([]byte, tipt.MaxMessageSize+around)
	for name, k := range testKeys(t) {
		if n := len(mustSeal(t, certificateOf(t, k), plaintext)); n > tipt.MaxSealedSize {
			t.Errorf("%s: sealed to %d bytes", name, n)
		}
	}
}

// Neither end needs more memory than one copy of the message.
func TestOneCopy(t *testing.T) {
	plaintext := make([]byte, 1<<20)
	for name, k := range testKeys(t) {
		c := certificateOf(t, k)
		limit := uint64(len(plaintext)) + 64<<10
		msg := mustSeal(t, c, plaintext)
		if n := allocated(func() { mustSeal(t, c, plaintext) }); n > limit {
			t.Errorf("%s: sealing allocated %d bytes, at most %d are allowed", name, n, limit)
		}
		if n := allocated(func() { _, _ = k.Open(msg, testTime) }); n > limit {
			t.Errorf("%s: opening allocated %d bytes, at most %d are allowed", name, n, limit)
		}
	}
}

func TestSealConcurrently(t *testing.T) {
	k := withMLKEM(t, newTestKey(t))
	c := certificateOf(t, k)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 10 {
				want := fmt.Sprint(i)
				msg, err := c.Seal([]byte(want), testTime.Add(time.Duration(i)*time.Hour))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := k.Open(msg, testTime); err != nil || string(got) != want {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}
