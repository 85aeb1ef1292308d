package seal

import (
	"crypto/aes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// The samples of RFC 9580, appendix A, and one of version 1 from the OpenPGP
// interoperability test suite: what nobody here has written.
var decryptSamples = []struct {
	name      string
	version   int
	cipher    packet.CipherFunction
	key       string
	encrypted string
	packets   string
}{
	{
		name:      "A.8 OCB",
		version:   2,
		key:       "dd708f6fa1ed65114d68d2343e7c2f1d",
		encrypted: "d26902070206616416535be0b0716d60e052a56c4c407f9eb36b0efafe9ad0a0df9b033c69a21ba9ebd2c0ec95bf569d25c999ee4a3de17058f40dfa8b4c682be3fbbbd7b27eb0f59bb5005f80c7c6f40388c30ad406ab0513dcd6f9fd737656286e1177d00f888adb31c4",
		packets:   "cb1362000000000048656c6c6f2c20776f726c6421d50ec5a293072991628147d72c8f86b7",
	},
	{
		name:      "A.9 EAX",
		version:   2,
		key:       "3881bafe985412459b86c36f98cb9a5e",
		encrypted: "d269020701069ff90e3b321964f3a42913c8dcc6619325015227efb7eaeaa49f04c2e674175d4a3d226ed6afcb9ca9ac122c1470e11c63d4c0ab241c6a938ad48bf99a5a99b90bba8325de61047540258ab7959a95ad051dda96eb15431dfef5f5e2255ca78261546e339a",
		packets:   "cb1362000000000048656c6c6f2c20776f726c6421d50eae5bf0cd6705500355816cb0c8ff",
	},
	{
		name:      "A.11 GCM",
		version:   2,
		key:       "1936fc8568980274bb900d8319360c77",
		encrypted: "d26902070306fcb94490bcb98bbdc9d106c6090266940f72e89edc21b5596b1576b101ed0f9ffc6fc6d65bbfd24dcd0790966e6d1e85a30053784cb1d8b6a0699ef12155a7b2ad6258531b57651fd7777912fa95e35d9b40216f69a4c248db28ff4331f1632907399e6ff9",
		packets:   "cb1362000000000048656c6c6f2c20776f726c6421d50e1ce2269a9eddef81032172b7ed7c",
	},
	{
		name:      "version 1",
		version:   1,
		cipher:    packet.CipherAES256,
		key:       "7f697e225094dffb782087ee1c6d6cb07c17bd0cd895be03831e3f8970368290",
		encrypted: "d23f01cee77ceed8544e6d52c78bd33c81bd366c8673b68955ddbd1ade98fe6a9b4e27ae54cd10dda7cd3a4637f44e0ead895ebebdcf0c679f1342745628f104e7",
		packets:   "cb1462000000000048656c6c6f20576f726c64203a29",
	},
}

func TestDecryptSamples(t *testing.T) {
	for _, s := range decryptSamples {
		t.Run(s.name, func(t *testing.T) {
			key := sessionKey{s.cipher, unhex(t, s.key)}
			p, rest, err := nextPacket(unhex(t, s.encrypted))
			if err != nil || len(rest) > 0 {
				t.Fatalf("nextPacket: %d bytes left, %v", len(rest), err)
			}
			e := envelope{data: p}
			if int(e.version()) != s.version {
				t.Fatalf("version %d, want %d", e.version(), s.version)
			}
			packets, err := e.decrypt(key)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(packets); got != s.packets {
				t.Errorf("got packets %s, want %s", got, s.packets)
			}

			key.key[3] ^= 1
			if _, err := e.decrypt(key); !errors.Is(err, errIntegrity) {
				t.Errorf("with a wrong key: error %v, want %v", err, errIntegrity)
			}
			key.key = key.key[:len(key.key)-8]
			if _, err := e.decrypt(key); err == nil {
				t.Error("with a short key: no error")
			}
		})
	}
}

// The two bytes before the hash are under the hash, and checked all the same.
func TestDecryptMDCHead(t *testing.T) {
	block, err := aes.NewCipher(testSessionKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		head string
		want error
	}{
		{"\xd3\x14", nil},
		{"\xd3\x15", errIntegrity},
		{"\xd2\x14", errIntegrity},
	} {
		plain := append(make([]byte, mdcRandomSize), "hello"+tt.head...)
		sum := sha1.Sum(plain)
		plain = append(plain, sum[:]...)
		stream, body := packet.NewOCFBEncrypter(block, plain[:aes.BlockSize], packet.OCFBNoResync)
		stream.XORKeyStream(plain[mdcRandomSize:], plain[mdcRandomSize:])
		body = slices.Concat([]byte{1}, body, plain[mdcRandomSize:])
		packets, err := decryptMDC(body, sessionKey{packet.CipherAES256, testSessionKey})
		if !errors.Is(err, tt.want) || tt.want == nil && string(packets) != "hello" {
			t.Errorf("%x: %q, error %v, want %v", tt.head, packets, err, tt.want)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
