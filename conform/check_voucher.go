package conform

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

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

// wantLater wants a 503 that says when to come again, and returns when.
func (t *T) wantLater(response *http.Response, what string) time.Duration {
	retry := response.Header.Get("Retry-After")
	t.check(nil, response.StatusCode == http.StatusServiceUnavailable && retry != "",
		"503 with Retry-After for "+what, fmt.Sprintf("%s, Retry-After %q", response.Status, retry))
	seconds, _ := strconv.Atoi(retry) // it may be a date
	return time.Duration(seconds) * time.Second
}

// refuse spoils a good voucher for body in every way, each of which is a 401.
func (t *T) refuse(s *part, body []byte, good voucher) {
	change := func(clause, what string, f func(*voucher)) {
		t.on(clause)
		bad := good
		f(&bad)
		t.wantStatus(what, 401, body, bad.headers())
	}
	change("T-5.36", "a signature that does not hold", func(v *voucher) { v.flipped = true })
	change("T-5.36", "a digest of other bytes", func(v *voucher) { v.digest = digestOf([]byte("other bytes")) })
	change("T-5.36", "a digest by another algorithm", func(v *voucher) { v.digest = "sha-512=:" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + ":" })
	change("T-5.102", "two digests", func(v *voucher) { v.digest += ", " + strings.Replace(v.digest, "sha-256", "sha-512", 1) })
	change("T-5.103", "another node as @authority", func(v *voucher) { v.authority = s.face.name })
	change("T-5.103", "a port in @authority", func(v *voucher) { v.authority += ":443" })
	change("T-5.105", "a created of 6 minutes ago", func(v *voucher) { v.created = v.created.Add(-6 * time.Minute) })
	change("T-5.105", "a created of in 6 minutes", func(v *voucher) { v.created = v.created.Add(6 * time.Minute) })
	change("T-5.105", "a created of a day ago", func(v *voucher) { v.created = v.created.Add(-24 * time.Hour) })
	change("T-5.105", "a created of in a year", func(v *voucher) { v.created = v.created.Add(365 * 24 * time.Hour) })
	change("T-5.102", "another label", func(v *voucher) { v.label = "sig1" })
	change("T-5.102", "another algorithm", func(v *voucher) { v.algorithm = "hmac-sha256" })
	change("T-5.102", "a nonce", func(v *voucher) { v.more = `;nonce="1"` })
	change("T-5.102", "an expiry", func(v *voucher) { v.more = fmt.Sprintf(";expires=%d", v.created.Unix()+100) })
	change("T-5.102", "components in another order", func(v *voucher) { v.components = `("@authority" "@method" "@path" "content-digest" "tipt-from")` })
	change("T-5.102", "a component less", func(v *voucher) { v.components = `("@method" "@authority" "@path" "tipt-from")` })
	change("T-5.102", "a component more", func(v *voucher) {
		v.components = `("@method" "@authority" "@path" "content-digest" "tipt-from" "content-type")`
	})
	change("T-5.102", "an upper-case keyid", func(v *voucher) { v.keyID = strings.ToUpper(v.keyID) })
	change("T-5.102", "parameters in another order", func(v *voucher) { v.swapped = true })
	headers := good.headers()
	for i := 0; i < len(headers); i += 2 {
		t.on("T-5.102")
		if headers[i] == "Tipt-From" {
			t.on("T-5.37")
		}
		t.wantStatus("two lines of "+headers[i], 401, body, slices.Concat(headers, headers[i:i+2]))
		t.on("T-5.36")
		t.wantStatus("no "+headers[i], 401, body, slices.Concat(headers[:i], headers[i+2:]))
	}
	t.wantStatus("Tipt-From alone", 401, body, headers[:2])
	t.wantStatus("a signature without Tipt-From and digest", 401, body, headers[4:])
	t.on("T-5.102")
	two := slices.Clone(headers)
	two[5] += strings.Replace(", "+two[5], "tipt=", "other=", 1)
	two[7] += strings.Replace(", "+two[7], "tipt=", "other=", 1)
	t.wantStatus("two labels", 401, body, two)
	for _, i := range []int{3, 5, 7} {
		twice := slices.Clone(headers)
		twice[i] += ", " + twice[i]
		t.wantStatus("a member twice in "+headers[i-1], 401, body, twice)
	}
	t.on("T-5.36")
	other := bytes.Clone(body)
	other[len(other)-1] ^= 1
	t.wantStatus("other bytes than were signed", 401, other, headers)
	swapped := slices.Clone(headers)
	swapped[1] = "another@" + s.face.name
	t.wantStatus("another Tipt-From than was signed", 401, body, swapped)
}

// checkSubkeys vouches by subkeys of all kinds, which a certificate has from the first.
func checkSubkeys(t *T) {
	c := t.member()
	usual, future := t.part(c, faceSubkeys), t.part(c, faceFuture)
	all, err := usual.face.signer.kinds()
	if err == nil {
		err = future.face.signer.ahead("from two hours from now", 2*time.Hour, &all)
	}
	if err != nil {
		t.fatal(nil, "OpenPGP subkeys", err.Error())
	}
	for _, s := range []*part{usual, future} {
		certificate, err := s.face.signer.certificate()
		if err != nil {
			t.fatal(nil, "an OpenPGP certificate", err.Error())
		}
		s.set(func(f *face) { f.key = certificate })
	}
	for i, kind := range all {
		s := usual
		if kind.future {
			s = future
		}
		body := c.sealed(fmt.Sprint(i), recipe{})
		v := t.vouch(s.face, "someone", body)
		v.keyID, v.private = kind.keyID, kind.private
		response, _ := t.post(body, v.headers()...)
		if response.StatusCode == 503 && s.fetches() == 0 {
			t.skip(fetchedBefore)
		}
		t.on("T-5.106")
		want := http.StatusUnauthorized
		if kind.good {
			want = http.StatusOK
		}
		t.check(nil, response.StatusCode == want, fmt.Sprintf("status %d for a signature by %s", want, kind.what), response.Status)
		if kind.good && response.StatusCode == want {
			c.wantTexts("signed by "+kind.what, fmt.Sprint(i))
		}
	}
	c.quiet("nothing stored of what was refused")
}

// checkNoKey vouches for messages while the second node's certificate cannot be had.
func checkNoKey(t *T) {
	c := t.member()
	s := t.part(c, faceNoKey)
	failing := status(http.StatusInternalServerError)
	s.set(func(f *face) { f.serves = &failing })
	body := c.sealed("without a key", recipe{})
	response, _ := t.post(body, t.vouch(s.face, "someone", body).headers()...)
	if s.fetches() == 0 {
		t.skip(fetchedBefore)
	}
	t.on("T-5.109")
	t.wantLater(response, "a message of a node whose certificate cannot be had")
	response, _ = t.post(body, t.vouch(s.face, "someone", body).headers()...)
	t.wantLater(response, "a message of a node whose certificate could not be had a moment ago")
	t.check(nil, s.fetches() == 1, "no further attempt to fetch the certificate within a minute", fmt.Sprint(s.fetches()))
	c.quiet("nothing stored of what nobody could bear out")
}

// checkLacking vouches by a key that no certificate has.
func checkLacking(t *T) {
	c := t.member()
	s := t.part(c, faceLacking)
	post := func(text string) *http.Response {
		body := c.sealed(text, recipe{})
		v := t.vouch(s.face, "someone", body)
		v.keyID = hex.EncodeToString(randomBytes(20))
		response, _ := t.post(body, v.headers()...)
		return response
	}
	response := post("at first")
	if s.fetches() == 0 {
		t.skip(fetchedBefore)
	}
	t.on("T-5.180")
	t.check(nil, response.StatusCode == 401, "status 401 for a keyid that the certificate fetched for the request lacks", response.Status)
	t.on("T-5.109")
	t.wantLater(post("again"), "a keyid that the certificate of a moment ago lacks")
	c.quiet("nothing stored of what was refused")
}

// checkFetchedAnew waits until a certificate that lacks a key may be fetched anew.
func checkFetchedAnew(t *T) {
	c := t.member()
	s := t.part(c, faceRotated)
	post := func(text string) *http.Response {
		body := c.sealed(text, recipe{})
		response, _ := t.post(body, t.vouch(s.face, "someone", body).headers()...)
		return response
	}
	response := post("before")
	if response.StatusCode == 503 && s.fetches() == 0 {
		t.skip(fetchedBefore)
	}
	t.on("T-5.38")
	if response.StatusCode != 200 {
		t.fatal(nil, "status 200 for a message that the second node vouches for", response.Status)
	}
	c.wantTexts("vouched for", "before")
	first := s.lastFetch()
	s.rotate()
	t.on("T-5.109")
	for response = post("after"); response.StatusCode != 200; response = post("after") {
		wait := t.wantLater(response, "a keyid that the certificate of a moment ago lacks")
		if response.StatusCode != 503 || time.Since(first.at) > time.Minute+t.s.patience {
			break
		}
		t.pause(min(max(wait, time.Second), time.Minute))
	}
	t.on("T-5.108")
	if response.StatusCode != 200 || s.fetches() < 2 {
		t.fatal(nil, "the certificate fetched anew when that is allowed, and status 200", fmt.Sprintf("%d fetches, %s", s.fetches(), response.Status))
	}
	c.wantTexts("vouched for by a new key", "after")
	again := s.lastFetch()
	caching := strings.Join(append(again.header.Values("Cache-Control"), again.header.Values("Pragma")...), ", ")
	t.check(nil, again.query != "" || strings.Contains(caching, "no-cache") || strings.Contains(caching, "no-store") || strings.Contains(caching, "max-age=0"),
		"a fetch that no cache answers: with Cache-Control: no-cache", fmt.Sprintf("%q", caching))
	t.on("T-5.38")
	t.check(nil, s.fetches() == 2 && again.at.Sub(first.at) > time.Minute-slack, "the certificate fetched once a minute at most",
		fmt.Sprintf("%d fetches, the last after %v", s.fetches(), again.at.Sub(first.at).Round(time.Millisecond)))
}
