package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// TestDialVerifies shows what a client does not connect to.
func TestDialVerifies(t *testing.T) {
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	roots := rootsOf(t, ca)
	is := func(target any) func(error) bool {
		return func(err error) bool { return errors.As(err, target) }
	}
	tests := []struct {
		name  string
		of    string // the certificate's name
		life  time.Duration
		roots []*x509.Certificate
		max   uint16
		want  func(error) bool
	}{
		{"unknown authority", "node.example", time.Hour, nil, 0, is(new(x509.UnknownAuthorityError))},
		{"another name", "other.example", time.Hour, roots, 0, is(new(x509.HostnameError))},
		{"expired", "node.example", -time.Hour, roots, 0, func(err error) bool {
			var invalid x509.CertificateInvalidError
			return errors.As(err, &invalid) && invalid.Reason == x509.Expired
		}},
		{"TLS 1.1", "node.example", time.Hour, roots, tls.VersionTLS11, func(err error) bool {
			var alert *net.OpError
			return errors.As(err, &alert) && alert.Op == "remote error" // the server's, that no version is left
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert, key, err := ca.IssueFor(tt.life, tt.of)
			if err != nil {
				t.Fatal(err)
			}
			addr := serve(t, cert, key, tt.max, func(http.ResponseWriter, *http.Request) {
				t.Error("the client has sent its request")
			})
			_, err = client.Dial(t.Context(), "node.example", &client.Options{RootCAs: tt.roots, Connect: addr})
			if !tt.want(err) {
				t.Errorf("Dial: %v (%T)", err, errors.Unwrap(err))
			}
		})
	}
}

func TestDialRefused(t *testing.T) {
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue("node.example")
	if err != nil {
		t.Fatal(err)
	}
	unavailable := func(want client.UnavailableError) func(error) bool {
		return func(err error) bool {
			var got *client.UnavailableError
			return errors.As(err, &got) && *got == want
		}
	}
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter)
		want   func(error) bool
	}{
		{"overloaded", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, unavailable(client.UnavailableError{Status: 503, RetryAfter: 2 * time.Minute})},
		{"internal error", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusInternalServerError)
		}, unavailable(client.UnavailableError{Status: 500})},
		{"no node", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusNotFound)
		}, func(err error) bool { return err != nil && !errors.As(err, new(*client.UnavailableError)) }},
		{"redirect", func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://other.example/ws")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, func(err error) bool { return err != nil && !errors.As(err, new(*client.UnavailableError)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requests := 0
			addr := serve(t, cert, key, 0, func(w http.ResponseWriter, r *http.Request) {
				requests++
				if r.Host != "node.example" || r.URL.Path != "/ws" {
					t.Errorf("asked %s for %s, want node.example for /ws", r.Host, r.URL.Path)
				}
				tt.answer(w)
			})
			_, err := client.Dial(t.Context(), "node.example", &client.Options{RootCAs: rootsOf(t, ca), Connect: addr})
			if !tt.want(err) {
				t.Errorf("Dial: %v", err)
			}
			if requests != 1 {
				t.Errorf("asked %d times, want once", requests)
			}
		})
	}
}

// serve runs an HTTPS server and returns its address.
func serve(t *testing.T, cert, key []byte, maxVersion uint16, f http.HandlerFunc) string {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(f)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: maxVersion}
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestNodeRestarts shows a client through a restart of its node.
func TestNodeRestarts(t *testing.T) {
	n := tipttest.Start(t)
	w := newSelfWriter(t, n, "alice")
	w.send()
	n.Restart(t)
	w.send()
	w.wantAll()
}

// TestDialNobody shows that an address at which nobody listens is said so at once.
func TestDialNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = client.Dial(t.Context(), tipt.NodeName("node.example"), &client.Options{Connect: addr})
	var refused *net.OpError
	if !errors.As(err, &refused) || refused.Op != "dial" {
		t.Errorf("Dial: %v, want an error of dialling", err)
	}
}
