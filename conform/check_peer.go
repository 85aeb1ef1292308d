package conform

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
)

func peerScenarios() []scenario {
	return []scenario{
		{name: "post-vouched", clauses: []string{"T-5.36", "T-5.37"}, run: checkVouched},
		{name: "post-anonymous", clauses: []string{"T-5.39", "T-5.40", "T-5.41", "T-5.50"}, run: checkAnonymous},
	}
}

// post forwards a message as another node does, with what headers are given.
func (t *T) post(body []byte, headers ...string) (*http.Response, []byte) {
	h := http.Header{"Content-Type": {"application/octet-stream"}}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	response, answer, err := t.http(http.MethodPost, "/api/forward", h, body)
	if err != nil {
		t.fatal(nil, "an answer from /api/forward", err.Error())
	}
	return response, answer
}

func checkVouched(t *T) {
	u := t.newUser()
	sealed := t.seal(message(u.name, randomBytes(16), []byte("vouched by nobody")), recipe{})
	sum := sha256.Sum256(sealed)
	digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	input := func(created int64, keyid string) string {
		return fmt.Sprintf(`tipt=("@method" "@authority" "@path" "content-digest" "tipt-from");created=%d;keyid="%s";alg="ed25519"`, created, keyid)
	}
	now := time.Now().Unix()
	keyid := fmt.Sprintf("%040x", []byte("twenty bytes of a fi"))
	signature := "tipt=:" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + ":"
	from := "someone@unreachable.invalid"
	refused := func(what string, codes []int, headers ...string) {
		response, _ := t.post(sealed, headers...)
		for _, code := range codes {
			if response.StatusCode == code {
				if code == 503 && response.Header.Get("Retry-After") == "" {
					t.wrong(nil, "Retry-After with 503", "none")
				}
				return
			}
		}
		t.wrong(nil, fmt.Sprintf("status %v for a POST with %s", codes, what), response.Status)
	}
	no := []int{401}
	t.on("T-5.36")
	refused("Tipt-From alone", no, "Tipt-From", from)
	refused("Tipt-From and digest alone", no, "Tipt-From", from, "Content-Digest", digest)
	refused("a signature without Tipt-From", no, "Content-Digest", digest, "Signature-Input", input(now, keyid), "Signature", signature)
	all := func(digest, input, signature string) []string {
		return []string{"Tipt-From", from, "Content-Digest", digest, "Signature-Input", input, "Signature", signature}
	}
	refused("a digest of other bytes", []int{401, 503}, all("sha-256=:"+base64.StdEncoding.EncodeToString(make([]byte, 32))+":", input(now, keyid), signature)...)
	refused("a signature of 10 minutes ago", no, all(digest, input(now-600, keyid), signature)...)
	refused("a signature of in 10 minutes", no, all(digest, input(now+600, keyid), signature)...)
	refused("an unreadable Signature-Input", no, all(digest, "tipt=(", signature)...)
	refused("an unreadable Signature", no, all(digest, input(now, keyid), "tipt=x")...)
	refused("another label", no, all(digest, "other"+input(now, keyid)[4:], "other"+signature[4:])...)
	refused("a signature whose key nobody serves", []int{503, 401}, all(digest, input(now, keyid), signature)...)
	own := "someone@" + t.s.node
	refused("a forged signature of the node itself", []int{401, 503},
		"Tipt-From", own, "Content-Digest", digest, "Signature-Input", input(now, keyid), "Signature", signature)
	t.on("T-5.37")
	rest := []string{"Content-Digest", digest, "Signature-Input", input(now, keyid), "Signature", signature}
	for _, from := range []string{
		"", "someone", "@unreachable.invalid", "someone@", "some one@unreachable.invalid", "Someone@unreachable.invalid", "%73omeone@unreachable.invalid",
		"%c3%bc@unreachable.invalid", "ü@unreachable.invalid", "%FF@unreachable.invalid", "a%40b@unreachable.invalid", "a@b@unreachable.invalid",
		"someone@UNREACHABLE.invalid", "someone@unreachable.invalid.", "someone@unreachable.invalid:443", "someone@127.0.0.1", "someone@localhost",
	} {
		refused(fmt.Sprintf("Tipt-From %q", from), no, append([]string{"Tipt-From", from}, rest...)...)
	}
	refused("two lines of Tipt-From", no, append([]string{"Tipt-From", from, "Tipt-From", from}, rest...)...)
	t.clause = ""
	c := t.signIn(u)
	t.on("T-5.36")
	c.quiet("nothing stored of what was refused")
}

func checkAnonymous(t *T) {
	u := t.newUser()
	sealed := t.seal(message(u.name, randomBytes(16), []byte("anonymous")), recipe{})
	t.on("T-5.40")
	response, _ := t.post(make([]byte, 2_000_001))
	t.check(nil, response.StatusCode == 413 || response.StatusCode == 401, "413 for 2,000,001 bytes, or 401 before", response.Status)
	t.on("T-5.39")
	response, answer := t.post(sealed)
	if response.StatusCode == 401 {
		c := t.signIn(u)
		c.quiet("nothing stored of an anonymous request that was refused")
		t.skip("the node takes no anonymous requests, so how it answers them was not looked at")
	}
	t.check(nil, response.StatusCode == 200, "401, or 200 where the operator allows anonymous requests", response.Status)
	t.on("T-5.41")
	v, err := unpack(answer)
	t.check(nil, err == nil && answerCode(v) == ok, "an answer without an error", fmt.Sprintf("% x", answer))
	t.check(nil, response.Header.Get("Content-Type") == "application/msgpack", "application/msgpack", response.Header.Get("Content-Type"))
	response, _ = t.post([]byte("nothing sealed"))
	t.check(nil, response.StatusCode == 400, "400 for what is nothing sealed", response.Status)
	c := t.signIn(u)
	p := c.deliverAnswered()
	t.check(c, p.body.get("from") == nil, "no from for an anonymous sender", p.body.get("from").str())
	t.on("T-5.50")
	mid := randomBytes(16)
	for _, text := range []string{"first", "again"} {
		response, _ := t.post(t.seal(message(u.name, mid, []byte(text)), recipe{}))
		t.check(nil, response.StatusCode == 200, "200 for a message, also when it comes again", response.Status)
	}
	c.sendAs(u, mid, "vouched for")
	c.wantTexts("once of all anonymous senders, and once of another", "first", "vouched for")
	c.nothingBefore("nothing stored twice")
}
