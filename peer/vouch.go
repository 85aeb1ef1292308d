package peer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// The header of a vouched request (section 5.4).
const (
	headerFrom      = "Tipt-From"
	headerDigest    = "Content-Digest"
	headerInput     = "Signature-Input"
	headerSignature = "Signature"
)

const (
	signatureLabel = "tipt"
	signatureAlg   = "ed25519"
	digestAlg      = "sha-256"
	// maxSkew is how far a signature's time may be from ours.
	maxSkew = 5 * time.Minute
	// keyIDSize is the length of a version 4 fingerprint in hex.
	keyIDSize = 40
)

// components are what a signature covers, in this order.
var components = []string{"@method", "@authority", "@path", "content-digest", "tipt-from"}

// A Vouch is a node's signed word that a user of its own sent a request.
type Vouch struct {
	From  tipt.Address
	KeyID string // fingerprint of the signing subkey, lower-case hex

	digest    [sha256.Size]byte
	created   int64 // Unix seconds
	signature []byte
}

// AddVouch adds to header that from, a user of the key's node, sent body to the destination.
func AddVouch(header http.Header, key *seal.NodeKey, destination tipt.NodeName, from tipt.Address, body []byte, now time.Time) {
	v := Vouch{From: from, KeyID: key.SigningKeyID(), digest: sha256.Sum256(body), created: now.Unix()}
	v.signature = key.Sign(v.base(destination))

	header.Set(headerFrom, v.from())
	header.Set(headerDigest, v.contentDigest())
	header.Set(headerInput, signatureLabel+"="+v.params())
	header.Set(headerSignature, signatureLabel+"="+sfBytes(v.signature))
}

// Vouched reports whether a request claims to be vouched for. One that does
// not is anonymous.
func Vouched(header http.Header) bool {
	for _, name := range []string{headerFrom, headerInput, headerSignature} {
		if len(header.Values(name)) > 0 {
			return true
		}
	}
	return false
}

// ParseVouch reads the header of a vouched request: exactly one line, label and
// member of each of the four fields, exactly the components and parameters of
// section 5.4. It verifies nothing.
func ParseVouch(header http.Header) (Vouch, error) {
	var v Vouch
	for _, field := range []struct {
		name  string
		parse func(*Vouch, string) error
	}{
		{headerFrom, (*Vouch).parseFrom},
		{headerDigest, (*Vouch).parseDigest},
		{headerInput, (*Vouch).parseInput},
		{headerSignature, (*Vouch).parseSignature},
	} {
		lines := header.Values(field.name)
		if len(lines) != 1 {
			return Vouch{}, fmt.Errorf("%s: %d lines, want one", field.name, len(lines))
		}
		if err := field.parse(&v, lines[0]); err != nil {
			return Vouch{}, fmt.Errorf("%s: %w", field.name, err)
		}
	}
	return v, nil
}

// Current looks whether the request was signed about now.
func (v Vouch) Current(now time.Time) error {
	if skew := now.Sub(time.Unix(v.created, 0)); skew > maxSkew || skew < -maxSkew {
		return fmt.Errorf("%s: created at %d, which is %v from this node's clock; at most %v are allowed",
			headerInput, v.created, skew.Round(time.Second), maxSkew)
	}
	return nil
}

// Verify looks whether key signed the request for a node of that name.
func (v Vouch) Verify(own tipt.NodeName, key ed25519.PublicKey) error {
	if !ed25519.Verify(key, v.base(own), v.signature) {
		return errors.New("the signature does not verify: another key, another @authority or another request was signed")
	}
	return nil
}

// Covers looks whether body is what was signed.
func (v Vouch) Covers(body []byte) error {
	if digest := sha256.Sum256(body); digest != v.digest {
		return fmt.Errorf("%s: not the body's", headerDigest)
	}
	return nil
}

// base is the signature base of RFC 9421, section 2.5.
func (v Vouch) base(authority tipt.NodeName) []byte {
	values := []string{http.MethodPost, string(authority), pathForward, v.contentDigest(), v.from()}
	var b bytes.Buffer
	for i, name := range components {
		fmt.Fprintf(&b, "%q: %s\n", name, values[i])
	}
	fmt.Fprintf(&b, "%q: %s", "@signature-params", v.params())
	return b.Bytes()
}

// params is the inner list of Signature-Input.
func (v Vouch) params() string {
	return fmt.Sprintf(`("%s");created=%d;keyid="%s";alg="%s"`, strings.Join(components, `" "`), v.created, v.KeyID, signatureAlg)
}

func (v Vouch) contentDigest() string { return digestAlg + "=" + sfBytes(v.digest[:]) }

// from is Tipt-From: every byte of the name but a few is escaped.
func (v Vouch) from() string {
	var b strings.Builder
	for _, c := range []byte(v.From.User) {
		if plainInFrom(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String() + "@" + string(v.From.Node)
}

func plainInFrom(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func (v *Vouch) parseFrom(line string) error {
	escaped, node, ok := strings.Cut(line, "@")
	if !ok {
		return errors.New("no @")
	}
	var raw []byte
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' && i+2 < len(escaped) {
			n, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
			if err != nil {
				return fmt.Errorf("bad escape %q", escaped[i:i+3])
			}
			c = byte(n)
			i += 2
		}
		raw = append(raw, c)
	}
	name, err := tipt.ParseUserName(string(raw))
	if err != nil {
		return err
	}
	if v.From.Node, err = tipt.ParseNodeName(node); err != nil {
		return err
	}
	v.From.User = name
	// One spelling only, or a log and a block list could be told different names.
	if v.from() != line {
		return fmt.Errorf("spelt otherwise than %s", v.from())
	}
	return nil
}

func (v *Vouch) parseDigest(line string) error {
	digest, err := onlyBytes(line, digestAlg)
	if err != nil {
		return err
	}
	if len(digest) != sha256.Size {
		return fmt.Errorf("%d bytes, want %d", len(digest), sha256.Size)
	}
	copy(v.digest[:], digest)
	return canonical(line, v.contentDigest())
}

func (v *Vouch) parseSignature(line string) (err error) {
	if v.signature, err = onlyBytes(line, signatureLabel); err != nil {
		return err
	}
	if len(v.signature) != ed25519.SignatureSize {
		return fmt.Errorf("%d bytes, want %d", len(v.signature), ed25519.SignatureSize)
	}
	return canonical(line, signatureLabel+"="+sfBytes(v.signature))
}

func (v *Vouch) parseInput(line string) error {
	member, err := onlyMember(line, signatureLabel)
	if err != nil {
		return err
	}
	list, ok := member.(httpsfv.InnerList)
	if !ok {
		return errors.New("no list of components")
	}
	if len(list.Items) != len(components) {
		return fmt.Errorf("%d components, want %d", len(list.Items), len(components))
	}
	for i, item := range list.Items {
		if name, ok := item.Value.(string); !ok || name != components[i] || len(item.Params.Names()) > 0 {
			return fmt.Errorf("component %d is %v, want %q alone", i+1, item.Value, components[i])
		}
	}
	if names := strings.Join(list.Params.Names(), " "); names != "created keyid alg" {
		return fmt.Errorf("parameters %q, want created, keyid and alg", names)
	}
	created, _ := list.Params.Get("created")
	keyID, _ := list.Params.Get("keyid")
	alg, _ := list.Params.Get("alg")
	if v.created, ok = created.(int64); !ok {
		return errors.New("created is no integer")
	}
	if v.KeyID, ok = keyID.(string); !ok || len(v.KeyID) != keyIDSize || strings.Trim(v.KeyID, "0123456789abcdef") != "" {
		return errors.New("keyid is no fingerprint of a version 4 key in lower-case hex")
	}
	if alg != signatureAlg {
		return fmt.Errorf("alg is %v, want %s", alg, signatureAlg)
	}
	return canonical(line, signatureLabel+"="+v.params())
}

// canonical refuses a field that is spelt otherwise than RFC 9651 serializes it. The
// parser lets a doubled member replace the first one; this does not.
func canonical(line, want string) error {
	if line != want {
		return fmt.Errorf("doubled members, or spelt otherwise than %s", want)
	}
	return nil
}

// onlyMember returns the one member of a dictionary.
func onlyMember(line, label string) (httpsfv.Member, error) {
	dictionary, err := httpsfv.UnmarshalDictionary([]string{line})
	if err != nil {
		return nil, err
	}
	member, ok := dictionary.Get(label)
	if !ok || len(dictionary.Names()) != 1 {
		return nil, fmt.Errorf("members %q, want %s alone", dictionary.Names(), label)
	}
	return member, nil
}

// onlyBytes returns the one member of a dictionary, a byte sequence without parameters.
func onlyBytes(line, label string) ([]byte, error) {
	member, err := onlyMember(line, label)
	if err != nil {
		return nil, err
	}
	item, ok := member.(httpsfv.Item)
	if !ok || len(item.Params.Names()) > 0 {
		return nil, errors.New("no plain byte sequence")
	}
	value, ok := item.Value.([]byte)
	if !ok {
		return nil, errors.New("no byte sequence")
	}
	return value, nil
}

func sfBytes(b []byte) string {
	return ":" + base64.StdEncoding.EncodeToString(b) + ":"
}
