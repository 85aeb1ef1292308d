package tap

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Head is the first line of a record, an object of JSON as all lines are. docs/tap.md
// describes the format.
type Head struct {
	Record  int       `json:"tipt_record"` // the format's version
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
	Secrets string    `json:"secrets"` // "masked" or "shown"
}

// The values of Head.
const (
	recordVersion = 1
	Masked        = "masked"
	Shown         = "shown"
)

// A Line is a crossing in a record.
type Line struct {
	Connection int    `json:"conn"`
	MS         int64  `json:"ms"`   // since the record was started
	From       string `json:"from"` // "client" or "node"
	Kind       Kind   `json:"kind"`

	Path       string            `json:"path,omitempty"`
	Header     map[string]string `json:"header,omitempty"`
	Status     int               `json:"status,omitempty"`
	RetryAfter string            `json:"retry_after,omitempty"`

	Announced uint64 `json:"announced,omitempty"`

	Hex     string `json:"hex,omitempty"` // its bytes; zeros where a secret is masked
	Size    int    `json:"size,omitempty"`
	Secrets []Mask `json:"secrets,omitempty"`
	Says    string `json:"says,omitempty"` // for people
	Why     string `json:"why,omitempty"`
}

// Bytes are those of Hex.
func (l *Line) Bytes() ([]byte, error) {
	b, err := hex.DecodeString(l.Hex)
	if err != nil {
		return nil, fmt.Errorf("hex: %w", err)
	}
	return b, nil
}

// ToNode reports the direction.
func (l *Line) ToNode() bool { return l.From == fromClient }

const (
	fromClient = "client"
	fromNode   = "node"
)

// A Recorder writes a record.
type Recorder struct {
	json    *json.Encoder
	started time.Time
}

// NewRecorder begins a record of connections to a node. It keeps secrets as they are when
// the [Tap] shows them.
func NewRecorder(w io.Writer, node string, secrets bool) (*Recorder, error) {
	r := &Recorder{json: json.NewEncoder(w), started: time.Now()}
	r.json.SetEscapeHTML(false)
	head := Head{Record: recordVersion, Node: node, Started: r.started.UTC(), Secrets: Masked}
	if secrets {
		head.Secrets = Shown
	}
	return r, r.encode(head)
}

func (r *Recorder) encode(v any) error {
	if err := r.json.Encode(v); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

func (r *Recorder) write(now time.Time, number int, x Crossing, p *Packet) error {
	line := Line{
		Connection: number, MS: now.Sub(r.started).Milliseconds(), From: fromNode, Kind: x.Kind,
		Announced: x.Announced, Path: x.Path, Header: x.Header, Status: x.Status, RetryAfter: x.RetryAfter,
		Hex: hex.EncodeToString(p.hideShown(x.Bytes)), Secrets: p.Masks, Says: p.Title, Why: x.Why,
	}
	if x.ToNode {
		line.From = fromClient
	}
	if x.Size > len(x.Bytes) {
		line.Size = x.Size
	}
	return r.encode(line)
}

// maxLine is the longest line of a record.
const maxLine = 3*KeptBytes + 64<<10

var errNoRecord = errors.New("this is no record of `tipt tap --record`: its first line has no \"tipt_record\": 1")

// ReadRecord reads a record.
func ReadRecord(from io.Reader) (Head, []Line, error) {
	var head Head
	var lines []Line
	s := bufio.NewScanner(from)
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		if n == 1 {
			if json.Unmarshal(s.Bytes(), &head) != nil || head.Record != recordVersion {
				return head, nil, errNoRecord
			}
			continue
		}
		var l Line
		err := json.Unmarshal(s.Bytes(), &l)
		if err == nil {
			err = l.check()
		}
		if err != nil {
			return head, nil, fmt.Errorf("line %d: %w", n, err)
		}
		lines = append(lines, l)
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) && head.Record == 0 {
		return head, nil, errNoRecord
	}
	if err := s.Err(); err != nil {
		return head, nil, fmt.Errorf("read the record: %w", err)
	}
	if head.Record == 0 {
		return head, nil, errors.New("it is empty")
	}
	return head, lines, nil
}

func (l *Line) check() error {
	b, err := l.Bytes()
	switch {
	case err != nil:
		return err
	case l.From != fromClient && l.From != fromNode:
		return fmt.Errorf("from is %q, not %q or %q", l.From, fromClient, fromNode)
	case l.Size > len(b):
		return fmt.Errorf("only %d of its %d bytes were recorded", len(b), l.Size)
	}
	for _, m := range l.Secrets {
		if m.At < 0 || m.Size < 1 || m.Size > len(b) || m.At > len(b)-m.Size {
			return fmt.Errorf("there is no secret of %d bytes at %d", m.Size, m.At)
		}
	}
	return nil
}
