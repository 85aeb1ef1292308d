package link

import "math/bits"

// ids is a set of the 256 ids of one direction (section 3.2).
type ids [4]uint64

func (s *ids) has(id uint8) bool { return s[id>>6]&(1<<(id&63)) != 0 }
func (s *ids) add(id uint8)      { s[id>>6] |= 1 << (id & 63) }
func (s *ids) remove(id uint8)   { s[id>>6] &^= 1 << (id & 63) }
func (s *ids) empty() bool       { return *s == ids{} }

// free returns the least id that is not in the set.
func (s *ids) free() (id uint8, ok bool) {
	for i, word := range s {
		if word != ^uint64(0) {
			return uint8(i<<6 + bits.TrailingZeros64(^word)), true
		}
	}
	return 0, false
}
