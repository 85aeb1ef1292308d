package tap

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/msgpack"
)

// replaySecrets are the values that the secrets of a record have in a replay.
type replaySecrets struct {
	values   map[int][]byte
	fromNode map[int]bool // the node gives them: they are learnt anew
}

// A MissingError says that a record masks secrets which a replay cannot make up.
type MissingError struct {
	Secrets []string // what each is, such as "secret 2, tok of SIGN_IN in line 7"
}

func (e *MissingError) Error() string {
	return "the record masks what the node has to know: " + strings.Join(e.Secrets, "; ")
}

// errNotGiven says that the node has kept back what a replay needs.
var errNotGiven = errors.New("the node has not given it this time")

// prepare finds a value for each secret that the client sends. A password that the record
// itself registers, and one that was refused, is made up.
func (r *Replay) prepare() (*replaySecrets, error) {
	s := &replaySecrets{values: make(map[int][]byte), fromNode: make(map[int]bool)}
	var missing []string
	conversations := make(map[int]*Conversation)
	for i := range r.Lines {
		l := &r.Lines[i]
		b, err := l.Bytes()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+2, err)
		}
		conversation := conversations[l.Connection]
		if conversation == nil {
			conversation = NewConversation(NewSecrets())
			conversations[l.Connection] = conversation
		}
		var p Packet
		if l.Kind == Binary {
			p = conversation.Read(l.ToNode(), b)
		}
		for _, m := range l.Secrets {
			if _, known := s.values[m.Secret]; known || s.fromNode[m.Secret] || m.Secret == 0 && m.Key == "" {
				continue
			}
			value := b[m.At : m.At+m.Size]
			if !l.ToNode() {
				s.fromNode[m.Secret] = true
				continue
			}
			isBin := m.At >= 2 && b[m.At-2] == 0xc4
			given, ok := r.Secrets[m.Secret]
			switch {
			case ok && isBin:
				if value, err = hex.DecodeString(given); err != nil {
					return nil, fmt.Errorf("secret %d is a token: write it in hex: %w", m.Secret, err)
				}
			case ok:
				value = []byte(given)
			case r.Head.Secrets == Shown:
			case m.Key != "" && (p.name == tipt.RequestRegister.String() || m.Key == "new" || r.refused(i)):
				if value = invent(m.Size); m.Raw {
					value[0] = 0xff
				}
			default:
				missing = append(missing, fmt.Sprintf("secret %d, %s in line %d, %s", m.Secret, keyName(m.Key), i+2, p.Title))
				continue
			}
			s.values[m.Secret] = value
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, &MissingError{Secrets: slices.Compact(missing)}
	}
	return s, nil
}

func keyName(key string) string {
	if key == "" {
		return "a secret"
	}
	return "`" + key + "`"
}

// refused reports whether the request in line i was answered with an error.
func (r *Replay) refused(i int) bool {
	b, _ := r.Lines[i].Bytes() // checked
	asked := msgpack.SkimBytes(b)
	for _, l := range r.Lines[i+1:] {
		if l.Connection != r.Lines[i].Connection || l.ToNode() || l.Kind != Binary {
			continue
		}
		b, _ := l.Bytes() // likewise
		if k := msgpack.SkimBytes(b); k.Readable && asked.Readable && k.ID == asked.ID && tipt.PacketType(k.Type) == tipt.PacketResponse {
			root, _ := msgpack.Dissect(b, maxValues)
			return root.Get(b, "err") != nil
		}
	}
	return false
}

// invent makes up a secret of letters.
func invent(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return b
}

// fill puts the values into a packet of the client.
func (s *replaySecrets) fill(b []byte, l *Line) ([]byte, error) {
	masks := slices.Clone(l.Secrets)
	slices.SortFunc(masks, func(x, y Mask) int { return y.At - x.At }) // from behind, so that places stay
	root, _ := msgpack.Dissect(b, maxValues)
	b = slices.Clone(b)
	for _, m := range masks {
		value, ok := s.values[m.Secret]
		switch {
		case !ok && s.fromNode[m.Secret]:
			return nil, fmt.Errorf("it needs secret %d, %s: %w", m.Secret, keyName(m.Key), errNotGiven)
		case !ok:
		case len(value) == m.Size:
			copy(b[m.At:], value)
		default:
			v := holder(&root, m)
			if v == nil {
				return nil, fmt.Errorf("secret %d must have %s where it stands there", m.Secret, count(m.Size, "byte"))
			}
			encoded := msgp.AppendString(nil, string(value))
			if v.Family == msgpack.Bin {
				encoded = msgp.AppendBytes(nil, value)
			}
			b = slices.Concat(b[:v.Start], encoded, b[v.End:])
		}
	}
	return b, nil
}

// holder returns the string or binary that is just the masked secret.
func holder(v *msgpack.Value, m Mask) *msgpack.Value {
	if (v.Family == msgpack.Str || v.Family == msgpack.Bin) && v.Body == m.At && v.End == m.At+m.Size {
		return v
	}
	for i := range v.Items {
		if found := holder(&v.Items[i], m); found != nil {
			return found
		}
	}
	return nil
}

// here are the secrets as a tap on this conversation would know them by now.
func (s *replaySecrets) here() *Secrets {
	known := NewSecrets()
	for _, n := range slices.Sorted(maps.Keys(s.values)) {
		known.number(s.values[n])
	}
	return known
}

// learn takes the secrets that the node gives, such as a token.
func (s *replaySecrets) learn(l *Line, a *arrival) {
	body := a.packet.root.Get(a.Bytes, "body")
	for _, m := range l.Secrets {
		if v := body.Get(a.Bytes, m.Key); s.fromNode[m.Secret] && v != nil {
			s.values[m.Secret] = slices.Clone(v.Text(a.Bytes))
		}
	}
}
