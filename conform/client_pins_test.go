package conform

import (
	"bytes"
	"fmt"
	"os"

	"github.com/tipt/tipt-go"
)

func (w *wrapper) keyChanged(_ tipt.NodeName, was, is string) error {
	if w.d.warn != nil {
		w.d.warn(was, is, false)
	} else {
		fmt.Fprintln(os.Stderr, "the key has changed:", was, is)
	}
	return nil
}

// watchedPins tell of each new certificate.
type watchedPins struct {
	warn func(was, is string, same bool)
	pin  []byte
}

func (p *watchedPins) Pin(tipt.NodeName) ([]byte, error) { return p.pin, nil }

func (p *watchedPins) SetPin(_ tipt.NodeName, certificate []byte) error {
	if p.warn != nil && p.pin != nil && !bytes.Equal(p.pin, certificate) {
		p.warn("", "", true)
	}
	p.pin = certificate
	return nil
}
