package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go/internal/devca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "secret-of-all"

// serve has a server answer connections, one goroutine for each, until the test ends, and returns the
// site of it.
func serve(t *testing.T, name string, answer func(*conn) error) site {
	t.Helper()
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue("bench.example")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer nc.Close()
				c := tls.Server(nc, config)
				if err := answer(&conn{tls: c, in: bufio.NewReader(c)}); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		served.Wait()
	})
	s := site{password: password, patience: 10 * time.Second, config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "bench.example", RootCAs: ca.Pool()}}
	return s.of(server{Protocol: name, Address: listener.Addr().String(), PID: []int{os.Getpid()}})
}

// A step of a server: what it waits for, and what it then says.
type step struct{ wait, say string }

// play has a server take steps, and then end the connection.
func play(c *conn, steps []step) error {
	var heard strings.Builder
	for _, s := range steps {
		for !strings.Contains(heard.String(), s.wait) {
			b, err := c.in.ReadByte()
			if err != nil {
				return errors.New("awaited " + s.wait + ", heard only " + heard.String())
			}
			heard.WriteByte(b)
		}
		if s.wait != "" {
			heard.Reset()
		}
		if err := c.send(s.say); err != nil {
			return err
		}
	}
	return nil
}

// frame is a text of a WebSocket server.
func frame(text string) string {
	b := appendFrame(nil, wsText, text)
	head := 2
	if b[1] == wsMasked|126 {
		head = 4
	}
	b[1] &^= wsMasked
	return string(b[:head]) + text
}

const (
	switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
	features  = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
	header    = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='bench.example' id='x' xmlns='jabber:client'>"
	opened    = "<stream:stream to='bench.example'"
	info      = `INFO {"server_id":"X","version":"2","proto":1}` + "\r\n"
)

// signIns are servers that let bench7 in and then, where servers do such things, see whether it is alive.
var signIns = map[string][]step{
	"mqtt": {
		{"\x10\x28\x00\x04MQTT\x04\xc2\x00\x00\x00\x06bench7\x00\x05bench\x00\x0d" + password, "\x20\x02\x00\x00"},
		{"\x82\x0c\x00\x01\x00\x07bench/7\x01", "\x90\x03\x00\x01\x01"},
	},
	"nats": {
		{"", info},
		{`CONNECT {"pass":"secret-of-all","pedantic":false,"user":"bench","verbose":false}` + "\r\nSUB bench.7 1\r\nPING\r\n", info + "PONG\r\n"},
		{"", "MSG bench.7 1 5\r\nhello\r\nMSG bench.7 1 reply.to 6\r\nPING\r\n\r\nPING\r\n"},
		{"PONG\r\n", ""},
	},
	"irc": {
		{"CAP REQ :sasl\r\nNICK bench7\r\nUSER bench 0 * bench\r\nAUTHENTICATE PLAIN\r\n", ":irc.example CAP * ACK :sasl\r\nPING early\r\nAUTHENTICATE +\r\n"},
		{"PONG early\r\n", ""},
		{"AUTHENTICATE AGJlbmNoNwBzZWNyZXQtb2YtYWxs\r\n", ":irc.example 900 * * bench7 :You are now logged in\r\n@time=x :irc.example 903 * :good\r\n"},
		{"CAP END\r\n", ":irc.example 001 bench7 :Welcome\r\n:irc.example 376 bench7 :End of MOTD command\r\n"},
		{"", ":friend!u@h PRIVMSG bench7 :PING me\r\n:irc.example PING :are you there\r\n"},
		{"PONG :are you there\r\n", ""},
	},
	"centrifugo": {
		{"GET /connection/websocket HTTP/1.1\r\nHost: bench.example\r\n", ""},
		{"\r\n\r\n", switching},
		{`{"id":1,"connect":{"token":"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjaGFubmVscyI6WyJiZW5jaDciXSwic3ViIjoiYmVuY2g3In0.`, ""},
		{`"}}`, frame(`{"id":1,"connect":{"client":"a","version":"6","subs":{"bench7":{}},"ping":25,"pong":true,"filler":"` + strings.Repeat("x", 300) + `"}}`)},
		{"", frame("{}")},
		{"{}", "\x89\x05alive"},
		{"\x8a\x85\x00\x00\x00\x00alive", ""},
	},
	"tinode": {
		{"GET /v0/channels?apikey=", ""},
		{"\r\n\r\n", switching},
		{`{"hi":{"id":"1",`, ""},
		{"}}", frame(`{"ctrl":{"id":"1","code":201,"text":"created"}}`)},
		{`{"login":{"id":"1","scheme":"basic","secret":"YmVuY2g3OnNlY3JldC1vZi1hbGw="}}`, frame(`{"ctrl":{"id":"1","code":200,"text":"ok"}}`)},
		{`{"sub":{"id":"1","topic":"me"}}`, frame(`{"pres":{"topic":"me"}}`) + frame(`{"ctrl":{"id":"1","code":200,"text":"ok"}}`)},
		{"", "\x89\x00"},
		{"\x8a\x80\x00\x00\x00\x00", ""},
	},
	"xmpp": {
		{opened, header + features},
		{"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGJlbmNoNwBzZWNyZXQtb2YtYWxs</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"},
		{opened, header + "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"},
		{"<iq type='set' id='bench'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", "\n<iq id='bench' type='result'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>bench7@bench.example/r</jid></bind></iq>"},
		{"<presence/>", "<presence from='bench7@bench.example/r'/>"},
	},
}

func TestSignIn(t *testing.T) {
	if len(signIns) != len(protocols) {
		t.Errorf("%d protocols, %d are tested", len(protocols), len(signIns))
	}
	for name, steps := range signIns {
		t.Run(name, func(t *testing.T) {
			s := serve(t, name, func(c *conn) error { return play(c, steps) })
			c, err := s.dial(t.Context(), s.user(7), s.signIn)
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			if err := s.stay(c); !errors.Is(err, io.EOF) {
				t.Errorf("it stays until %v", err)
			}
		})
	}
}

// A server that ends the sign-in, or says no, is not counted as one that let its client in.
func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name, want string
		steps      []step
	}{
		{"mqtt", "CONNACK 00 05", []step{{password, "\x20\x02\x00\x05"}}},
		{"mqtt", "SUBACK 00 01 80", []step{{password, "\x20\x02\x00\x00"}, {"bench/7\x01", "\x90\x03\x00\x01\x80"}}},
		{"mqtt", "packet 0xd0 came", []step{{password, "\xd0\x00"}}},
		{"mqtt", "a packet of 268435455 bytes", []step{{password, "\x20\xff\xff\xff\x7f"}}},
		{"nats", "Authorization Violation", []step{{"", info}, {"PING\r\n", "-ERR 'Authorization Violation'\r\n"}}},
		{"nats", "not INFO", []step{{"", "HELLO\r\n"}}},
		{"irc", "904", []step{{"PLAIN\r\n", "AUTHENTICATE +\r\n"}, {"AGJ", ":x 904 * :SASL authentication failed\r\n"}}},
		{"irc", "Too many", []step{{"PLAIN\r\n", "ERROR :Too many connections\r\n"}}},
		{"centrifugo", "404", []step{{"\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"}}},
		{"centrifugo", "invalid token", []step{{"\r\n\r\n", switching}, {"}}", "\x88\x0f\x0d\xacinvalid token"}}},
		{"centrifugo", "permission denied", []step{{"\r\n\r\n", switching}, {"}}", frame(`{"id":1,"error":{"code":103,"message":"permission denied"}}`)}}},
		{"centrifugo", `"client"`, []step{{"\r\n\r\n", switching}, {"}}", frame(`{"id":1,"connect":{"client":"a"}}`)}}},
		{"tinode", "401", []step{{"\r\n\r\n", switching}, {"}}", frame(`{"ctrl":{"id":"1","code":201}}`)}, {"}}", frame(`{"ctrl":{"id":"1","code":401,"text":"authentication failed"}}`)}}},
		{"xmpp", "not-authorized", []step{{opened, header + features}, {"</auth>", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"}}},
		{"xmpp", "host-unknown", []step{{opened, header + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"}}},
	} {
		t.Run(test.name+" "+test.want, func(t *testing.T) {
			s := serve(t, test.name, func(c *conn) error { return play(c, test.steps) })
			c, err := s.dial(t.Context(), s.user(7), s.signIn)
			if err == nil {
				c.close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestRegister(t *testing.T) {
	ask := "<query xmlns='jabber:iq:register'><username>bench0</username><password>" + password + "</password></query></iq>"
	tinode := func(code string) []step {
		return []step{
			{"\r\n\r\n", switching},
			{"}}", frame(`{"ctrl":{"id":"1","code":201}}`)},
			{`{"acc":{"id":"1","scheme":"basic","secret":"YmVuY2gwOnNlY3JldC1vZi1hbGw=","user":"new"}}`, frame(`{"ctrl":{"id":"1","code":` + code + `}}`)},
		}
	}
	xmpp := func(condition string) []step {
		return []step{{opened, header + features}, {ask, "<iq type='error' id='bench'><error type='cancel'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"}}
	}
	irc := func(answer string) []step { return []step{{"REGISTER * * " + password + "\r\n", answer}} }
	for _, test := range []struct {
		name, title, want string
		steps             []step
	}{
		{"irc", "new", "", irc("CAP * ACK :draft/account-registration\r\nREGISTER SUCCESS bench0 :Account created\r\n")},
		{"irc", "there already", "", irc(":x FAIL REGISTER ACCOUNT_EXISTS bench0 :Account already exists\r\n")},
		{"irc", "refused", "TEMPORARILY_UNAVAILABLE", irc(":x FAIL REGISTER TEMPORARILY_UNAVAILABLE bench0 :no\r\n")},
		{"xmpp", "new", "", []step{{opened, header + features}, {ask, "<iq type='result' id='bench'/>"}}},
		{"xmpp", "there already", "", xmpp("conflict")},
		{"xmpp", "refused", "not-acceptable", xmpp("not-acceptable")},
		{"tinode", "new", "", tinode("201")},
		{"tinode", "there already", "", tinode("409")},
		{"tinode", "refused", "403", tinode("403")},
		{"mqtt", "from the configuration", "configuration", nil},
	} {
		t.Run(test.name+" "+test.title, func(t *testing.T) {
			s := serve(t, test.name, func(c *conn) error { return play(c, test.steps) })
			err := s.register(t.Context(), 1)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestIdle(t *testing.T) {
	let := func(leave bool) func(c *conn) error {
		return func(c *conn) error {
			if _, _, err := mqttNext(c); err != nil {
				return err
			}
			if err := c.send("\x20\x02\x00\x00"); err != nil {
				return err
			}
			if _, _, err := mqttNext(c); err != nil {
				return err
			}
			if err := c.send("\x90\x03\x00\x01\x01"); err != nil || leave {
				return err
			}
			_ = discard(c)
			return nil
		}
	}
	r, err := serve(t, "mqtt", let(false)).idle(t.Context(), 20, "true")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server_bytes_before", "bytes_per_connection", "bytes_per_connection_collected"} {
		if _, ok := r.Figures.Get(name); !ok {
			t.Errorf("no %s in %v", name, r.Figures)
		}
	}
	if n, _ := r.Figures.Get("connections"); n != 20 || r.Mistakes.Any() {
		t.Errorf("%v connections, %v", n, &r.Mistakes)
	}
	// Those that a server cuts off are told. The collection takes as long as that.
	if r, err = serve(t, "mqtt", let(true)).idle(t.Context(), 3, "sleep 0.5"); err != nil || r.Mistakes.Cut != 3 {
		t.Errorf("%+v, %v, want 3 cut off", r, err)
	}
}

// A server that says nothing is given up.
func TestPatience(t *testing.T) {
	s := serve(t, "nats", func(c *conn) error {
		_ = discard(c) // until it has gone
		return nil
	})
	s.patience = 50 * time.Millisecond
	if _, err := s.dial(t.Context(), s.user(0), s.signIn); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
