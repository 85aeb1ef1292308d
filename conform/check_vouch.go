package conform

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func vouchScenarios() []scenario {
	return []scenario{
		{name: "vouching", clauses: []string{"T-5.35", "T-5.47"}, run: checkVouching, peer: true},
		{name: "vouched", clauses: []string{"T-5.36", "T-5.37", "T-5.38", "T-5.40", "T-5.46"}, run: checkBorneOut, peer: true},
	}
}

// signatureInput is the only form of it that section 5.4 allows.
var signatureInput = regexp.MustCompile(`^tipt=(` + regexp.QuoteMeta(components) + `;created=(\d+);keyid="([0-9a-f]{40,64})";alg="ed25519")$`)

// checkVouching looks at how the tested node vouches for its users.
func checkVouching(t *T) {
	plain := t.member()
	s := t.part(plain, faceOrder)
	odd := t.greeted()
	u := &user{name: t.name() + "._~-ü", pass: "correct horse"}
	if odd.exchange(reqRegister, t.registration(u.name, u.pass)).code == ok {
		t.users = append(t.users, u)
		odd.signIn(u)
	} else {
		odd = plain // REGISTER has clauses of its own
	}
	t.on("T-5.35")
	for _, c := range []*conn{plain, odd} {
		for _, wait := range []bool{true, false} {
			what := fmt.Sprintf("%s, wait %t", c.user.name, wait)
			id := c.ask(reqForward, s.forward(wait, what))
			t.on("T-5.47")
			one := s.want(what)
			one.answer <- delivered
			c.wantOK(c.response(id))
			t.check(c, one.path == "POST /api/forward", "a POST to /api/forward", one.path)
			t.check(c, one.header.Get("Content-Type") == typeSealed, "Content-Type "+typeSealed, one.header.Get("Content-Type"))
			t.on("T-5.35")
			for _, f := range t.voucherFaults(one, c.user, s.face.name) {
				t.wrong(c, "a request as section 5.4 has it", f)
			}
		}
	}
}

// voucherFaults says what is wrong with what vouches for a message of a user to a node.
func (t *T) voucherFaults(one *post, from *user, to string) []string {
	var found []string
	header := func(name string) string {
		values := one.header.Values(name)
		if len(values) != 1 {
			found = append(found, fmt.Sprintf("%d lines of %s", len(values), name))
			return ""
		}
		return values[0]
	}
	name := new(strings.Builder)
	for _, b := range []byte(from.name) {
		if b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || strings.IndexByte("-._~", b) >= 0 {
			name.WriteByte(b)
		} else {
			fmt.Fprintf(name, "%%%02X", b)
		}
	}
	if got, want := header("Tipt-From"), name.String()+"@"+t.s.node; got != want {
		found = append(found, fmt.Sprintf("Tipt-From %q, not %q", got, want))
	}
	if one.host != to {
		found = append(found, "Host "+one.host)
	}
	digest := header("Content-Digest")
	if digest != digestOf(one.body) {
		found = append(found, "Content-Digest "+digest)
	}
	input := signatureInput.FindStringSubmatch(header("Signature-Input"))
	if input == nil {
		return append(found, "Signature-Input "+one.header.Get("Signature-Input"))
	}
	if created, err := strconv.ParseInt(input[2], 10, 64); err != nil || time.Since(time.Unix(created, 0)).Abs() > 5*time.Minute {
		found = append(found, "created "+input[2])
	}
	key := t.s.key.signingKey(input[3])
	if key == nil {
		return append(found, "keyid "+input[3]+", which no subkey of the node's certificate has")
	}
	signature, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(strings.TrimPrefix(header("Signature"), "tipt=:"), ":"))
	base := signatureBase(input[1], to, digest, one.header.Get("Tipt-From"))
	if err != nil || !ed25519.Verify(key, []byte(base), signature) {
		found = append(found, "a signature that does not hold")
	}
	return found
}

// checkBorneOut forwards messages to the tested node, which it has to take or refuse by its own reading
// of the second node's certificate.
func checkBorneOut(t *T) {
	c := t.member()
	u := c.user
	s := t.part(c, faceVouch)
	n := 0
	sealed := func() []byte {
		n++
		return t.seal(message(u.name, randomBytes(16), fmt.Append(nil, n)), recipe{})
	}
	body := sealed()
	response, answer := t.post(body, t.vouch(s.face, "someone", body).headers()...)
	if response.StatusCode == 503 && s.fetches() == 0 {
		t.skip(fetchedBefore)
	}
	t.on("T-5.38")
	if response.StatusCode != 200 {
		t.fatal(nil, "status 200 for a message that the second node vouches for", response.Status)
	}
	t.on("T-5.46")
	v, err := unpack(answer)
	t.check(nil, err == nil && answerCode(v) == ok, "an answer without an error", fmt.Sprintf("% x", answer))
	t.check(nil, response.Header.Get("Content-Type") == typeAnswer, typeAnswer, response.Header.Get("Content-Type"))
	t.on("T-5.38")
	p := c.deliverAnswered()
	if text(p) != "1" || p.body.get("from").str() != "someone@"+s.face.name {
		t.wrong(c, "the message, from someone@"+s.face.name, fmt.Sprintf("%q from %q", text(p), p.body.get("from").str()))
	}
	odd := sealed()
	response, _ = t.post(odd, t.vouch(s.face, "%C3%BC.-_~0", odd).headers()...)
	t.check(nil, response.StatusCode == 200, "status 200 for Tipt-From %C3%BC.-_~0", response.Status)
	p = c.deliverAnswered()
	t.check(c, p.body.get("from").str() == "ü.-_~0@"+s.face.name, "from ü.-_~0@"+s.face.name, p.body.get("from").str())
	fetched := s.fetches()
	t.check(nil, fetched == 1, "one fetch of the certificate for two messages", fmt.Sprint(fetched))

	t.on("T-5.36")
	body = sealed()
	good := t.vouch(s.face, "someone", body)
	t.refuse(s, body, good)
	t.on("T-5.37")
	for _, from := range []string{"Someone", "%73omeone", "%c3%bc", "ü", "a%40b", "%FF", "", "a b", "so+me"} {
		bad := good
		bad.from = from + "@" + s.face.name
		t.wantStatus(fmt.Sprintf("a signed Tipt-From %q", bad.from), 401, body, bad.headers())
	}
	c.quiet("nothing stored of what was refused")

	t.on("T-5.46")
	for _, tt := range []struct {
		what string
		body []byte
		want int
	}{
		{"what is nothing sealed", []byte("nothing sealed"), 400},
		{"no bytes", nil, 400},
		{"two messages", slices.Concat(sealed(), sealed()), 400},
		{"a message to another key", c.sealed("foreign", recipe{to: t.newEntity().Subkeys[0].PublicKey}), 200},
	} {
		response, answer := t.post(tt.body, t.vouch(s.face, "someone", tt.body).headers()...)
		t.check(nil, response.StatusCode == tt.want, fmt.Sprintf("status %d for %s", tt.want, tt.what), response.Status)
		if v, err := unpack(answer); tt.want == 200 && (err != nil || answerCode(v) != errCannotOpen) {
			t.wrong(nil, "CANNOT_OPEN for "+tt.what, fmt.Sprintf("% x", answer))
		}
	}
	seal := randomBytes(32)
	body = t.seal(userKey(u.name, seal), recipe{})
	response, answer = t.post(body, t.vouch(s.face, "someone", body).headers()...)
	_, err = openAnswer(seal, answer)
	t.check(nil, response.StatusCode == 200 && response.Header.Get("Content-Type") == typeSealed && err == nil,
		"200, "+typeSealed+" and a sealed answer for GET_USER_KEY", fmt.Sprintf("%s, %s, %v", response.Status, response.Header.Get("Content-Type"), err))
	t.on("T-5.40")
	body = make([]byte, 2_000_001)
	t.wantStatus("2,000,001 bytes", 413, body, t.vouch(s.face, "someone", body).headers())
	c.quiet("nothing stored of what was refused")

	t.on("T-5.38")
	for i := range 3 {
		s.rotate()
		body = sealed()
		response, _ = t.post(body, t.vouch(s.face, "someone", body).headers()...)
		switch {
		case response.StatusCode == 200 && i == 0: // fetched anew
			c.deliverAnswered()
		case response.StatusCode != 503 || response.Header.Get("Retry-After") == "":
			t.wrong(nil, "503 with Retry-After for a keyid that the certificate of a moment ago lacks", response.Status)
		}
	}
	if more := s.fetches() - fetched; more > 1 {
		t.wrong(nil, "the certificate fetched anew at most once a minute", fmt.Sprintf("%d times more", more))
	}
}

// rotate gives the face another signing subkey.
func (s *part) rotate() {
	var err error
	s.set(func(f *face) {
		if err = f.signer.rotate(); err == nil {
			f.key, err = f.signer.certificate()
		}
	})
	if err != nil {
		s.t.fatal(nil, "another subkey", err.Error())
	}
}

func (t *T) wantStatus(what string, want int, body []byte, headers []string) {
	response, _ := t.post(body, headers...)
	t.check(nil, response.StatusCode == want, fmt.Sprintf("status %d for a POST with %s", want, what), response.Status)
}

// refuse spoils a good voucher for body in every way, each of which is a 401.
func (t *T) refuse(s *part, body []byte, good voucher) {
	change := func(what string, f func(*voucher)) {
		bad := good
		f(&bad)
		t.wantStatus(what, 401, body, bad.headers())
	}
	change("a signature that does not hold", func(v *voucher) { v.flipped = true })
	change("a digest of other bytes", func(v *voucher) { v.digest = digestOf([]byte("other bytes")) })
	change("a digest by another algorithm", func(v *voucher) { v.digest = "sha-512=:" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + ":" })
	change("two digests", func(v *voucher) { v.digest += ", " + strings.Replace(v.digest, "sha-256", "sha-512", 1) })
	change("another node as @authority", func(v *voucher) { v.authority = s.face.name })
	change("a port in @authority", func(v *voucher) { v.authority += ":443" })
	change("a created of 6 minutes ago", func(v *voucher) { v.created = v.created.Add(-6 * time.Minute) })
	change("a created of in 6 minutes", func(v *voucher) { v.created = v.created.Add(6 * time.Minute) })
	change("another label", func(v *voucher) { v.label = "sig1" })
	change("another algorithm", func(v *voucher) { v.algorithm = "hmac-sha256" })
	change("a further parameter", func(v *voucher) { v.more = `;nonce="1"` })
	change("an expiry", func(v *voucher) { v.more = fmt.Sprintf(";expires=%d", v.created.Unix()+100) })
	change("components in another order", func(v *voucher) { v.components = `("@authority" "@method" "@path" "content-digest" "tipt-from")` })
	change("a component less", func(v *voucher) { v.components = `("@method" "@authority" "@path" "tipt-from")` })
	change("a component more", func(v *voucher) {
		v.components = `("@method" "@authority" "@path" "content-digest" "tipt-from" "content-type")`
	})
	change("an upper-case keyid", func(v *voucher) { v.keyID = strings.ToUpper(v.keyID) })
	change("the primary key as keyid", func(v *voucher) {
		v.keyID = fmt.Sprintf("%x", s.face.signer.entity.PrimaryKey.Fingerprint)
	})
	change("the encryption subkey as keyid", func(v *voucher) {
		v.keyID = fmt.Sprintf("%x", s.face.signer.entity.Subkeys[0].PublicKey.Fingerprint)
	})
	headers := good.headers()
	for i := 0; i < len(headers); i += 2 {
		t.wantStatus("two lines of "+headers[i], 401, body, slices.Concat(headers, headers[i:i+2]))
		t.wantStatus("no "+headers[i], 401, body, slices.Concat(headers[:i], headers[i+2:]))
	}
	two := slices.Clone(headers)
	two[5] += strings.Replace(", "+two[5], "tipt=", "other=", 1)
	two[7] += strings.Replace(", "+two[7], "tipt=", "other=", 1)
	t.wantStatus("two labels", 401, body, two)
	other := bytes.Clone(body)
	other[len(other)-1] ^= 1
	t.wantStatus("other bytes than were signed", 401, other, headers)
	swapped := slices.Clone(headers)
	swapped[1] = "another@" + s.face.name
	t.wantStatus("another Tipt-From than was signed", 401, body, swapped)
}
