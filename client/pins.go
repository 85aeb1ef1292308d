package client

import (
	"sync"

	"github.com/tipt/tipt-go"
)

// maxPins is how many certificates of nodes, and as many of users, are kept in memory for a program
// that keeps none itself.
const maxPins = 4096

// memoryPins are the [Pins] of such a program.
type memoryPins struct{ pinned[tipt.NodeName] }

// Pin implements [Pins].
func (p *memoryPins) Pin(node tipt.NodeName) ([]byte, error) { return p.get(node), nil }

// SetPin implements [Pins].
func (p *memoryPins) SetPin(node tipt.NodeName, certificate []byte) error {
	p.set(node, certificate)
	return nil
}

// memoryUserPins are its [UserPins].
type memoryUserPins struct{ pinned[tipt.Address] }

// UserPin implements [UserPins].
func (p *memoryUserPins) UserPin(user tipt.Address) ([]byte, error) { return p.get(user), nil }

// SetUserPin implements [UserPins].
func (p *memoryUserPins) SetUserPin(user tipt.Address, certificate []byte) error {
	p.set(user, certificate)
	return nil
}

// pinned are certificates by whose they are, at most maxPins: any one makes room for one more.
type pinned[K comparable] struct {
	mu   sync.Mutex // guards the following
	pins map[K][]byte
}

func (p *pinned[K]) get(of K) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pins[of]
}

func (p *pinned[K]) set(of K, certificate []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pins == nil {
		p.pins = make(map[K][]byte)
	}
	if _, known := p.pins[of]; !known && len(p.pins) >= maxPins {
		for other := range p.pins {
			delete(p.pins, other)
			break
		}
	}
	p.pins[of] = append([]byte{}, certificate...) // not nil, also where that is empty
}
