package conform

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

type endToEndVector struct {
	Name, Key, From       string
	Clock                 int64
	Msg, Plain            vectorHex
	Signed                bool
	Error, Clause, Reason string
}

func TestVectorsOfEndToEndMessages(t *testing.T) {
	keys := vectorKeys(t)
	for _, v := range readVectors[[]endToEndVector](t, "endtoend.json") {
		content, clauses := readBody("content", v.Msg, true)
		if len(clauses) > 0 || content.get("type").num() != contentSealed {
			t.Errorf("%s: it is no SEALED and breaks %v", v.Name, clauses)
			continue
		}
		key, err := asOpeningKey(keys[v.Key])
		if err != nil {
			t.Fatal(err)
		}
		opened, err := (&correspondent{openingKey: key}).openEndToEnd(content.get("body").bytes())
		if err == nil && len(opened.how.against) > 0 {
			err = errors.New(opened.how.against[0])
		}
		if (err != nil) != (v.Error != "") || errors.Is(err, errNotForKey) != (v.Error == "CANNOT_OPEN") {
			t.Errorf("%s: opened %v, want error %q", v.Name, err, v.Error)
			continue
		}
		if err != nil {
			if v.Clause != "T-8.4" {
				t.Errorf("%s: it breaks %s", v.Name, v.Clause)
			}
			continue
		}
		if !bytes.Equal(opened.how.plain, v.Plain) {
			t.Errorf("%s: opened to % x; want % x", v.Name, opened.how.plain, v.Plain)
		}
		if _, clauses := readBody("content", v.Plain, true); len(clauses) > 0 {
			t.Errorf("%s: what is inside breaks %v", v.Name, clauses)
		}
		why := opened.signedBy(keys[v.From], time.Unix(v.Clock, 0))
		if (why == nil) != v.Signed || !v.Signed && (v.Clause != "") != (len(opened.signatures) > 0) {
			t.Errorf("%s: signed %v, %v; want %v, %s %s", v.Name, why == nil, why, v.Signed, v.Clause, v.Reason)
		}
	}
}
