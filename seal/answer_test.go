package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"slices"
	"strings"
	"testing"

	tipt "github.com/tipt/tipt-go"
)

var testSeal = (*[tipt.SealKeySize]byte)(bytes.Repeat([]byte{7}, tipt.SealKeySize))

// answerWith is the encoded answer {"body": {"key": key}}.
func answerWith(key []byte) []byte {
	return slices.Concat([]byte("\x81\xa4body\x81\xa3key\xc5"), []byte{byte(len(key) >> 8), byte(len(key))}, key)
}

func TestSealAnswer(t *testing.T) {
	for name, answer := range map[string][]byte{
		"nil body":              []byte("\x81\xa4body\xc0"),
		"error":                 []byte("\x81\xa3err\x81\xa4code\x30"),
		"key ends in zeros":     answerWith(make([]byte, 100)),
		"key of greatest size":  answerWith(make([]byte, tipt.MaxKeySize)),
		"answer of greatest":    answerWith(make([]byte, tipt.SealedAnswerSize-len(answerWith(nil)))),
		"code 0, a zero at end": []byte("\x81\xa3err\x81\xa4code\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			sealed, err := SealAnswer(testSeal, answer)
			if err != nil {
				t.Fatal(err)
			}
			if want := 12 + 8256 + 16; len(sealed) != want {
				t.Errorf("sealed to %d bytes, want %d", len(sealed), want)
			}
			got, err := OpenAnswer(testSeal, sealed)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, answer) {
				t.Errorf("got % x, want % x", got, answer)
			}
			again, err := SealAnswer(testSeal, answer)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(sealed[:12], again[:12]) {
				t.Error("same nonce twice")
			}
			if plain := openPlainly(t, sealed); !bytes.Equal(plain, append(slices.Clone(answer), make([]byte, 8256-len(answer))...)) {
				t.Error("not the answer with zeros behind it")
			}
		})
	}
}

// openPlainly opens as section 5.3 says, in its words.
func openPlainly(t *testing.T, sealed []byte) []byte {
	t.Helper()
	plain, err := plainGCM(t).Open(nil, sealed[:12], sealed[12:], nil)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func plainGCM(t *testing.T) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(testSeal[:])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm
}

func TestSealAnswerRefuses(t *testing.T) {
	if _, err := SealAnswer(testSeal, make([]byte, tipt.SealedAnswerSize+1)); err == nil {
		t.Error("no error for an answer that is too long")
	}
}

func TestOpenAnswerRefuses(t *testing.T) {
	good, err := SealAnswer(testSeal, answerWith([]byte("key")))
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(plain string) []byte {
		nonce := make([]byte, 12)
		return plainGCM(t).Seal(nonce, nonce, append([]byte(plain), make([]byte, 8256-len(plain))...), nil)
	}
	if _, err := OpenAnswer(testSeal, sealed("\x80")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		sealed     []byte
	}{
		{"nothing", "0 bytes", nil},
		{"short", "8283 bytes", good[:len(good)-1]},
		{"long", "8285 bytes", append(slices.Clone(good), 0)},
		{"not a map", "not a map", sealed("\x91\x80")},
		{"zeros", "not a map", sealed("")},
		{"padding with something in it", "padding is not zero", sealed("\x80\x00\x00\x01")},
		{"two maps", "padding is not zero", sealed("\x80\x80")},
		{"map that does not end", "", sealed("\xdf\xff\xff\xff\xff")},
		{"longer than what is there", "", sealed("\x81\xa1x\xc6\x7f\xff\xff\xff")},
		{"deep", "", sealed(strings.Repeat("\x81\xa0", 4000) + "\xc1")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := OpenAnswer(testSeal, tt.sealed)
			if !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got error %v, want one that says %q", err, tt.text)
			}
			if got != nil {
				t.Error("got an answer along with the error")
			}
		})
	}

	wrong := *testSeal
	wrong[31] ^= 1
	if _, err := OpenAnswer(&wrong, good); !errors.Is(err, ErrMessage) {
		t.Errorf("with another key: error %v", err)
	}
	for i := range good {
		good[i] ^= 1
		if _, err := OpenAnswer(testSeal, good); !errors.Is(err, ErrMessage) {
			t.Fatalf("byte %d changed: error %v", i, err)
		}
		good[i] ^= 1
	}
}
