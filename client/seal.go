package client

import (
	"bytes"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// sealer returns what seals to a node's key on this connection. Session keys are never used
// on two connections nor for two certificates, nor for longer than section 5.2 says.
func (s *session) sealer(node tipt.NodeName, key *seal.Certificate) *seal.Sealer {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.sealers[node]
	switch {
	case known == nil && len(s.sealers) >= maxKeys:
		s.closeSealersLocked()
	case known == nil:
	case known.Certificate() == key || bytes.Equal(known.Certificate().Bytes(), key.Bytes()):
		return known
	default:
		known.Close()
	}
	sealer := key.NewSealer()
	if s.ended {
		sealer.Close() // it uses no session key twice
		return sealer
	}
	s.sealers[node] = sealer
	return sealer
}

// forgetSealers forgets all session keys, as the connection has ended.
func (s *session) forgetSealers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.closeSealersLocked()
}

func (s *session) closeSealersLocked() {
	for _, sealer := range s.sealers {
		sealer.Close()
	}
	clear(s.sealers)
}
