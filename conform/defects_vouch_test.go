package conform

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// resigned changes the Signature-Input of what the node hands over.
func resigned(clause, name, old, with string) defect {
	find := regexp.MustCompile(old)
	return handed(clause, name, func(r *http.Request) {
		r.Header.Set("Signature-Input", find.ReplaceAllString(r.Header.Get("Signature-Input"), with))
	})
}

// restated is a node that answers some of what another one forwards with another status.
func restated(clause, name string, from, to int, which func(*http.Request) bool) defect {
	d := defect{clause: clause, name: name, second: true}
	d.page = func(r *http.Request, p *page) {
		if r.URL.Path == signedPath && p.status == from && which(r) {
			p.status = to
		}
	}
	return d
}

// takes is a node that takes some of what it should refuse, and minds is one that refuses some of what it should take.
func takes(clause, name string, which func(*http.Request) bool) defect {
	return restated(clause, name, http.StatusUnauthorized, http.StatusOK, which)
}

func minds(clause, name string, which func(*http.Request) bool) defect {
	return restated(clause, name, http.StatusOK, http.StatusUnauthorized, which)
}

// inForm reports whether the header of a request is as section 5.4 has it, whatever it says.
func inForm(r *http.Request) bool {
	for _, name := range []string{"Tipt-From", "Content-Digest", "Signature-Input", "Signature"} {
		if len(r.Header.Values(name)) != 1 {
			return false
		}
	}
	return signatureInput.MatchString(r.Header.Get("Signature-Input"))
}

// off is how far a request's `created` is from now.
func off(r *http.Request) time.Duration {
	input := signatureInput.FindStringSubmatch(r.Header.Get("Signature-Input"))
	if input == nil {
		return 0
	}
	created, err := strconv.ParseInt(input[2], 10, 64)
	if err != nil {
		return 0
	}
	return time.Until(time.Unix(created, 0))
}

// seenBefore reports whether a request has something that an earlier one had.
func seenBefore(something func(*http.Request) string) func(*http.Request) bool {
	var mu sync.Mutex // guards all
	var all []string
	return func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		one := something(r)
		if slices.Contains(all, one) {
			return true
		}
		all = append(all, one)
		return false
	}
}

// notTheFirst reports whether a request has a `keyid` that is not that of the first.
func notTheFirst() func(*http.Request) bool {
	var mu sync.Mutex // guards first
	var first string
	return func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		input := signatureInput.FindStringSubmatch(r.Header.Get("Signature-Input"))
		if input == nil {
			return false
		}
		if first == "" {
			first = input[3]
		}
		return input[3] != first
	}
}

var vouchDefects = []defect{
	handed("T-5.35", "vouches for nobody", func(r *http.Request) { r.Header.Del("Tipt-From") }),
	handed("T-5.35", "another spelling", func(r *http.Request) {
		r.Header.Set("Tipt-From", strings.ReplaceAll(r.Header.Get("Tipt-From"), "%C3%BC", "%c3%bc"))
	}),
	handed("T-5.35", "the digest of nothing", func(r *http.Request) {
		if r.Method == http.MethodPost {
			r.Header.Set("Content-Digest", digestOf(nil))
		}
	}),
	resigned("T-5.100", "a nonce besides", `$`, `;nonce="1"`),
	resigned("T-5.100", "parameters in another order", `(;created=\d+)(;keyid="\w+")`, "$2$1"),
	resigned("T-5.100", "components in another order", `"@method" "@authority"`, `"@authority" "@method"`),
	resigned("T-5.100", "another label", `^tipt=`, "sig1="),
	handed("T-5.101", "another signature", func(r *http.Request) { r.Header.Set("Signature", digestLike) }),
	resigned("T-5.101", "signed long ago", `created=\d`, "created="),
	resigned("T-5.101", "another key", `keyid="\w+"`, `keyid="`+strings.Repeat("ab", 20)+`"`),
	takes("T-5.36", "takes what nobody signed", func(r *http.Request) bool { return r.Header.Get("Signature") == "" }),
	takes("T-5.36", "minds no signature", inForm),
	minds("T-5.37", "knows no escapes", func(r *http.Request) bool { return strings.Contains(r.Header.Get("Tipt-From"), "%") }),
	minds("T-5.38", "takes nobody's word", func(*http.Request) bool { return true }),
	takes("T-5.102", "takes the first of two lines", func(r *http.Request) bool { return len(r.Header.Values("Signature")) > 1 }),
	takes("T-5.102", "takes a nonce", func(r *http.Request) bool { return strings.Contains(r.Header.Get("Signature-Input"), "nonce") }),
	takes("T-5.102", "takes two labels", func(r *http.Request) bool { return strings.Contains(r.Header.Get("Signature-Input"), ", other=") }),
	takes("T-5.103", "minds no @authority", inForm),
	takes("T-5.105", "minds no past", func(r *http.Request) bool { return off(r) < -5*time.Minute }),
	takes("T-5.105", "minds no future", func(r *http.Request) bool { return off(r) > 5*time.Minute }),
	minds("T-5.105", "has the one right clock", func(r *http.Request) bool { return off(r).Abs() > time.Minute }),
	takes("T-5.106", "minds no subkey", inForm),
	minds("T-5.106", "knows one subkey", notTheFirst()),
	restated("T-5.107", "looks at the message first", 401, 400, func(r *http.Request) bool { return r.ContentLength < 100 }),
	restated("T-5.108", "does not take what it has fetched anew", 200, 503, notTheFirst()),
	pages("T-5.109", "does not say when to come again", signedPath, func(p *page) { p.header.Del("Retry-After") }).of2().during("vouched-without-key"),
	restated("T-5.180", "puts everybody off", 401, 503, func(*http.Request) bool { return true }),
	minds("T-5.110", "minds what comes again", seenBefore(func(r *http.Request) string { return r.Header.Get("Signature") })),
}
