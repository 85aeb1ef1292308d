package conform

import (
	"bytes"
	"io"
	"net/http"
	"strings"
)

// answering is a node that takes a status of the second node for another one.
func answering(clause, name string, from, to int) defect {
	return defect{clause: clause, name: name, second: true, back: func(r *http.Response) {
		if r.StatusCode == from {
			r.StatusCode = to
		}
	}}
}

// reading is a node that reads an answer of the second node as another one.
func reading(clause, name string, read func(answer []byte) []byte) defect {
	return defect{clause: clause, name: name, second: true, back: func(r *http.Response) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return // so will the node
		}
		b = read(b)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		r.Header.Del("Content-Length")
	}}
}

var (
	anAnswer  = fields{"body", nil}.pack()
	aRefusal  = fields{"err", fields{"code", errNoSuchUser}}.pack()
	noContent = fields{}.pack()
)

var statusDefects = []defect{
	answering("T-5.42", "gives up after 500", 500, 400),
	answering("T-5.42", "gives up after 302", 302, 400),
	answering("T-5.42", "gives up after 429", 429, 400),
	reading("T-5.113", "takes no answer for an error", func(b []byte) []byte {
		if bytes.Equal(b, noContent) {
			return aRefusal
		}
		return b
	}),
	reading("T-5.113", "minds no error", func(b []byte) []byte {
		if v, err := unpack(b); err == nil && answerCode(v) != ok {
			return anAnswer
		}
		return b
	}),
	{clause: "T-5.113", name: "returns what is sealed", second: true, back: func(r *http.Response) {
		if r.Header.Get("Content-Type") == typeSealed {
			r.Header.Set("Content-Type", typeAnswer)
		}
	}},
	answering("T-5.114", "takes 201 for 200", 201, 200),
	answering("T-5.118", "takes 201 for 200", 201, 200),
	answering("T-5.114", "does not give up after 404", 404, 500),
	delivering("T-5.114", "another code", func(f fields) fields {
		if number(f, "code") == errNodeRefused {
			return f.with("code", errNodeUnreachable)
		}
		return f
	}).of2().during("second-returns"),
	delivering("T-5.115", "does not mind the attempts before", func(f fields) fields {
		if number(f, "code") == errNodeTimeout {
			return f.with("code", errNodeRefused)
		}
		return f
	}).of2().during("second-retries"),
	delivering("T-5.115", "does not mind what it has tried before it drops it", func(f fields) fields {
		if number(f, "code") == errNodeTimeout {
			return f.with("code", errNodeRefused)
		}
		return f
	}).of2().during("dropped"),
	delivering("T-6.100", "another code", func(f fields) fields {
		if number(f, "code") == errNodeRefused {
			return f.with("code", errNodeUnreachable)
		}
		return f
	}).of2(),
	reading("T-5.117", "looks into answers", func(b []byte) []byte {
		if v, err := unpack(b); err == nil && answerCode(v) != ok {
			return aRefusal
		}
		return b
	}),
	swap("T-5.118", reqForward, errNodeTimeout, errNodeRefused).of2(),
	swap("T-5.118", reqForward, errNodeRefused, errNodeUnreachable).of2(),
	answering("T-4.68", "takes load for a refusal", 429, 400),
	{clause: "T-4.106", name: "does not wait", second: true, back: func(r *http.Response) { r.Header.Del("Retry-After") }},
	{clause: "T-5.141", only: "second-is-slow", name: "waits for ever", second: true, stays: true},
	pages("T-5.111", "does not say when to come again", signedPath, func(p *page) {
		if p.status == http.StatusServiceUnavailable {
			p.header.Del("Retry-After")
		}
	}).of2(),
	restated("T-5.111", "does not know anybody in maintenance", 503, 401, func(r *http.Request) bool {
		return strings.HasPrefix(r.Header.Get("Tipt-From"), "someone@order.")
	}),
}
