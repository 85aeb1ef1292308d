package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

var update = flag.Bool("update", false, "write testdata/vectors/{keys,sealed,answers,vouch,endtoend}.json anew")

const folder = "../../testdata/vectors"

// clock is the time of the vectors, where they have no other.
var clock = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A Bytes is written in hex.
type Bytes []byte

func (b Bytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// A Key is one of keys.json.
type Key struct {
	Name        string `json:"name"`
	Node        string `json:"node,omitempty"`
	User        string `json:"user,omitempty"`
	About       string `json:"about"`
	Secret      Bytes  `json:"secret"`
	Certificate Bytes  `json:"certificate"`
}

// check writes a file of vectors with -update, and holds what is there against what belongs there.
func check[T any](t *testing.T, file string, want []T) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, v := range want {
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
		if i < len(want)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	name := filepath.Join(folder, file)
	if *update {
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is stale: run\n\n    go run ./internal/vectors -update\n\nand look at what has changed", file)
	}
}

var clauseID = regexp.MustCompile(`^T-[58]\.\d+$`)

// checkClause wants the clause of something hostile to be one of docs/conformance.md.
func checkClause(t *testing.T, id, reason string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	if !clauseID.MatchString(id) || !bytes.Contains(page, []byte("**"+id+"** ")) || reason == "" {
		t.Errorf("clause %q, reason %q", id, reason)
	}
}

// A maker makes keys and messages out of a seed.
type maker struct {
	t      testing.TB
	random *rand.ChaCha8
}

func newMaker(t testing.TB, seed string) *maker {
	return &maker{t, rand.NewChaCha8(sha256.Sum256([]byte(seed)))}
}

func (m *maker) bytes(n int) []byte {
	b := make([]byte, n)
	_, _ = m.random.Read(b) // never fails
	return b
}

// config is how things are made at some time.
func (m *maker) config(at time.Time) *packet.Config {
	return &packet.Config{
		Rand:          m.random,
		Time:          func() time.Time { return at },
		Algorithm:     packet.PubKeyAlgoEdDSA,
		Curve:         packet.Curve25519,
		DefaultCipher: packet.CipherAES256,
		AEADConfig:    &packet.AEADConfig{DefaultMode: packet.AEADModeGCM},
	}
}

func (m *maker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// entity makes the key of a node as section 5.1 has it.
func (m *maker) entity(node string) *openpgp.Entity {
	config := m.config(clock.Add(-100 * 24 * time.Hour))
	e, err := openpgp.NewEntity(node, "", "", config)
	m.must(err)
	for _, id := range e.Identities {
		for _, self := range id.SelfCertifications {
			self.Packet.FlagSign = false
			m.must(self.Packet.SignUserId(id.Name, e.PrimaryKey, e.PrivateKey, config))
		}
	}
	m.must(e.AddSigningSubkey(config))
	return e
}

// key is the entity as it stands in keys.json.
func (m *maker) key(name, about string, e *openpgp.Entity) Key {
	var secret, certificate bytes.Buffer
	m.must(e.SerializePrivateWithoutSigning(&secret, nil))
	m.must(e.Serialize(&certificate))
	k := Key{Name: name, About: about, Secret: secret.Bytes(), Certificate: certificate.Bytes()}
	for id := range e.Identities {
		if strings.Contains(id, "@") {
			k.User = id
		} else {
			k.Node = id
		}
		return k
	}
	m.t.Fatal("a key without a user id")
	return Key{}
}

const (
	receiver = "node.example"
	sender   = "sender.example"
)

// A ring is what all vectors are made with.
type ring struct {
	node, mlkem, other, sender *openpgp.Entity
	ada, bob, mallory          *openpgp.Entity
	keys                       []Key
}

func newRing(t testing.TB) *ring {
	m := newMaker(t, "keys")
	r := &ring{node: m.entity(receiver), other: m.entity("other.example")}

	// Older encryption subkeys, which ended 29 and 31 days ago: the first still opens.
	for _, days := range []time.Duration{29, 31} {
		config := m.config(clock.Add(-100 * 24 * time.Hour))
		config.KeyLifetimeSecs = uint32((100 - days) * 24 * 60 * 60)
		m.must(r.node.AddEncryptionSubkey(config))
	}
	r.mlkem = m.entity(receiver)
	config := m.config(clock.Add(-50 * 24 * time.Hour))
	config.Algorithm = packet.PubKeyAlgoMlkem768X25519
	m.must(r.mlkem.AddEncryptionSubkey(config))
	r.sender = m.sender()

	r.keys = []Key{
		m.key("node", "the receiving node; its second and third encryption subkey expired 29 and 31 days before the vectors' time", r.node),
		m.key("mlkem", "the same node with an ML-KEM-768+X25519 subkey besides", r.mlkem),
		m.key("other", "another node, for messages that are sealed to it", r.other),
		m.key("sender", "a node that vouches: after the encryption subkey, signing subkeys that are good, expired, revoked, without a cross-certification, and one that also encrypts", r.sender),
	}
	r.users(t)
	return r
}

// sender makes the key of the node that vouches.
func (m *maker) sender() *openpgp.Entity {
	e := m.entity(sender) // whose subkey 1 is the good one
	config := m.config(clock.Add(-100 * 24 * time.Hour))
	config.KeyLifetimeSecs = 99 * 24 * 60 * 60
	m.must(e.AddSigningSubkey(config))
	config.KeyLifetimeSecs = 0
	for range 3 {
		m.must(e.AddSigningSubkey(config))
	}
	m.must(e.Subkeys[3].Revoke(packet.KeyCompromised, "", m.config(clock.Add(-24*time.Hour))))
	m.uncertify(e, 4, config)
	both := e.Subkeys[5].Bindings[0].Packet
	both.FlagEncryptCommunications = true
	m.must(both.CrossSignKey(e.Subkeys[5].PublicKey, e.PrimaryKey, e.Subkeys[5].PrivateKey, config))
	m.must(both.SignKey(e.Subkeys[5].PublicKey, e.PrivateKey, config))
	return e
}

// uncertify takes the certification of the primary key by a subkey away.
func (m *maker) uncertify(e *openpgp.Entity, subkey int, config *packet.Config) {
	binding := e.Subkeys[subkey].Bindings[0].Packet
	binding.EmbeddedSignature = nil
	m.must(binding.SignKey(e.Subkeys[subkey].PublicKey, e.PrivateKey, config))
	binding.EmbeddedSignature = nil // which SignKey may have made
}

// The keys are such as section 5.1 wants, and the file has them.
func TestKeyVectors(t *testing.T) {
	r := newRing(t)
	check(t, "keys.json", r.keys)
	for _, k := range r.keys {
		var of []byte // certificate of the secret key
		switch {
		case k.Name == "sender", k.Name == "ada": // which have subkeys that nobody makes
		case k.User != "":
			key, err := seal.ParseUserKey(k.Secret, nil)
			if err != nil {
				t.Fatalf("%s: %v", k.Name, err)
			}
			of = key.Certificate()
		default:
			key, err := seal.ParseNodeKey(k.Secret)
			if err != nil {
				t.Fatalf("%s: %v", k.Name, err)
			}
			if of = key.Certificate(); key.Name() != k.Node {
				t.Errorf("%s: it is the key of %s", k.Name, key.Name())
			}
		}
		if of != nil && !bytes.Equal(of, k.Certificate) {
			t.Errorf("%s: the certificate is not the key's", k.Name)
		}
		cert, err := seal.ParseCertificate(k.Certificate)
		if err != nil {
			t.Fatalf("%s: %v", k.Name, err)
		}
		if k.User != "" {
			if user, err := tipt.ParseAddress(k.User); err != nil || !cert.IsOf(user) {
				t.Errorf("%s: it is not the certificate of %s: %v", k.Name, k.User, err)
			}
			continue
		}
		if err := cert.CheckNode(k.Node, clock); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
}

// The page has a section for each file, and there is each file that has one.
func TestVectorsAreDescribed(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for _, section := range regexp.MustCompile(`(?m)^## (\S+\.json): `).FindAllSubmatch(page, -1) {
		described = append(described, filepath.Join(folder, string(section[1])))
	}
	slices.Sort(described)
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(files) == 0 || !slices.Equal(files, described) {
		t.Errorf("there are %q, %v; the page describes %q", files, err, described)
	}
}
