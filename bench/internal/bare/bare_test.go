package bare

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen listens for TLS as node.example and returns how to dial it.
func listen(t *testing.T) (net.Listener, *tls.Config) {
	t.Helper()
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue("node.example")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "node.example", RootCAs: ca.Pool()}
}

// ends are the two ends of a connection over TLS.
func ends(t *testing.T) (client, server *Conn) {
	t.Helper()
	listener, config := listen(t)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		nc, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		if server, err = Accept(nc); err != nil {
			t.Error(err)
		}
	})
	client, err := Dial(t.Context(), listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	accepting.Wait()
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

// Packets of all sizes cross both ways, one by one and many at once, also after a Shrink.
func TestPackets(t *testing.T) {
	client, server := ends(t)
	for name, way := range map[string][2]*Conn{"to the server": {client, server}, "to the client": {server, client}} {
		t.Run(name, func(t *testing.T) {
			from, to := way[0], way[1]
			sizes := []int{0, 1, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 400, 512, 20_000, 65_450, 65_536, 70_000, 1_990_000, 3, 300, 300, 300}
			var sent sync.WaitGroup
			sent.Go(func() {
				for i, size := range sizes {
					from.Queue(packet(uint8(i), size))
					if i%3 == 2 {
						if err := from.Flush(); err != nil {
							t.Error(err)
						}
					}
				}
				if err := from.Flush(); err != nil {
					t.Error(err)
				}
			})
			for i, size := range sizes {
				b, err := to.Next()
				if err != nil {
					t.Fatal(err)
				}
				if want := tipt.AppendPacket(nil, tipt.RevisionSeed, packet(uint8(i), size)); !bytes.Equal(b, want) {
					t.Fatalf("packet %d of %d bytes: other bytes came, %d", i, len(want), len(b))
				}
				if i%4 == 3 {
					to.Shrink()
				}
			}
			sent.Wait()
		})
	}
}

// Many packets that come at once fill the buffer again and again, and end in its middle.
func TestManyPackets(t *testing.T) {
	client, server := ends(t)
	const packets = 500
	for i := range packets {
		client.Queue(packet(uint8(i), 300+i))
	}
	var sent sync.WaitGroup
	sent.Go(func() {
		if err := client.Flush(); err != nil {
			t.Error(err)
		}
	})
	for i := range packets {
		b, err := server.Next()
		if err != nil {
			t.Fatal(err)
		}
		if want := tipt.AppendPacket(nil, tipt.RevisionSeed, packet(uint8(i), 300+i)); !bytes.Equal(b, want) {
			t.Fatalf("packet %d: other bytes came", i)
		}
	}
	sent.Wait()
}

func packet(id uint8, size int) *tipt.Packet {
	f := tipt.ForwardRequest{Node: "node.example", Sealed: bytes.Repeat([]byte{id}, size)}
	return &tipt.Packet{Version: tipt.Version, ID: id, Body: f.Append(nil)}
}

// scripted is the client's end of a connection on which bytes come, and which keeps what it writes.
func scripted(in string) (*Conn, *bytes.Buffer) {
	written := new(bytes.Buffer)
	return newConn(script{in: strings.NewReader(in), out: written}, true, nil), written
}

type script struct {
	net.Conn // nil: nothing else is called
	in       io.Reader
	out      io.Writer
}

func (s script) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s script) Write(b []byte) (int, error) { return s.out.Write(b) }

// Fragments are joined, and control frames between them answered.
func TestFragments(t *testing.T) {
	c, written := scripted("\x02\x02ab\x89\x01?\x00\x01c\x8a\x00\x80\x02de" + "\x82\x01x" + "\x88\x05\x03\xe9bye")
	for _, want := range []string{"abcde", "x"} {
		b, err := c.Next()
		if err != nil || string(b) != want {
			t.Fatalf("%q, %v, want %q", b, err, want)
		}
	}
	_, err := c.Next()
	var closed *CloseError
	if !errors.As(err, &closed) || closed.Code != tipt.CloseGoingAway || closed.Reason != "bye" {
		t.Errorf("error %v", err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	pong := written.Bytes()
	if len(pong) != 7 || pong[0] != 0x8a || pong[1] != 0x81 || pong[6]^pong[2] != '?' {
		t.Errorf("PONG % x", pong)
	}
}

// What breaks the rules ends the connection.
func TestBroken(t *testing.T) {
	for name, in := range map[string]string{
		"text":                  "\x81\x01x",
		"masked by the server":  "\x82\x81\x00\x00\x00\x00x",
		"longer than a packet":  "\x82\x7f\x00\x00\x00\x00\x7f\xff\xff\xff",
		"longest of all":        "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
		"ends in a header":      "\x82",
		"ends in a payload":     "\x82\x02x",
		"ends between messages": "",
	} {
		c, _ := scripted(in)
		if b, err := c.Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %q, error %v", name, b, err)
		}
	}
}

func TestUpgradeRefused(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 503 Service Unavailable\r\n\r\n":                                        "503",
		"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: another\r\n\r\n":       "not accepted",
		"HTTP/1.1 101 Switching Protocols\r\nX: " + strings.Repeat("x", maxHead) + "\r\n": "head of more than",
		"HTTP/1.1 101 Switching": "EOF",
	} {
		listener, config := listen(t)
		var serving sync.WaitGroup
		serving.Go(func() {
			nc, err := listener.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			if _, _, err := readHead(nc); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(nc, answer) // the client may have seen enough
		})
		_, err := Dial(t.Context(), listener.Addr().String(), config)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want one about %q", answer, err, want)
		}
		serving.Wait()
	}
}

// No certificate but the node's own is taken.
func TestVerified(t *testing.T) {
	listener, config := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		nc, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		if _, err := Accept(nc); err == nil {
			t.Error("the client has gone on")
		}
	})
	config.ServerName = "other.example"
	_, err := Dial(t.Context(), listener.Addr().String(), config)
	serving.Wait()
	var invalid *tls.CertificateVerificationError
	if !errors.As(err, &invalid) {
		t.Errorf("error %v", err)
	}
}
