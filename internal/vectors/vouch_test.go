package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"

	"github.com/tipt/tipt-go/peer"
	"github.com/tipt/tipt-go/seal"
)

// A Vouched is a vector of vouch.json: a POST to /api/forward of node.example, in which From is
// vouched for, or Clause and Reason say why it is refused. With neither it is anonymous.
type Vouched struct {
	Name   string      `json:"name"`
	Clock  int64       `json:"clock"` // seconds
	Key    string      `json:"key"`   // of keys.json: the certificate that sender.example serves
	Header [][2]string `json:"header"`
	Body   Bytes       `json:"body"`

	From   string `json:"from,omitempty"`
	Clause string `json:"clause,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// A request is what a vector's header is made of.
type request struct {
	method, authority, path string // as they are signed
	from, digest            string
	components, params      string
	label                   string
	subkey                  int
	body                    string
}

const (
	fromField      = "Tipt-From"
	digestField    = "Content-Digest"
	inputField     = "Signature-Input"
	signatureField = "Signature"
)

func digestOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// keyID is the fingerprint of a subkey of the sender.
func (r *ring) keyID(subkey int) string {
	return hex.EncodeToString(r.sender.Subkeys[subkey].PublicKey.Fingerprint)
}

// header signs a request (RFC 9421).
func (q request) header(t testing.TB, r *ring) [][2]string {
	t.Helper()
	values := map[string]string{
		"@method": q.method, "@authority": q.authority, "@path": q.path, "content-digest": q.digest, "tipt-from": q.from, "date": "today",
	}
	input := "(" + q.components + ")" + q.params
	var base strings.Builder
	for name := range strings.FieldsSeq(q.components) {
		fmt.Fprintf(&base, "%s: %s\n", name, values[strings.Trim(name, `"`)])
	}
	base.WriteString(`"@signature-params": ` + input)
	signature := make([]byte, ed25519.SignatureSize)
	if secret, ok := r.sender.Subkeys[q.subkey].PrivateKey.PrivateKey.(*eddsa.PrivateKey); ok {
		signature = ed25519.Sign(ed25519.NewKeyFromSeed(secret.D), []byte(base.String()))
	}
	return [][2]string{
		{fromField, q.from},
		{digestField, q.digest},
		{inputField, q.label + "=" + input},
		{signatureField, q.label + "=:" + base64.StdEncoding.EncodeToString(signature) + ":"},
	}
}

func vouchVectors(t testing.TB, r *ring) []Vouched {
	good := func() request {
		return request{
			method: "POST", authority: receiver, path: "/api/forward", from: "alice@" + sender, body: "a sealed message", digest: digestOf("a sealed message"),
			components: `"@method" "@authority" "@path" "content-digest" "tipt-from"`, label: "tipt", subkey: 1,
			params: fmt.Sprintf(`;created=%d;keyid="%s";alg="ed25519"`, clock.Unix(), r.keyID(1)),
		}
	}
	var vectors []Vouched
	// one adds the request that change makes of the good one, and its header that bend makes of the right
	// one.
	one := func(v Vouched, change func(*request), bend func([][2]string) [][2]string) {
		q := good()
		if change != nil {
			change(&q)
		}
		v.Header, v.Body, v.Key = q.header(t, r), []byte(q.body), "sender"
		if bend != nil {
			v.Header = bend(v.Header)
		}
		if v.Clock == 0 {
			v.Clock = clock.Unix()
		}
		vectors = append(vectors, v)
	}
	taken := func(name, from string, after time.Duration, change func(*request)) {
		one(Vouched{Name: name, From: from + "@" + sender, Clock: clock.Add(after).Unix()}, change, nil)
	}
	clause := "T-5.36" // of what follows
	refused := func(name, reason string, change func(*request)) {
		one(Vouched{Name: name, Clause: clause, Reason: reason}, change, nil)
	}
	misspelt := func(from string) {
		one(Vouched{Name: "Tipt-From " + from, Clause: "T-5.37", Reason: "Tipt-From is no address, or not in its one spelling"}, func(q *request) { q.from = from }, nil)
	}
	bent := func(name, reason string, bend func([][2]string) [][2]string) {
		one(Vouched{Name: name, Clause: clause, Reason: reason}, nil, bend)
	}
	param := func(old, with string) func(*request) {
		return func(q *request) { q.params = strings.Replace(q.params, old, with, 1) }
	}
	byKey := func(subkey int) func(*request) {
		return func(q *request) {
			q.params = strings.Replace(q.params, r.keyID(1), r.keyID(subkey), 1)
			q.subkey = subkey
		}
	}
	replaced := func(field, old, with string) func([][2]string) [][2]string {
		return func(header [][2]string) [][2]string {
			for i := range header {
				if header[i][0] == field {
					header[i][1] = strings.Replace(header[i][1], old, with, 1)
				}
			}
			return header
		}
	}
	doubled := func(field string, join string) func([][2]string) [][2]string {
		return func(header [][2]string) [][2]string {
			for i := range header {
				if header[i][0] != field {
					continue
				}
				if join == "" {
					return append(header, header[i])
				}
				header[i][1] += join + header[i][1]
			}
			return header
		}
	}
	without := func(fields ...string) func([][2]string) [][2]string {
		return func(header [][2]string) [][2]string {
			var rest [][2]string
			for _, line := range header {
				if !strings.Contains(strings.Join(fields, " ")+" ", line[0]+" ") {
					rest = append(rest, line)
				}
			}
			return rest
		}
	}
	from := func(s string) func(*request) { return func(q *request) { q.from = s + "@" + sender } }

	taken("good", "alice", 0, nil)
	taken("every plain byte", "a-z.0_9~", 0, from("a-z.0_9~"))
	taken("escaped bytes", "ü%n+ï", 0, from("%C3%BC%25n%2B%C3%AF"))
	taken("5 minutes late", "alice", 5*time.Minute, nil)
	taken("5 minutes early", "alice", -5*time.Minute, nil)
	taken("an empty body", "alice", 0, func(q *request) { q.body, q.digest = "", digestOf("") })
	one(Vouched{Name: "nobody vouches"}, nil, without(fromField, inputField, signatureField))
	one(Vouched{Name: "nobody vouches, without a digest"}, nil, without(fromField, digestField, inputField, signatureField))

	for _, field := range []string{fromField, digestField, inputField, signatureField} {
		lines := "T-5.102"
		if field == fromField {
			lines = "T-5.37"
		}
		one(Vouched{Name: "two lines of " + field, Clause: lines, Reason: "two lines of " + field}, nil, doubled(field, ""))
		bent("no "+field, "there is no "+field, without(field))
	}
	clause = "T-5.102"
	for _, field := range []string{digestField, inputField, signatureField} {
		bent("a member twice in "+field, "two members of "+field, doubled(field, ", "))
	}
	clause = "T-5.36"
	bent("a signature alone", "a signature without Tipt-From", without(fromField, digestField))
	bent("Tipt-From alone", "Tipt-From without a signature", without(digestField, inputField, signatureField))

	for _, spelling := range []string{
		"Alice@" + sender, "%41lice@" + sender, "%61lice@" + sender, "%c3%bc@" + sender, "ü@" + sender, "alice%4@" + sender, "al ice@" + sender,
		"al%2Fice@" + sender, "@" + sender, "alice", "alice@", "alice@Sender.example", "alice@" + sender + ".", "alice@localhost", "alice@192.0.2.1", "%FF@" + sender,
	} {
		misspelt(spelling)
	}

	one(Vouched{Name: "5 minutes and a second late", Clause: "T-5.105", Reason: "created is too far from the clock", Clock: clock.Add(5*time.Minute + time.Second).Unix()}, nil, nil)
	one(Vouched{Name: "5 minutes and a second early", Clause: "T-5.105", Reason: "created is too far from the clock", Clock: clock.Add(-5*time.Minute - time.Second).Unix()}, nil, nil)
	refused("another body", "the digest is not the body's", func(q *request) { q.body = "another" })
	clause = "T-5.103"
	refused("another node", "@authority is another node's name", func(q *request) { q.authority = "other.example" })
	refused("a port", "@authority has a port", func(q *request) { q.authority += ":443" })
	clause = "T-5.36"
	refused("another method", "@method is not the request's", func(q *request) { q.method = "PUT" })
	refused("another path", "@path is not the request's", func(q *request) { q.path = "/api/forward/" })
	bent("another sender", "Tipt-From is not what was signed", replaced(fromField, "alice", "mallory"))
	bent("a signature changed", "the signature does not hold", func(header [][2]string) [][2]string {
		line := []byte(header[3][1])
		if at := len("tipt=:"); line[at] == 'A' {
			line[at] = 'B'
		} else {
			line[at] = 'A'
		}
		header[3][1] = string(line)
		return header
	})
	bent("a signature of another key", "the signature does not hold", func(header [][2]string) [][2]string {
		q := good()
		q.subkey = 3
		return q.header(t, r)
	})

	clause = "T-5.102"
	refused("another label", "the label is not tipt", func(q *request) { q.label = "sig1" })
	refused("a component less", "other components", func(q *request) { q.components = strings.TrimSuffix(q.components, ` "tipt-from"`) })
	refused("a component more", "other components", func(q *request) { q.components += ` "date"` })
	refused("components in another order", "other components", func(q *request) {
		q.components = `"@authority" "@method" "@path" "content-digest" "tipt-from"`
	})
	refused("a component with a parameter", "other components", func(q *request) { q.components = strings.Replace(q.components, `"@method"`, `"@method";req`, 1) })
	refused("no components", "other components", func(q *request) { q.components = "" })
	refused("no created", "other parameters", param(fmt.Sprintf(";created=%d", clock.Unix()), ""))
	refused("no keyid", "other parameters", param(fmt.Sprintf(`;keyid="%s"`, r.keyID(1)), ""))
	refused("no alg", "other parameters", param(`;alg="ed25519"`, ""))
	refused("a parameter more", "other parameters", param(";alg", `;nonce="x";alg`))
	refused("expires", "other parameters", func(q *request) { q.params += fmt.Sprintf(";expires=%d", clock.Unix()+60) })
	refused("parameters in another order", "other parameters", func(q *request) {
		q.params = fmt.Sprintf(`;keyid="%s";created=%d;alg="ed25519"`, r.keyID(1), clock.Unix())
	})
	refused("created in quotes", "created is no integer", param(fmt.Sprintf("=%d", clock.Unix()), fmt.Sprintf(`="%d"`, clock.Unix())))
	refused("created a decimal", "created is no integer", param(fmt.Sprintf("=%d", clock.Unix()), fmt.Sprintf("=%d.0", clock.Unix())))
	refused("another alg", "alg is not ed25519", param("ed25519", "hmac-sha256"))
	refused("keyid in upper case", "keyid is no fingerprint in lower case", func(q *request) { q.params = strings.Replace(q.params, r.keyID(1), strings.ToUpper(r.keyID(1)), 1) })
	refused("keyid of 16 digits", "keyid is no fingerprint", param(r.keyID(1), r.keyID(1)[24:]))
	bent("white space", "Signature-Input has another spelling than RFC 9651's", replaced(inputField, ";created", "; created"))
	bent("two digests", "another digest besides", replaced(digestField, "sha-256", "md5=:AA==:, sha-256"))
	bent("a short signature", "the signature has not 64 bytes", func(header [][2]string) [][2]string { header[3][1] = "tipt=:AAAA:"; return header })
	bent("a signature with a parameter", "the signature has a parameter", func(header [][2]string) [][2]string { header[3][1] += ";x"; return header })

	clause = "T-5.36"
	bent("a digest by SHA-512", "another digest than sha-256", replaced(digestField, "sha-256", "sha-512"))
	bent("a short digest", "the digest has not 32 bytes", func(header [][2]string) [][2]string { header[1][1] = "sha-256=:AAAA:"; return header })
	bent("a digest as text", "the digest is no byte sequence", replaced(digestField, ":", `"`))

	clause = "T-5.106"
	refused("the primary key", "the primary key does not sign", param(r.keyID(1), hex.EncodeToString(r.sender.PrimaryKey.Fingerprint)))
	refused("the encryption subkey", "the subkey does not sign", param(r.keyID(1), r.keyID(0)))
	refused("an expired subkey", "the subkey has expired", byKey(2))
	refused("a revoked subkey", "the subkey is revoked", byKey(3))
	refused("a subkey without cross-certification", "the subkey has not certified the primary key", byKey(4))
	refused("a subkey that also encrypts", "the subkey does more than sign", byKey(5))
	clause = "T-5.109"
	refused("an unknown subkey", "the certificate lacks the subkey", param(r.keyID(1), strings.Repeat("0123456789", 4)))
	return vectors
}

// verdict is what a receiver finds out about a request: whom it is from, nobody, or why it is refused.
func verdict(v Vouched, cert *seal.Certificate) (from string, err error) {
	header := make(http.Header)
	for _, line := range v.Header {
		header.Add(line[0], line[1])
	}
	if !peer.Vouched(header) {
		return "", nil
	}
	vouch, err := peer.ParseVouch(header)
	if err != nil {
		return "", err
	}
	now := time.Unix(v.Clock, 0)
	if vouch.From.Node != sender {
		return "", errors.New("it is another node that vouches")
	}
	key, err := cert.SigningKey(vouch.KeyID, now)
	if err != nil {
		return "", err
	}
	if err := errors.Join(vouch.Current(now), vouch.Verify(receiver, key), vouch.Covers(v.Body)); err != nil {
		return "", err
	}
	return vouch.From.String(), nil
}

func TestVouchVectors(t *testing.T) {
	r := newRing(t)
	vectors := vouchVectors(t, r)
	check(t, "vouch.json", vectors)
	cert, err := seal.ParseCertificate(r.keys[3].Certificate)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		from, err := verdict(v, cert)
		if from != v.From || (err != nil) != (v.Reason != "") {
			t.Errorf("%s: from %q, %v; want %q, %s", v.Name, from, err, v.From, v.Reason)
		}
		if v.Reason != "" {
			checkClause(t, v.Clause, v.Reason)
		}
	}
}
