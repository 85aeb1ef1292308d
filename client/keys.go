package client

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

const (
	keyLifetime = time.Hour // as long as nodes keep each other's (section 5.1)
	maxKeys     = 1024      // nodes whose key is kept in memory
)

// Pins keeps the certificate of each node to which something was sealed: trust on
// first use (section 7). New subkeys under the same primary key are taken without a word. The user's own
// node hands them out and could lie; see Options.KeyChanged for what happens when another takes the
// place of the one kept. The methods may be called at the same time.
type Pins interface {
	// Pin returns the certificate that SetPin got last for the node, nil for none.
	Pin(node tipt.NodeName) ([]byte, error)
	SetPin(node tipt.NodeName, certificate []byte) error
}

// A nodeKey is the cached key of one node.
type nodeKey struct {
	outdated atomic.Bool   // fetch it past the node's cache next time
	turn     chan struct{} // holds one value while somebody uses the following

	certificate *seal.Certificate
	fetched     time.Time

	patience patience // of Receive
}

// nodeKey returns the key of a node, from memory if that is fresh and not the
// stale one.
func (c *Client) nodeKey(ctx context.Context, node tipt.NodeName, stale *seal.Certificate) (*seal.Certificate, error) {
	k := c.keyOf(node)
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if stale != nil && k.certificate == stale {
		k.outdated.Store(true)
	}
	if k.certificate != nil && !k.outdated.Load() && time.Since(k.fetched) < keyLifetime {
		return k.certificate, nil
	}
	req := tipt.GetNodeKeyRequest{Node: string(node), New: k.outdated.Load()}
	p, err := c.call(ctx, tipt.RequestGetNodeKey, req.Append(nil))
	if err != nil {
		return nil, &KeyError{Node: node, Err: err}
	}
	var resp tipt.GetNodeKeyResponse
	if err := resp.Parse(p.Body, p.Newer); err != nil {
		return nil, &KeyError{Node: node, Err: err}
	}
	certificate, err := seal.ParseCertificate(resp.Key)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", node, err)
	}
	if err := c.checkPin(node, certificate); err != nil {
		return nil, err
	}
	k.certificate, k.fetched = certificate, time.Now()
	k.outdated.Store(false)
	return certificate, nil
}

// keptKey returns the key in Pins for use where a fetch of the node's key has failed, or that
// failure when there is none or the node is known to have another one now.
func (c *Client) keptKey(node tipt.NodeName, failure error) (*seal.Certificate, error) {
	if c.keyOf(node).outdated.Load() {
		return nil, failure
	}
	kept, err := c.options.Pins.Pin(node)
	if err != nil {
		return nil, fmt.Errorf("kept key of %s: %w", node, err)
	}
	if kept == nil {
		return nil, failure
	}
	certificate, err := seal.ParseCertificate(kept)
	if err != nil {
		return nil, fmt.Errorf("kept key of %s: %w", node, err)
	}
	return certificate, nil
}

func (c *Client) keyOf(node tipt.NodeName) *nodeKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.keys[node]
	if k == nil {
		if len(c.keys) >= maxKeys {
			clear(c.keys)
		}
		k = &nodeKey{turn: make(chan struct{}, 1)}
		c.keys[node] = k
	}
	return k
}

// checkPin compares a node's certificate with the one kept (section 7).
func (c *Client) checkPin(node tipt.NodeName, now *seal.Certificate) error {
	pins := c.options.Pins
	kept, err := pins.Pin(node)
	if err != nil {
		return fmt.Errorf("kept key of %s: %w", node, err)
	}
	if kept != nil {
		was, err := seal.ParseCertificate(kept)
		if err != nil {
			return fmt.Errorf("kept key of %s: %w", node, err)
		}
		if bytes.Equal(kept, now.Bytes()) {
			return nil
		}
		if was.Fingerprint() != now.Fingerprint() && !now.VouchedBy(was, string(node), time.Now()) {
			if err := c.keyChanged(node, was.Fingerprint(), now.Fingerprint()); err != nil {
				return err
			}
		}
	}
	if err := pins.SetPin(node, now.Bytes()); err != nil {
		return fmt.Errorf("keep the key of %s: %w", node, err)
	}
	return nil
}

func (c *Client) keyChanged(node tipt.NodeName, was, is string) error {
	if c.options.KeyChanged == nil {
		c.log.Warn("the key of a node has changed", "of", string(node), "was", was, "is", is)
		return nil
	}
	return c.options.KeyChanged(node, was, is)
}
