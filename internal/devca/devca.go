// Package devca is a throw-away certificate authority: tests and `tiptd dev`
// use it to speak real, verified TLS on loopback.
package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"
)

// lifetime of the authority and of what it issues: long enough for a working
// session, short enough that a root left in a trust store soon means nothing.
const lifetime = 30 * 24 * time.Hour

// A CA issues certificates that verify against [CA.Pool].
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Open returns the authority kept in a file, or a new one, kept there from now on, when there
// is none or it ends within half its life.
func Open(file string) (*CA, error) {
	encoded, err := os.ReadFile(file)
	if err == nil {
		ca, err := parse(encoded)
		if err != nil {
			return nil, fmt.Errorf("read the authority in %s: %w; delete the file", file, err)
		}
		if time.Until(ca.cert.NotAfter) > lifetime/2 {
			return ca, nil
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	ca, err := New()
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, fmt.Errorf("encode the authority's key: %w", err)
	}
	encoded = append(ca.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	if err := os.WriteFile(file, encoded, 0o600); err != nil {
		return nil, fmt.Errorf("keep the authority: %w", err)
	}
	return ca, nil
}

func parse(encoded []byte) (*CA, error) {
	pair, err := tls.X509KeyPair(encoded, encoded)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return &CA{cert: pair.Leaf, key: key}, nil
}

// New makes an authority with a new key, which lives in memory only.
func New() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	template, err := newTemplate("Tipt throw-away CA", lifetime)
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the authority: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// Issue makes a server certificate for the given names and returns it and its
// private key in PEM.
func (ca *CA) Issue(names ...string) (cert, key []byte, err error) {
	return ca.IssueFor(lifetime, names...)
}

// IssueFor is Issue with a life of its own; a negative one has expired already.
func (ca *CA) IssueFor(life time.Duration, names ...string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a server's key: %w", err)
	}
	template, err := newTemplate(names[0], life)
	if err != nil {
		return nil, nil, err
	}
	template.DNSNames = names
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &private.PublicKey, ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue for %s: %w", names[0], err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key of %s: %w", names[0], err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return cert, key, nil
}

// CertPEM returns the authority's own certificate, for --ca and --root-ca.
func (ca *CA) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// Pool returns a pool that holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

func newTemplate(name string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	// An hour back, for clocks that disagree; before the end also of an expired one.
	start := min(-time.Hour, life-time.Hour)
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(start),
		NotAfter:     now.Add(life),
	}, nil
}
