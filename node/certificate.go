package node

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateLook is how often a certificate's files are looked at, at most.
const certificateLook = time.Second

// A Certificate is a TLS certificate and key in two PEM files, read again when
// they change, so that a renewed one needs no restart.
type Certificate struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex // guards the following fields
	loaded *tls.Certificate
	stamps [2]stamp
	looked time.Time
}

// A stamp tells whether a file is still the one that was read.
type stamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads a certificate chain and its key.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{cert: certFile, key: keyFile, log: log}
	stamps, err := c.stat()
	if err != nil {
		return nil, err
	}
	if err := c.loadLocked(stamps); err != nil {
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

// current returns the certificate in the files. While they cannot be read, or
// do not fit each other, as in the middle of a renewal, it is the last good one.
func (c *Certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) < certificateLook {
		return c.loaded
	}
	c.looked = now
	stamps, err := c.stat()
	if err == nil && stamps != c.stamps {
		err = c.loadLocked(stamps)
		if err == nil {
			c.log.Info("certificate renewed", "file", c.cert)
		}
	}
	if err != nil {
		c.log.Warn("renew the certificate; the old one serves on", "error", err)
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

func (c *Certificate) loadLocked(stamps [2]stamp) error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read the certificate %s with the key %s: %w", c.cert, c.key, err)
	}
	c.loaded, c.stamps = &pair, stamps
	return nil
}
