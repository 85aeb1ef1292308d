package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/internal/tipttest"
)

var update = flag.Bool("update", false, "write what doctor prints into testdata/doctor")

// TestDoctor examines a node that is well and patients of which each has one thing wrong, and compares what is
// printed with testdata/doctor.
func TestDoctor(t *testing.T) {
	ca, stranger := newCA(t), newCA(t)
	issue := func(life time.Duration, name string) *tls.Certificate { return issueFor(t, ca, life, name) }
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		}
	}
	page := func(body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			_, _ = w.Write([]byte(body)) // the doctor's to notice
		}
	}
	plain := []string{"Access-Control-Allow-Origin", "*", "Cache-Control", "no-store"}
	octets := []string{"Content-Type", "application/octet-stream"}
	incompatible := tipt.HandshakeResponse{Version: "0.9.0"}
	info := func(node string, ahead time.Duration) func() []byte {
		return func() []byte {
			return tipt.GetInfoResponse{Node: node, Software: "fake", Time: time.Now().Add(ahead)}.Append(nil)
		}
	}
	nobody := func() []byte { return nil }

	tests := []struct {
		name   string
		sick   func(p *patient)
		doctor func(d *doctor)
		well   bool
	}{
		{name: "well", well: true},

		{name: "dns-unknown", doctor: lookup(nil, &net.DNSError{Err: "no such host", Name: "node.example", IsNotFound: true})},
		{name: "dns-timeout", doctor: lookup(nil, &net.DNSError{Err: "i/o timeout", Name: "node.example", IsTimeout: true})},
		{name: "dns-failed", doctor: lookup(nil, &net.DNSError{Err: "server misbehaving", Name: "node.example"})},
		{name: "dns-one-of-two", doctor: lookup([]string{"127.0.0.2", "127.0.0.1"}, nil), well: true},
		{name: "tcp-refused", doctor: lookup([]string{"127.0.0.2", "127.0.0.3"}, nil)},

		{name: "tls-plain", sick: func(p *patient) { p.listener = plainHTTP }},
		{name: "tls-ended", sick: func(p *patient) { p.listener = func(c net.Conn) { _ = c.Close() } }},
		{name: "tls-silent", sick: func(p *patient) { p.listener = func(net.Conn) {} }, doctor: impatient},
		{name: "tls-old", sick: func(p *patient) { p.version = tls.VersionTLS11 }},
		{name: "tls-other-name", sick: func(p *patient) { p.cert = issue(time.Hour, "other.example") }},
		{name: "tls-expired", sick: func(p *patient) { p.cert = issue(-time.Hour, "node.example") }},
		{name: "tls-unknown-alone", sick: func(p *patient) { p.cert = issueFor(t, stranger, time.Hour, "node.example") }},
		{name: "tls-unknown-chain", sick: func(p *patient) {
			p.cert = issueFor(t, stranger, time.Hour, "node.example")
			p.cert.Certificate = append(p.cert.Certificate, issue(time.Hour, "authority.example").Certificate[0])
		}},

		{name: "root-not-found", sick: func(p *patient) { p.pages["/"] = status(http.StatusNotFound) }},
		{name: "ws-not-found", sick: func(p *patient) { p.pages["/ws"] = status(http.StatusNotFound) }},
		{name: "ws-unavailable", sick: func(p *patient) { p.pages["/ws"] = status(http.StatusServiceUnavailable, "Retry-After", "20") }},
		{name: "ws-internal-error", sick: func(p *patient) { p.pages["/ws"] = status(http.StatusInternalServerError) }},
		{name: "ws-ended", sick: func(p *patient) { p.pages["/ws"] = hangUp }},
		{name: "pong-none", sick: func(p *patient) { p.deaf = true }, doctor: impatient},
		{name: "handshake-older", sick: func(p *patient) {
			p.answers[tipt.RequestHandshake] = func() []byte { return incompatible.Append(nil) }
		}},
		{name: "handshake-malformed", sick: func(p *patient) { p.answers[tipt.RequestHandshake] = nobody }},
		{name: "handshake-closed", sick: func(p *patient) { delete(p.answers, tipt.RequestHandshake) }},

		{name: "status-not-found", sick: func(p *patient) { p.pages["/api/status"] = status(http.StatusNotFound) }},
		{name: "status-redirected", sick: func(p *patient) {
			p.pages["/api/status"] = status(http.StatusFound, "Location", "https://www.node.example/")
		}},
		{name: "status-no-json", sick: func(p *patient) { p.pages["/api/status"] = page("<!doctype html>", plain...) }},
		{name: "status-long", sick: func(p *patient) { p.pages["/api/status"] = page(strings.Repeat(" ", maxStatus+1), plain...) }},
		{name: "status-ended", sick: func(p *patient) { p.pages["/api/status"] = hangUp }},
		{name: "status-maintenance", sick: func(p *patient) {
			p.pages["/api/status"] = page(`{"status": "maintenance", "retry": 17}`, plain...)
		}},
		{name: "status-no-origin", sick: func(p *patient) { p.pages["/api/status"] = page(`{"status": "ok"}`, plain[2:]...) }},
		{name: "status-cached", sick: func(p *patient) { p.pages["/api/status"] = page(`{"status": "ok"}`, plain[:2]...) }},

		{name: "key-not-found", sick: func(p *patient) { p.pages["/api/public_key"] = status(http.StatusNotFound) }},
		{name: "key-type", sick: func(p *patient) {
			p.pages["/api/public_key"] = page(string(p.key.Certificate()), "Content-Type", "text/plain")
		}},
		{name: "key-none", sick: func(p *patient) { p.pages["/api/public_key"] = page("no certificate", octets...) }},
		{name: "key-long", sick: func(p *patient) {
			p.pages["/api/public_key"] = page(strings.Repeat("x", tipt.MaxKeySize+1), octets...)
		}},
		{name: "key-other-name", sick: func(p *patient) { p.key = newPatientKey(t, "other.example") }},

		{name: "forward-anonymous", sick: func(p *patient) { p.pages["/api/forward"] = status(http.StatusBadRequest) }, well: true},
		{name: "forward-forbidden", sick: func(p *patient) { p.pages["/api/forward"] = status(http.StatusForbidden) }},
		{name: "forward-unavailable", sick: func(p *patient) { p.pages["/api/forward"] = status(http.StatusServiceUnavailable) }},
		{name: "forward-redirected", sick: func(p *patient) {
			p.pages["/api/forward"] = status(http.StatusPermanentRedirect, "Location", "https://www.node.example/api/forward")
		}},
		{name: "forward-ended", sick: func(p *patient) { p.pages["/api/forward"] = hangUp }},

		{name: "clock-ahead", sick: func(p *patient) { p.answers[tipt.RequestGetInfo] = info("node.example", 10*time.Minute) }},
		{name: "clock-behind", sick: func(p *patient) { p.answers[tipt.RequestGetInfo] = info("node.example", -6*time.Minute) }},
		{name: "clock-near", sick: func(p *patient) { p.answers[tipt.RequestGetInfo] = info("node.example", -4*time.Minute) }, well: true},
		{name: "clock-other-node", sick: func(p *patient) { p.answers[tipt.RequestGetInfo] = info("other.example", 0) }},
		{name: "clock-malformed", sick: func(p *patient) { p.answers[tipt.RequestGetInfo] = nobody }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t, issue(30*24*time.Hour+time.Minute, "node.example"))
			if tt.sick != nil {
				tt.sick(p)
			}
			d := newDoctor(ca, p.start(t))
			if tt.doctor != nil {
				tt.doctor(d)
			}
			examine(t, d, tt.name, tt.well)
		})
	}

	t.Run("a real node", func(t *testing.T) {
		t.Parallel()
		n := tipttest.Start(t)
		examine(t, newDoctor(n.CA, n.Addr), "well", true)
	})
}

// TestDoctorKnowsWhereOtherNodesGo has names that lead inward, as they may on the network at home.
func TestDoctorKnowsWhereOtherNodesGo(t *testing.T) {
	for _, tt := range []struct {
		hosts   []string
		connect string
		want    string
	}{
		{[]string{"8.8.8.8", "2606:4700::1111"}, "", "node.example is at 8.8.8.8, 2606:4700::1111"},
		{[]string{"192.168.1.2"}, "", "node.example is at 192.168.1.2; other nodes do not connect to 192.168.1.2, which is no public address"},
		{[]string{"8.8.8.8", "fd00::1"}, "", "node.example is at 8.8.8.8, fd00::1; other nodes do not connect to fd00::1, which is no public address"},
		{[]string{"192.168.1.2"}, "home.example:443", "home.example is at 192.168.1.2"}, // goes another way than they
	} {
		d := newDoctor(newCA(t), tt.connect)
		d.lookup = func(context.Context, string) ([]string, error) { return tt.hosts, nil }
		if found, err := d.resolve(t.Context()); err != nil || found != tt.want {
			t.Errorf("%v: found %q, %v, want %q", tt.hosts, found, err, tt.want)
		}
	}
}

// newDoctor makes a doctor that finds node.example at an address.
func newDoctor(ca *devca.CA, addr string) *doctor {
	return &doctor{
		node:     "node.example",
		connect:  addr,
		roots:    ca.Pool(),
		lookup:   func(_ context.Context, host string) ([]string, error) { return []string{host}, nil },
		patience: patience,
	}
}

// lookup has the doctor's look-ups end so.
func lookup(hosts []string, err error) func(*doctor) {
	return func(d *doctor) {
		_, port, _ := net.SplitHostPort(d.connect) // it is a listener's
		d.connect = net.JoinHostPort("node.example", port)
		d.lookup = func(context.Context, string) ([]string, error) { return hosts, err }
	}
}

// impatient is for patients that say nothing.
func impatient(d *doctor) { d.patience = 3 * time.Second }

// Of what differs from run to run, the kind alone is compared.
var varying = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`127\.0\.0\.(\d):\d+`), "127.0.0.$1:PORT"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DATE"},
	{regexp.MustCompile(`in \d+ days`), "in N days"},
	{regexp.MustCompile(`[0-9a-f]{40}`), "FINGERPRINT"},
	{regexp.MustCompile(`\d+m\d+s (ahead of|behind)`), "MINUTES $1"},
	{regexp.MustCompile(`as this machine's|\b\d+s (ahead of|behind) this machine's`), "NEAR"}, // a busy machine takes its time
}

// examine has the doctor examine, and compares what it prints with testdata/doctor.
func examine(t *testing.T, d *doctor, golden string, want bool) {
	t.Helper()
	var out bytes.Buffer
	d.out = &out
	well, err := d.examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if well != want {
		t.Errorf("all is well: %v, want %v", well, want)
	}
	got := out.String()
	for _, v := range varying {
		got = v.pattern.ReplaceAllString(got, v.name)
	}
	file := filepath.Join("testdata", "doctor", golden+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expected, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(expected), got); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

// TestDoctorInterrupted ends when the person does not wait.
func TestDoctorInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	d := newDoctor(newCA(t), "127.0.0.1:1")
	var out bytes.Buffer
	d.out = &out
	d.lookup = func(ctx context.Context, _ string) ([]string, error) {
		interrupt()
		return nil, ctx.Err()
	}
	if _, err := d.examine(ctx); !errors.Is(err, context.Canceled) || out.Len() != 0 {
		t.Errorf("error %v, want %v; printed %q", err, context.Canceled, out.String())
	}
}

func newCA(t *testing.T) *devca.CA {
	t.Helper()
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issueFor(t *testing.T, ca *devca.CA, life time.Duration, name string) *tls.Certificate {
	t.Helper()
	cert, key, err := ca.IssueFor(life, name)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}
