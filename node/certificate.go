package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
)

// certificateLook is how often a certificate's files are looked at, at most.
const certificateLook = time.Second

// A Certificate is a TLS certificate and key in two PEM files, read again when
// they change, so that a renewed one needs no restart.
type Certificate struct {
	name      tipt.NodeName
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex // guards the following fields
	loaded *tls.Certificate
	stamps [2]stamp
	looked time.Time
	told   bool // that loaded has expired
}

// A stamp tells whether a file is still the one that was read.
type stamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads the certificate chain of a node and its key. One that is for
// another name, or not valid now, is an error: no client would accept it.
func LoadCertificate(name tipt.NodeName, certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{name: name, cert: certFile, key: keyFile, log: log}
	stamps, err := c.stat()
	if err != nil {
		return nil, err
	}
	if err := c.loadLocked(stamps, time.Now()); err != nil {
		return nil, err
	}
	return c, nil
}

// TLS returns the configuration of a listener that shows the certificate.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Other nodes forward by HTTP/2; a WebSocket is an upgrade of HTTP/1.1.
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current(time.Now()), nil
		},
	}
}

// current returns the certificate in the files. While they cannot be read, do not fit
// each other, as in the middle of a renewal, or are of no use, it is the last good one.
func (c *Certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) < certificateLook {
		return c.loaded
	}
	c.looked = now
	stamps, err := c.stat()
	if err == nil && stamps != c.stamps {
		err = c.loadLocked(stamps, now)
		if err == nil {
			c.log.Info("certificate renewed", "file", c.cert)
		}
	}
	if err != nil {
		c.log.Warn("renew the certificate; the old one serves on", "error", err)
	}
	if end := c.loaded.Leaf.NotAfter; now.After(end) && !c.told {
		c.log.Warn("the certificate has expired: nobody can connect", "file", c.cert, "expired", end.UTC())
		c.told = true
	}
	return c.loaded
}

func (c *Certificate) stat() (stamps [2]stamp, err error) {
	for i, file := range []string{c.cert, c.key} {
		info, err := os.Stat(file)
		if err != nil {
			return stamps, fmt.Errorf("read the certificate: %w", err)
		}
		stamps[i] = stamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}

func (c *Certificate) loadLocked(stamps [2]stamp, now time.Time) error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read the certificate %s with the key %s: %w", c.cert, c.key, err)
	}
	if err := c.check(pair.Leaf, now); err != nil {
		return err
	}
	c.loaded, c.stamps, c.told = &pair, stamps, false
	return nil
}

// check says why no client would accept a certificate, as far as that depends on neither
// its authority nor the client's clock.
func (c *Certificate) check(leaf *x509.Certificate, now time.Time) error {
	switch {
	case leaf.VerifyHostname(string(c.name)) != nil:
		return fmt.Errorf("the certificate %s is for %s, not %s: nobody could connect; get one for %[3]s", c.cert, names(leaf), c.name)
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate %s expired on %s: nobody could connect; renew it", c.cert, leaf.NotAfter.UTC().Format(time.DateTime))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate %s is valid only from %s: nobody could connect; check the clock", c.cert, leaf.NotBefore.UTC().Format(time.DateTime))
	}
	return nil
}

// names are those that a certificate is for, or some of them.
func names(leaf *x509.Certificate) string {
	const some = 3
	switch n := len(leaf.DNSNames); {
	case n == 0:
		return "no name"
	case n > some:
		return fmt.Sprintf("%s and %d more", strings.Join(leaf.DNSNames[:some], ", "), n-some)
	}
	return strings.Join(leaf.DNSNames, ", ")
}
