package conform

import (
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
		{name: "vouching", clauses: []string{"T-5.35", "T-5.47", "T-5.100", "T-5.101"}, run: checkVouching, peer: true},
		{
			name: "vouched", run: checkBorneOut, peer: true,
			clauses: []string{
				"T-5.36", "T-5.37", "T-5.38", "T-5.40", "T-5.46", "T-5.102", "T-5.103", "T-5.105", "T-5.107", "T-5.109", "T-5.110",
			},
		},
		{name: "vouched-by-subkeys", clauses: []string{"T-5.106"}, run: checkSubkeys, peer: true},
		{name: "vouched-by-nobody", clauses: []string{"T-5.109", "T-5.180"}, run: checkLacking, peer: true},
		{name: "vouched-without-key", clauses: []string{"T-5.109"}, run: checkNoKey, peer: true},
		{name: "vouched-after-rotation", clauses: []string{"T-5.38", "T-5.108", "T-5.109"}, run: checkFetchedAnew, peer: true, slow: true},
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
			t.checkVoucher(c, one, s.face.name)
		}
	}
}

// checkVoucher looks at what vouches for a message of the user of c to a node.
func (t *T) checkVoucher(c *conn, one *post, to string) {
	header := func(name string) string {
		values := one.header.Values(name)
		t.check(c, len(values) == 1, "one line of "+name, fmt.Sprintf("%d lines", len(values)))
		return one.header.Get(name)
	}
	name := new(strings.Builder)
	for _, b := range []byte(c.user.name) {
		if b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || strings.IndexByte("-._~", b) >= 0 {
			name.WriteByte(b)
		} else {
			fmt.Fprintf(name, "%%%02X", b)
		}
	}
	t.on("T-5.35")
	from, digest := header("Tipt-From"), header("Content-Digest")
	t.check(c, from == name.String()+"@"+t.s.node, "Tipt-From: "+name.String()+"@"+t.s.node, from)
	t.check(c, digest == digestOf(one.body), "Content-Digest: "+digestOf(one.body), digest)
	t.on("T-5.100")
	line := header("Signature-Input")
	signature, labelled := strings.CutPrefix(header("Signature"), "tipt=:")
	t.check(c, labelled && strings.HasSuffix(signature, ":"), "a Signature with the label tipt", one.header.Get("Signature"))
	input := signatureInput.FindStringSubmatch(line)
	if input == nil {
		t.wrong(c, "Signature-Input with the label, the components and the parameters of section 5.4", line)
		return
	}
	t.on("T-5.101")
	t.check(c, one.host == to, "Host "+to, one.host)
	created, err := strconv.ParseInt(input[2], 10, 64)
	t.check(c, err == nil && one.at.Sub(time.Unix(created, 0)).Abs() <= 5*time.Minute, "a `created` of now", input[2])
	key := t.s.key.signingKey(input[3])
	if key == nil {
		t.wrong(c, "the `keyid` of a valid subkey of the node's certificate that signs and does nothing else", input[3])
		return
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(signature, ":"))
	base := signatureBase(input[1], to, digest, from)
	t.check(c, err == nil && ed25519.Verify(key, []byte(base), b), "a signature that holds, with "+to+" as @authority", one.header.Get("Signature"))
}

func flipped(b []byte) []byte {
	b[len(b)-1] ^= 1
	return b
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
	first := t.vouch(s.face, "someone", body)
	response, answer := t.post(body, first.headers()...)
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
	t.on("T-5.110")
	t.wantStatus("the same request again", 200, body, first.headers())
	c.nothingBefore("nothing stored of a request that came again")
	t.on("T-5.37")
	odd := sealed()
	response, _ = t.post(odd, t.vouch(s.face, "%C3%BC.-_~0", odd).headers()...)
	t.check(nil, response.StatusCode == 200, "status 200 for Tipt-From %C3%BC.-_~0", response.Status)
	p = c.deliverAnswered()
	t.check(c, p.body.get("from").str() == "ü.-_~0@"+s.face.name, "from ü.-_~0@"+s.face.name, p.body.get("from").str())
	t.on("T-5.105")
	for _, off := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		body = sealed()
		v := t.vouch(s.face, "someone", body)
		v.created = v.created.Add(off)
		t.wantStatus(fmt.Sprintf("a created that is %v off", off), 200, body, v.headers())
		c.wantTexts(fmt.Sprintf("signed with a created that is %v off", off), fmt.Sprint(n))
	}
	t.on("T-5.38")
	fetched := s.fetches()
	t.check(nil, fetched == 1, "one fetch of the certificate for all messages", fmt.Sprint(fetched))

	body = sealed()
	good := t.vouch(s.face, "someone", body)
	t.refuse(s, body, good)
	t.on("T-5.37")
	for _, from := range []string{"Someone", "%73omeone", "%c3%bc", "ü", "a%40b", "%FF", "", "a b", "so+me"} {
		bad := good
		bad.from = from + "@" + s.face.name
		t.wantStatus(fmt.Sprintf("a signed Tipt-From %q", bad.from), 401, body, bad.headers())
	}
	t.on("T-5.36")
	c.quiet("nothing stored of what was refused")
	t.on("T-5.38")
	t.check(nil, s.fetches() == fetched, "the certificate not fetched anew, since it has the `keyid`", fmt.Sprintf("%d times more", s.fetches()-fetched))

	foreign := c.sealed("foreign", recipe{to: t.newEntity().Subkeys[0].PublicKey})
	for _, tt := range []struct {
		what string
		body []byte
		want int
	}{
		{"what is nothing sealed", []byte("nothing sealed"), 400},
		{"no bytes", nil, 400},
		{"two messages", slices.Concat(sealed(), sealed()), 400},
		{"a message whose last byte is flipped", flipped(sealed()), 400},
		{"a message in SEIPD 2 whose last byte is flipped", flipped(c.sealed("flipped", recipe{aead: true})), 400},
		{"9 session keys", c.sealed("nine", recipe{keys: 9}), 400},
		{"a compressed packet", c.sealed("compressed", recipe{inside: t.zipped}), 400},
		{"a message to another key", foreign, 200},
	} {
		t.on("T-5.46")
		v := t.vouch(s.face, "someone", tt.body)
		response, answer := t.post(tt.body, v.headers()...)
		t.check(nil, response.StatusCode == tt.want, fmt.Sprintf("status %d for %s", tt.want, tt.what), response.Status)
		if v, err := unpack(answer); tt.want == 200 && (err != nil || answerCode(v) != errCannotOpen) {
			t.wrong(nil, "CANNOT_OPEN for "+tt.what, fmt.Sprintf("% x", answer))
		}
		t.on("T-5.107")
		v.flipped = true
		t.wantStatus(tt.what+" and a signature that does not hold", 401, tt.body, v.headers())
		t.wantStatus(tt.what+" and a Tipt-From without a signature", 401, tt.body, v.headers()[:2])
	}
	t.on("T-5.46")
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

	for i := range 3 {
		s.rotate()
		body = sealed()
		response, _ = t.post(body, t.vouch(s.face, "someone", body).headers()...)
		if t.on("T-5.109"); response.StatusCode == 200 && i == 0 { // fetched anew
			c.deliverAnswered()
			continue
		}
		t.wantLater(response, "a keyid that the certificate of a moment ago lacks")
	}
	t.on("T-5.38")
	if more := s.fetches() - fetched; more > 1 {
		t.wrong(nil, "the certificate fetched anew at most once a minute", fmt.Sprintf("%d times more", more))
	}
}
