package peer

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

var testNow = time.Unix(1_800_000_000, 0)

func vouched(t *testing.T, user tipt.UserName, body string) (*seal.NodeKey, http.Header) {
	t.Helper()
	key, err := seal.NewNodeKey("a.example", testNow.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	header := make(http.Header)
	AddVouch(header, key, "b.example", tipt.Address{User: user, Node: "a.example"}, []byte(body), testNow)
	return key, header
}

// verify does what a receiver called own does.
func verify(t *testing.T, key *seal.NodeKey, header http.Header, own tipt.NodeName, body string, now time.Time) error {
	t.Helper()
	v, err := ParseVouch(header)
	if err != nil {
		return err
	}
	if err := errors.Join(v.Current(now), v.Covers([]byte(body))); err != nil {
		return err
	}
	cert, err := seal.ParseCertificate(key.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	public, err := cert.SigningKey(v.KeyID, testNow)
	if err != nil {
		return err
	}
	return v.Verify(own, public)
}

func TestVouch(t *testing.T) {
	for _, user := range []tipt.UserName{"alice", "a.b-c_d~e", "ü%nï"} {
		key, header := vouched(t, user, "body")
		if err := verify(t, key, header, "b.example", "body", testNow); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		v, err := ParseVouch(header)
		if err != nil || v.From.User != user || v.From.Node != "a.example" {
			t.Errorf("%s: from %v, %v", user, v.From, err)
		}
	}
	_, header := vouched(t, "ü%nï", "body")
	if got, want := header.Get("Tipt-From"), "%C3%BC%25n%C3%AF@a.example"; got != want {
		t.Errorf("Tipt-From: %s, want %s", got, want)
	}
}

func TestVouchIsRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(http.Header)
		own    tipt.NodeName
		body   string
		now    time.Time
		want   string
	}{
		{name: "another body", body: "Body", want: "not the body's"},
		{name: "another node", own: "c.example", want: "does not verify"},
		{name: "too late", now: testNow.Add(maxSkew + time.Second), want: "clock"},
		{name: "too early", now: testNow.Add(-maxSkew - time.Second), want: "clock"},
		{name: "another sender", change: set("Tipt-From", "mallory@a.example"), want: "does not verify"},
		{name: "needless escape", change: set("Tipt-From", "%61lice@a.example"), want: "spelt otherwise"},
		{name: "lower-case escape", change: set("Tipt-From", "%c3%bc@a.example"), want: "spelt otherwise"},
		{name: "unmapped name", change: set("Tipt-From", "%41lice@a.example"), want: "spelt otherwise"},
		{name: "half an escape", change: set("Tipt-From", "alice%4@a.example"), want: "Tipt-From"},
		{name: "no sender's name", change: set("Tipt-From", "@a.example"), want: "Tipt-From"},
		{name: "no node's name", change: set("Tipt-From", "alice@localhost"), want: "Tipt-From"},
		{name: "unknown digest", change: replace("Content-Digest", "sha-256", "sha-512"), want: "sha-256 alone"},
		{name: "two digests", change: replace("Content-Digest", "sha-256", "md5=:AA==:, sha-256"), want: "sha-256 alone"},
		{name: "short digest", change: set("Content-Digest", "sha-256=:AAAA:"), want: "3 bytes, want 32"},
		{name: "digest as text", change: set("Content-Digest", `sha-256="AAAA"`), want: "no byte sequence"},
		{name: "short signature", change: set("Signature", "tipt=:AAAA:"), want: "3 bytes, want 64"},
		{name: "signature with a parameter", change: set("Signature", "tipt=:AAAA:;x"), want: "no plain byte sequence"},
		{name: "no components", change: set("Signature-Input", `tipt=x;created=1`), want: "no list of components"},
		{name: "component with a parameter", change: replace("Signature-Input", `"@method"`, `"@method";req`), want: "component 1"},
		{name: "no dictionary", change: set("Signature-Input", `"tipt"`), want: "Signature-Input"},
		{name: "member doubled", change: func(h http.Header) {
			h.Set("Signature", h.Get("Signature")+", "+h.Get("Signature"))
		}, want: "doubled"},
		{name: "two labels", change: func(h http.Header) {
			h.Set("Signature-Input", h.Get("Signature-Input")+", x"+strings.TrimPrefix(h.Get("Signature-Input"), "tipt"))
		}, want: "Signature-Input"},
		{name: "another label", change: replace("Signature-Input", "tipt=", "sig1="), want: "Signature-Input"},
		{name: "a component less", change: replace("Signature-Input", ` "tipt-from"`, ""), want: "components"},
		{name: "a component more", change: replace("Signature-Input", `"tipt-from"`, `"tipt-from" "date"`), want: "components"},
		{name: "components turned", change: replace("Signature-Input", `"@method" "@authority"`, `"@authority" "@method"`), want: "component 1"},
		{name: "a parameter more", change: replace("Signature-Input", ";alg=", `;nonce="x";alg=`), want: "parameters"},
		{name: "no alg", change: replace("Signature-Input", `;alg="ed25519"`, ""), want: "parameters"},
		{name: "another alg", change: replace("Signature-Input", "ed25519", "hmac-sha256"), want: "alg is hmac-sha256"},
		{name: "another time", change: replace("Signature-Input", "created=18", "created=17"), want: "clock"},
		{name: "time in quotes", change: replace("Signature-Input", "created=1800000000", `created="1800000000"`), want: "created"},
		{name: "key in upper case", change: func(h http.Header) {
			before, after, _ := strings.Cut(h.Get("Signature-Input"), `keyid="`)
			h.Set("Signature-Input", before+`keyid="`+strings.ToUpper(after[:keyIDSize])+after[keyIDSize:])
		}, want: "keyid"},
		{name: "signature cut", change: replace("Signature", "==:", ":"), want: "Signature"},
		{name: "signature changed", change: func(h http.Header) {
			s := []byte(h.Get("Signature"))
			if s[10]++; s[10] == 'z'+1 || s[10] == 'Z'+1 || s[10] == '9'+1 || s[10] == '0' || s[10] == ',' {
				s[10] = 'A'
			}
			h.Set("Signature", string(s))
		}, want: "does not verify"},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, header := vouched(t, "alice", "body")
			own, body, now := test.own, test.body, test.now
			if own == "" {
				own = "b.example"
			}
			if body == "" {
				body = "body"
			}
			if now.IsZero() {
				now = testNow
			}
			if test.change != nil {
				test.change(header)
			}
			if err := verify(t, key, header, own, body, now); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error about %q", err, test.want)
			}
		})
	}
	for _, name := range []string{"Tipt-From", "Content-Digest", "Signature-Input", "Signature"} {
		_, header := vouched(t, "alice", "body")
		line := header.Get(name)
		header.Add(name, line)
		if _, err := ParseVouch(header); err == nil || !strings.Contains(err.Error(), name+": 2 lines") {
			t.Errorf("%s doubled: %v", name, err)
		}
		header.Del(name)
		if _, err := ParseVouch(header); err == nil || !strings.Contains(err.Error(), name+": 0 lines") {
			t.Errorf("%s missing: %v", name, err)
		}
	}
}

func set(name, value string) func(http.Header) {
	return func(h http.Header) { h.Set(name, value) }
}

func replace(name, old, with string) func(http.Header) {
	return func(h http.Header) { h.Set(name, strings.Replace(h.Get(name), old, with, 1)) }
}
