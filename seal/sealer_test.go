package seal

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// sealWith seals and returns the message and its session key packet.
func sealWith(t testing.TB, s *Sealer, plaintext string, now time.Time) (msg, sessionKey []byte) {
	t.Helper()
	msg, err := s.Seal([]byte(plaintext), now)
	if err != nil {
		t.Fatal(err)
	}
	e, err := parseEnvelope(msg)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.keys) != 1 {
		t.Fatalf("%d session keys", len(e.keys))
	}
	return msg, e.keys[0].raw
}

func wantOpens(t *testing.T, k *NodeKey, msg []byte, want string, now time.Time) {
	t.Helper()
	if got, err := k.Open(msg, now); err != nil || string(got) != want {
		t.Errorf("opened to %q, %v, want %q", got, err, want)
	}
}

// One session key serves for an hour, each message with a salt of its own.
func TestSealerReuses(t *testing.T) {
	for _, name := range []string{"version 2", "ML-KEM"} {
		t.Run(name, func(t *testing.T) {
			k := testKeys(t)[name]
			s := certificateOf(t, k).NewSealer()
			_, first := sealWith(t, s, "first", testTime)
			salts := make(map[string]bool)
			for i := range 100 {
				now := testTime.Add(time.Duration(i) * 36 * time.Second)
				text := fmt.Sprint("message ", i)
				msg, sessionKey := sealWith(t, s, text, now)
				if !bytes.Equal(sessionKey, first) {
					t.Fatalf("another session key after %v", now.Sub(testTime))
				}
				wantOpens(t, k, msg, text, now)
				e, err := parseEnvelope(msg)
				if err != nil {
					t.Fatal(err)
				}
				salt := string(e.data.head[4:aeadHeaderSize])
				if salts[salt] {
					t.Fatalf("salt %x twice", salt)
				}
				salts[salt] = true
			}
		})
	}
}

func TestSealerRenews(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		uses  int
		want  bool
	}{
		{"at once", 0, 1, false},
		{"within the hour", time.Hour - 1, 1, false},
		{"after an hour", time.Hour, 1, true},
		{"with a clock that went back", -1, 1, true},
		{"before the last use", 0, maxSessionKeyUses - 1, false},
		{"after the last use", 0, maxSessionKeyUses, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newTestKey(t)
			s := certificateOf(t, k).NewSealer()
			_, first := sealWith(t, s, "one", testTime)
			old := s.reused.key
			s.uses = tt.uses
			msg, second := sealWith(t, s, "two", testTime.Add(tt.after))
			if renewed := !bytes.Equal(first, second); renewed != tt.want {
				t.Errorf("new session key: %v, want %v", renewed, tt.want)
			}
			wantOpens(t, k, msg, "two", testTime)
			if wiped := bytes.Equal(old, make([]byte, 32)); wiped != tt.want {
				t.Errorf("old session key wiped: %v, want %v", wiped, tt.want)
			}
			if _, third := sealWith(t, s, "three", testTime.Add(tt.after)); tt.want && !bytes.Equal(second, third) {
				t.Error("the new session key is not used again")
			}
		})
	}
}

// The hour begins when the session key is made, not with its last use.
func TestSealerHourIsNotStretched(t *testing.T) {
	s := certificateOf(t, newTestKey(t)).NewSealer()
	_, first := sealWith(t, s, "one", testTime)
	for minute := range 60 {
		if _, again := sealWith(t, s, "again", testTime.Add(time.Duration(minute)*time.Minute)); !bytes.Equal(first, again) {
			t.Fatalf("another session key after %d minutes", minute)
		}
	}
	if _, last := sealWith(t, s, "last", testTime.Add(time.Hour)); bytes.Equal(first, last) {
		t.Error("the same session key after an hour")
	}
}

func TestSealerVersion1(t *testing.T) {
	for _, name := range []string{"version 1", "ML-KEM 1"} {
		k := testKeys(t)[name]
		s := certificateOf(t, k).NewSealer()
		one, first := sealWith(t, s, "one", testTime)
		two, second := sealWith(t, s, "two", testTime)
		if bytes.Equal(first, second) {
			t.Errorf("%s: one session key for two messages", name)
		}
		if s.reused.key != nil {
			t.Errorf("%s: a session key is kept", name)
		}
		wantOpens(t, k, one, "one", testTime)
		wantOpens(t, k, two, "two", testTime)
	}
}

// A session key goes with its subkey: to a newer one, or to none.
func TestSealerFollowsSubkeys(t *testing.T) {
	const newer, end = 20 * time.Minute, 40 * time.Minute
	k := changeKey(t, newTestKey(t), func(e *openpgp.Entity, c *packet.Config) error {
		c.Time = func() time.Time { return testTime.Add(newer) }
		if err := e.AddEncryptionSubkey(c); err != nil {
			return err
		}
		for i := range e.Subkeys {
			subkey := &e.Subkeys[i]
			binding := subkey.Bindings[0].Packet
			if !encrypts(binding) {
				continue
			}
			lifetime := uint32(testTime.Add(end).Sub(subkey.PublicKey.CreationTime) / time.Second)
			binding.KeyLifetimeSecs = &lifetime
			if err := binding.SignKey(subkey.PublicKey, e.PrivateKey, c); err != nil {
				return err
			}
		}
		return nil
	})
	s := certificateOf(t, k).NewSealer()
	at := func(after time.Duration) time.Time { return testTime.Add(after - clockSkew) }
	_, first := sealWith(t, s, "one", at(0))
	if _, again := sealWith(t, s, "two", at(newer-time.Second)); !bytes.Equal(first, again) {
		t.Error("another session key for the same subkey")
	}
	msg, second := sealWith(t, s, "three", at(newer))
	e, err := parseEnvelope(msg)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, second) || !e.keys[0].isFor(&k.decryption[1].key.PublicKey) {
		t.Error("the session key of an old subkey")
	}
	if msg, err := s.Seal([]byte("four"), at(end+time.Second)); err == nil {
		t.Errorf("sealed to a subkey that has expired: %d bytes", len(msg))
	}
}

func TestSealerClose(t *testing.T) {
	k := newTestKey(t)
	s := certificateOf(t, k).NewSealer()
	_, first := sealWith(t, s, "one", testTime)
	key := s.reused.key
	s.Close()
	if !bytes.Equal(key, make([]byte, 32)) || s.reused.key != nil {
		t.Error("a session key is left")
	}
	two, second := sealWith(t, s, "two", testTime)
	_, third := sealWith(t, s, "three", testTime)
	if bytes.Equal(first, second) || bytes.Equal(second, third) || s.reused.key != nil {
		t.Error("a session key is used again")
	}
	wantOpens(t, k, two, "two", testTime)
}

// What is being sealed when the session key is wiped is not sealed with zeroes.
func TestSealerConcurrently(t *testing.T) {
	k := newTestKey(t)
	for range 10 {
		s := certificateOf(t, k).NewSealer()
		var sealing sync.WaitGroup
		for worker := range 4 {
			sealing.Go(func() {
				for i := range 25 {
					text := fmt.Sprint(worker, i)
					now := testTime.Add(time.Duration(i) * 10 * time.Minute) // renewed at different times
					msg, err := s.Seal([]byte(text), now)
					if err != nil {
						t.Error(err)
						return
					}
					wantOpens(t, k, msg, text, now)
				}
				s.Close()
			})
		}
		sealing.Wait()
	}
}

// The library, which reads with a code of its own, opens each message.
func TestSealerForTheLibrary(t *testing.T) {
	for name, k := range testKeys(t) {
		s := certificateOf(t, k).NewSealer()
		keys := openpgp.EntityList{readEntity(t, k.secret)}
		config := &packet.Config{Time: func() time.Time { return testTime }}
		for i := range 3 {
			text := fmt.Sprint("message ", i)
			msg, _ := sealWith(t, s, text, testTime)
			read, err := openpgp.ReadMessage(bytes.NewReader(msg), keys, nil, config)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, err := io.ReadAll(read.UnverifiedBody); err != nil || string(got) != text {
				t.Errorf("%s: opened to %q, %v, want %q", name, got, err, text)
			}
		}
	}
}
