package tap

import (
	"bytes"
	"crypto/sha256"
	"regexp"
	"unicode/utf8"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// secretKeys are the keys whose values are passwords, tokens and invitations.
var secretKeys = map[string]bool{"pass": true, "tok": true, "old": true, "new": true, "inv": true}

// A Mask is a place in a message that holds a secret.
type Mask struct {
	At   int    `json:"at"`
	Size int    `json:"size"`
	Key  string `json:"key,omitempty"` // whose value it is; empty: it is repeated elsewhere
	// Secret tells equal secrets from others: they are counted in the order in which they
	// first occur. 0: there are too many, or it is a part of one.
	Secret int `json:"secret,omitempty"`
	// Raw: it is a string that is no UTF-8.
	Raw bool `json:"raw,omitempty"`

	shown bool // somebody asked for it
}

const (
	// maxSecrets is how many secrets are told apart.
	maxSecrets = 1024
	// A secret of at least as many bytes, and as many different ones, is masked wherever it
	// occurs again. Another would be found where it is not.
	minRepeated, minDifferent = 8, 4
	// maxRepeats is how often in one message: what is there more often is no secret.
	maxRepeats = 64
	// maxRepeated bounds what is kept for that.
	maxRepeated = 255
)

// Secrets are those that have crossed. One goroutine at a time uses them.
type Secrets struct {
	numbers map[[sha256.Size]byte]int
	known   []knownSecret
}

type knownSecret struct {
	text   []byte
	number int
}

// NewSecrets returns none yet.
func NewSecrets() *Secrets {
	return &Secrets{numbers: make(map[[sha256.Size]byte]int)}
}

// inText finds what JSON has under a secret key: somebody may send that by mistake.
var inText = regexp.MustCompile(`"(pass|tok|old|new|inv)"\s*:\s*"((?:[^"\\]|\\.)*)`)

// find returns where b, of which root was dissected, holds secrets. What is broken is also
// searched for the keys as bytes, since they may stand where no map can be read.
func (s *Secrets) find(root *msgpack.Value, broken bool, b []byte) []Mask {
	masked := make([]bool, len(b))
	var masks []Mask
	add := func(at, end int, key string) {
		start, size := at, 0
		for at < end && masked[at] {
			at++
		}
		for i := at; i < end && !masked[i]; i++ {
			masked[i] = true
			size++
		}
		if size == 0 {
			return
		}
		m := Mask{At: at, Size: size, Key: key, Raw: at > 0 && isStr(b[at-1], size) && !utf8.Valid(b[at:at+size])}
		if key != "" || size == end-start { // a part of a repeated one is no secret of its own
			m.Secret = s.number(b[at : at+size])
		}
		masks = append(masks, m)
	}
	walkSecrets(root, b, "", add)
	if broken || root.End < len(b) {
		for key := range secretKeys {
			searchKey(b, key, add)
		}
		for _, m := range inText.FindAllSubmatchIndex(b, -1) {
			add(m[4], m[5], string(b[m[2]:m[3]]))
		}
	}
	for _, k := range s.known {
		for from, n := 0, 0; n < maxRepeats; n++ {
			i := bytes.Index(b[from:], k.text)
			if i < 0 {
				break
			}
			add(from+i, from+i+len(k.text), "")
			from += i + len(k.text)
		}
	}
	return masks
}

// walkSecrets adds what stands under a secret key, key being that of v.
func walkSecrets(v *msgpack.Value, b []byte, key string, add func(at, end int, key string)) {
	switch v.Family {
	case msgpack.Object:
		for i := 1; i < len(v.Items); i += 2 {
			name := key
			if k := string(v.Items[i-1].Text(b)); secretKeys[k] {
				name = k
			}
			walkSecrets(&v.Items[i], b, name, add)
		}
	case msgpack.Array:
		for i := range v.Items {
			walkSecrets(&v.Items[i], b, key, add)
		}
	case msgpack.Null, msgpack.Bool:
	default:
		if key == "" {
			return
		}
		at := v.Body
		if at == v.End && v.Family != msgpack.Str && v.Family != msgpack.Bin {
			at = v.Start // a number that is its own marker
		}
		add(at, v.End, key)
	}
}

// searchKey adds the values behind a key, wherever it stands.
func searchKey(b []byte, key string, add func(at, end int, key string)) {
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(key))
		if i < 0 {
			return
		}
		from += i + len(key)
		if from >= len(b) {
			return
		}
		if v, _ := msgpack.Dissect(b[from:], 1); v.Family == msgpack.Str || v.Family == msgpack.Bin {
			add(from+v.Body, from+v.End, key)
		}
	}
}

// isStr reports whether a string of that size may stand behind a byte.
func isStr(before byte, size int) bool {
	return before == 0xa0|byte(min(size, 31)) || before == byte(size) // a fixstr's marker, or the end of a length
}

// number returns the secret's number.
func (s *Secrets) number(secret []byte) int {
	sum := sha256.Sum256(secret)
	if n, ok := s.numbers[sum]; ok {
		return n
	}
	if len(s.numbers) == maxSecrets {
		return 0
	}
	n := len(s.numbers) + 1
	s.numbers[sum] = n
	different := make(map[byte]bool)
	for _, c := range secret[:min(len(secret), maxRepeated)] {
		different[c] = true
	}
	if minRepeated <= len(secret) && len(secret) <= maxRepeated && len(different) >= minDifferent {
		s.known = append(s.known, knownSecret{bytes.Clone(secret), n})
	}
	return n
}
