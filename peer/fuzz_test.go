package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// FuzzHandler has anything come as a request of another node. A header that is given stands
// in the place of the one that a good request has.
func FuzzHandler(f *testing.F) {
	var received, valid bool
	var key *seal.NodeKey
	r := newReception(f, func(o *HandlerOptions) {
		key = o.Key()
		o.Receive = func(_ context.Context, from tipt.Address, message []byte) ([]byte, bool, error) {
			received = true
			if again, err := tipt.ParseAddress(from.String()); err != nil || again != from {
				return nil, false, fmt.Errorf("from %q: %w", from, err)
			}
			plain, err := key.Open(message, time.Now())
			switch {
			case errors.Is(err, seal.ErrCannotOpen):
				return []byte("cannot open"), false, nil
			case err != nil:
				return nil, false, fmt.Errorf("%w: %w", ErrBadMessage, err)
			}
			return plain, true, nil
		}
	})
	cert, err := seal.ParseCertificate(key.Certificate())
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := cert.Seal([]byte("plain"), time.Now())
	if err != nil {
		f.Fatal(err)
	}
	good := r.request(string(sealed)).Header
	f.Add("", "", "", "", "", 0, sealed)
	f.Add("", "", "", "", "text/plain", 0, sealed)
	f.Add("bob@third.example", "", "", "", "", 0, sealed)
	f.Add("%C3%BC@other.example", "", "", "", "", 0, []byte{})
	f.Add("", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", "", "", "", 0, []byte("x"))
	f.Add("", "", good.Get(headerInput), "", "", 0, []byte{0xc0})
	f.Add("", "", `tipt=("@method" "@authority" "@path" "content-digest" "tipt-from");created=1;keyid="0";alg="ed25519"`, "", "", 0, sealed)
	f.Add("", "", "", "tipt=:AAAA:", "", 0, sealed)
	f.Add("x", "x", "x", "x", "x", 0x1f, []byte("x"))
	f.Add("", "", "", "", "", 1, sealed)
	f.Fuzz(func(t *testing.T, from, digest, input, signature, kind string, without int, body []byte) {
		received, valid = false, true
		r.log.Reset()
		request := r.request(string(body))
		for i, h := range []struct{ name, value string }{
			{headerFrom, from}, {headerDigest, digest}, {headerInput, input}, {headerSignature, signature}, {"Content-Type", kind},
		} {
			switch want := request.Header.Get(h.name); {
			case without&(1<<i) != 0:
				request.Header.Del(h.name)
				valid = false
			case h.value != "" && h.value != want:
				request.Header.Set(h.name, h.value)
				valid = valid && h.name == "Content-Type"
			}
		}
		w := r.serve(request)
		if !slices.Contains([]int{200, 400, 401, 503}, w.Code) {
			t.Errorf("status %d", w.Code)
		}
		if w.Code == http.StatusServiceUnavailable {
			if after, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || after < 1 || after > 60 {
				t.Errorf("503 with Retry-After %q", w.Header().Get("Retry-After"))
			}
		}
		if received && !valid {
			t.Errorf("received with %q", request.Header)
		}
		if valid && kind == "" && !received {
			t.Errorf("a good request was refused: %d %s", w.Code, w.Body)
		}
		if r.inRoom() != 0 {
			t.Errorf("%d bytes are held", r.inRoom())
		}
	})
}
