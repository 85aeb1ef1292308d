package conform

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"golang.org/x/text/secure/precis"
)

type vouchVector struct {
	Name, Key    string
	Clock        int64
	Header       [][2]string
	Body         vectorHex
	From, Clause string
}

func TestVectorsOfVouches(t *testing.T) {
	keys := vectorKeys(t)
	for _, v := range readVectors[[]vouchVector](t, "vouch.json") {
		from, clause := vouchedFor(v, keys[v.Key])
		if from != v.From || clause != v.Clause {
			t.Errorf("%s: from %q, breaks %q; want %q, %q", v.Name, from, clause, v.From, v.Clause)
		}
	}
}

var (
	onlyFrom      = regexp.MustCompile(`^((?:[a-z0-9._~-]|%[0-9A-F]{2})+)@((?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*)$`)
	onlySignature = regexp.MustCompile(`^tipt=:([A-Za-z0-9+/]{86}==):$`)
)

// vouchedFor returns for whom node.example takes a request to be vouched (section 5.4), or the
// clause that it breaks; neither for an anonymous one.
func vouchedFor(v vouchVector, key *openpgp.Entity) (from, clause string) {
	header := make(http.Header)
	for _, line := range v.Header {
		header.Add(line[0], line[1])
	}
	lines := func(name string) int { return len(header.Values(name)) }
	if lines("Tipt-From")+lines("Signature-Input")+lines("Signature") == 0 {
		return "", ""
	}
	switch {
	case lines("Tipt-From") > 1:
		return "", "T-5.37"
	case lines("Tipt-From") == 0, lines("Content-Digest") == 0, lines("Signature-Input") == 0, lines("Signature") == 0:
		return "", "T-5.36"
	case lines("Content-Digest") > 1, lines("Signature-Input") > 1, lines("Signature") > 1:
		return "", "T-5.102"
	}
	escaped := onlyFrom.FindStringSubmatch(header.Get("Tipt-From"))
	if escaped == nil {
		return "", "T-5.37"
	}
	name, err := url.PathUnescape(escaped[1])
	mapped, refused := precis.UsernameCaseMapped.String(name)
	if err != nil || refused != nil || mapped != name || strings.ContainsAny(name, "@/: ") || onlyEscape(name) != escaped[1] {
		return "", "T-5.37"
	}
	input := signatureInput.FindStringSubmatch(header.Get("Signature-Input"))
	signature := onlySignature.FindStringSubmatch(header.Get("Signature"))
	if input == nil || len(input[3]) != 40 || signature == nil || strings.Contains(header.Get("Content-Digest"), ", ") {
		return "", "T-5.102"
	}
	if header.Get("Content-Digest") != digestOf(v.Body) {
		return "", "T-5.36"
	}
	created, err := strconv.ParseInt(input[2], 10, 64)
	now := time.Unix(v.Clock, 0)
	if err != nil || now.Sub(time.Unix(created, 0)).Abs() > 5*time.Minute {
		return "", "T-5.105"
	}
	public := signsAlone(key, input[3], now)
	switch {
	case public == nil && hasKey(key, input[3]):
		return "", "T-5.106"
	case public == nil:
		return "", "T-5.109"
	}
	b, err := base64.StdEncoding.DecodeString(signature[1])
	signedFor := func(authority string) bool {
		base := signatureBase(input[1], authority, header.Get("Content-Digest"), header.Get("Tipt-From"))
		return err == nil && ed25519.Verify(public, []byte(base), b)
	}
	switch {
	case signedFor("other.example"), signedFor("node.example:443"):
		return "", "T-5.103"
	case !signedFor("node.example"), escaped[2] != "sender.example":
		return "", "T-5.36"
	}
	return name + "@" + escaped[2], ""
}

// onlyEscape is the one spelling of a name.
func onlyEscape(name string) string {
	var s strings.Builder
	for _, c := range []byte(name) {
		if strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789-._~", c) >= 0 {
			s.WriteByte(c)
		} else {
			fmt.Fprintf(&s, "%%%02X", c)
		}
	}
	return s.String()
}

// hasKey reports whether a certificate has a key of that fingerprint.
func hasKey(key *openpgp.Entity, keyID string) bool {
	return hex.EncodeToString(key.PrimaryKey.Fingerprint) == keyID || slices.ContainsFunc(key.Subkeys, func(sub openpgp.Subkey) bool {
		return hex.EncodeToString(sub.PublicKey.Fingerprint) == keyID
	})
}

// signsAlone returns the key of a subkey that is valid, cross-certified, and signs and does nothing else.
func signsAlone(key *openpgp.Entity, keyID string, now time.Time) ed25519.PublicKey {
	for i := range key.Subkeys {
		sub := &key.Subkeys[i]
		if hex.EncodeToString(sub.PublicKey.Fingerprint) != keyID || len(sub.Revocations) > 0 || len(sub.Bindings) != 1 {
			continue
		}
		binding := sub.Bindings[0].Packet
		life := binding.KeyLifetimeSecs
		switch {
		case key.PrimaryKey.VerifyKeySignature(sub.PublicKey, binding) != nil, binding.EmbeddedSignature == nil:
		case !binding.FlagSign, binding.FlagCertify, binding.FlagEncryptCommunications, binding.FlagEncryptStorage, binding.FlagAuthenticate:
		case life != nil && *life > 0 && !now.Before(sub.PublicKey.CreationTime.Add(time.Duration(*life)*time.Second)):
		default:
			if public, ok := sub.PublicKey.PublicKey.(*eddsa.PublicKey); ok {
				return public.X
			}
		}
	}
	return nil
}
