package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go/bench"
)

// A broker is a server that passes messages on. In place of the n-th that comes it delivers what fault makes of it.
type broker struct {
	fault func(n int, content []byte) [][]byte

	mu           sync.Mutex // guards the following fields
	takers       map[string]*conn
	came, acked  int
	held         []byte
	refusesAfter int // messages; 0: never
}

// deliver returns who takes messages of a subject, and which.
func (b *broker) deliver(subject string, content []byte) (*conn, [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.came++
	all := [][]byte{content}
	if b.fault != nil {
		all = b.fault(b.came, bytes.Clone(content))
	}
	return b.takers[subject], all
}

func (b *broker) subscribe(subject string, c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takers[subject] = c
}

func (b *broker) acknowledge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked++
}

func (b *broker) mqtt(c *conn) error {
	for {
		first, body, err := mqttNext(c)
		if err != nil {
			return nil // it has gone
		}
		answer := ""
		switch first {
		case mqttConnect:
			answer = "\x20\x02\x00\x00"
		case mqttSubscribe:
			b.subscribe(string(body[4:len(body)-1]), c)
			answer = "\x90\x03\x00\x01\x01"
		case mqttPublish | mqttAtLeast:
			n := 2 + int(binary.BigEndian.Uint16(body))
			to, all := b.deliver(string(body[2:n]), body[n+2:])
			for _, content := range all {
				if err := to.send(string(appendMQTT(nil, first, body[:n], []byte{7, 7}, content))); err != nil {
					return nil
				}
			}
			answer = "\x40\x02" + string(body[n:n+2])
		case mqttPubAck:
			if string(body) != "\x07\x07" {
				return fmt.Errorf("PUBACK % x", body)
			}
			b.acknowledge()
		default:
			return fmt.Errorf("packet %#x came", first)
		}
		if err := c.send(answer); err != nil {
			return nil
		}
	}
}

func (b *broker) nats(c *conn) error {
	if err := c.send(info); err != nil {
		return err
	}
	for {
		line, err := c.line()
		if err != nil {
			return nil // it has gone
		}
		answer := ""
		switch words := strings.Fields(line); words[0] {
		case "CONNECT":
		case "PING":
			answer = "PONG\r\n"
		case "SUB":
			b.subscribe(words[1], c)
		case "PUB":
			subject, reply, content, err := natsMessage(c, append([]string{words[1], "1"}, words[2:]...))
			if err != nil {
				return err
			}
			switch number, ours := strings.CutPrefix(subject, "bench."); {
			case ours:
				to, all := b.deliver("deliver."+number, content)
				for _, content := range all {
					if err := to.send(fmt.Sprintf("MSG deliver.%s 1 $JS.ACK.x %d\r\n%s\r\n", number, len(content), content)); err != nil {
						return nil
					}
				}
				answer = b.answerNATS(reply)
			case subject == "$JS.ACK.x" && string(content) == "+ACK":
				b.acknowledge()
			case strings.HasPrefix(subject, "$JS.API."):
				answer = "MSG " + reply + " 1 2\r\n{}\r\n"
			default:
				return fmt.Errorf("message to %s", subject)
			}
		default:
			return fmt.Errorf("%q came", line)
		}
		if err := c.send(answer); err != nil {
			return nil
		}
	}
}

// answerNATS is what a sender is told.
func (b *broker) answerNATS(reply string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := `{"stream":"BENCH","seq":1}`
	if b.refusesAfter > 0 && b.came > b.refusesAfter {
		text = `{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}`
	}
	return fmt.Sprintf("MSG %s 1 %d\r\n%s\r\n", reply, len(text), text)
}

// run has a broker carry a small load.
func (b *broker) run(t *testing.T, name string) (*bench.Report, error) {
	t.Helper()
	b.takers = make(map[string]*conn)
	s := serve(t, name, map[string]func(*conn) error{"mqtt": b.mqtt, "nats": b.nats}[name])
	s.patience = 2 * time.Second
	if b.fault != nil {
		s.patience = 300 * time.Millisecond
	}
	return s.pairs(t.Context(), load{pairs: 3, outstanding: 4, size: 200, messages: 100})
}

func TestPairs(t *testing.T) {
	for _, name := range []string{"mqtt", "nats"} {
		t.Run(name, func(t *testing.T) {
			b := new(broker)
			r, err := b.run(t, name)
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := r.Figures.Get("messages"); n != 100 || r.Mistakes.Any() {
				t.Errorf("%v messages, %v", n, &r.Mistakes)
			}
			for _, name := range []string{"messages_per_second", "server_cpu_us_per_message", "server_busy_percent", "generator_busy_percent"} {
				if v, _ := r.Figures.Get(name); v <= 0 {
					t.Errorf("%s is %v", name, v)
				}
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			// Acknowledgements go with what is written next, and after the last one there is nothing.
			if b.acked < 100-3*4 {
				t.Errorf("%d of 100 messages were acknowledged", b.acked)
			}
		})
	}
}

// What a server does wrong with the 50th message is told.
func TestBadServers(t *testing.T) {
	for _, name := range []string{"mqtt", "nats"} {
		for wrong, test := range map[string]struct {
			fault func(b *broker, content []byte) [][]byte
			count func(m bench.Mistakes) int
		}{
			"lost":    {func(*broker, []byte) [][]byte { return nil }, func(m bench.Mistakes) int { return m.Lost }},
			"doubled": {func(_ *broker, c []byte) [][]byte { return [][]byte{c, c} }, func(m bench.Mistakes) int { return m.Doubled }},
			"altered": {func(_ *broker, c []byte) [][]byte { c[100]++; return [][]byte{c} }, func(m bench.Mistakes) int { return m.Altered }},
			"cut":     {func(_ *broker, c []byte) [][]byte { return [][]byte{c[:3]} }, func(m bench.Mistakes) int { return m.Altered }},
			"held":    {func(b *broker, c []byte) [][]byte { b.held = c; return nil }, func(m bench.Mistakes) int { return m.Misordered }},
		} {
			t.Run(name+" "+wrong, func(t *testing.T) {
				b := new(broker)
				b.fault = func(n int, content []byte) [][]byte {
					if n == 50 {
						return test.fault(b, content)
					}
					if b.held != nil && bytes.Equal(content[:4], b.held[:4]) { // the next one of its pair
						all := [][]byte{content, b.held}
						b.held = nil
						return all
					}
					return [][]byte{content}
				}
				r, err := b.run(t, name)
				if err != nil || test.count(r.Mistakes) == 0 {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
	}
}

func TestRefusedMessage(t *testing.T) {
	b := &broker{refusesAfter: 50}
	if _, err := b.run(t, "nats"); err == nil || !strings.Contains(err.Error(), "maximum messages exceeded") {
		t.Error(err)
	}
}

func TestLoads(t *testing.T) {
	good := load{pairs: 1, outstanding: 1, size: headSize, messages: 4}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(l *load){
		func(l *load) { l.pairs = 0 },
		func(l *load) { l.outstanding = 0 },
		func(l *load) { l.outstanding = maxOutstanding + 1 },
		func(l *load) { l.size = headSize - 1 },
		func(l *load) { l.size = maxMessage },
		func(l *load) { l.messages = 3 },
	} {
		l := good
		if change(&l); l.check() == nil {
			t.Errorf("%+v is possible", l)
		}
	}
}
