package main_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
)

// A confidant is a conversation of which nothing may be in the log.
type confidant struct {
	*testing.T
	daemon  *tipttest.Daemon
	addr    string
	secrets map[string]string // what each is, by the secret
}

// secret notes something that must not be logged, also not encoded.
func (c *confidant) secret(what string, secret []byte) {
	c.secrets[string(secret)] = what
	c.secrets[hex.EncodeToString(secret)] = what + " in hex"
	c.secrets[strings.TrimRight(base64.StdEncoding.EncodeToString(secret), "=")] = what + " in base64"
	c.secrets[strings.TrimRight(base64.URLEncoding.EncodeToString(secret), "=")] = what + " in base64 for URLs"
	c.secrets[fmt.Sprint(secret)] = what + " in decimals"
}

// connect opens a connection, whose address is nobody's business.
func (c *confidant) connect(deliver listener) *conn {
	c.Helper()
	conn, err := dial(c.Context(), c.daemon, c.addr, deliver)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(conn.hang)
	c.secrets[conn.local] = "address of a client"
	return conn
}

// raw opens a TCP connection.
func (c *confidant) raw() *net.TCPConn {
	c.Helper()
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = conn.Close() }) // closed already
	c.secrets[conn.LocalAddr().String()] = "address of a client"
	return conn.(*net.TCPConn)
}

// Whatever happens, no content, no secret and no client's address is logged, at any level
// and in either form.
func TestLogKeepsSecrets(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			d := tipttest.NewDaemon(t, tiptd, "--registration", "invite", "--limits", "on", "--log-format", format, "--log-level", "debug")
			p := d.Start(t)
			c := &confidant{T: t, daemon: d, addr: p.Addr, secrets: make(map[string]string)}
			c.converse()
			c.misbehave()
			key, err := os.ReadFile(filepath.Join(d.Data, "node.key"))
			if err != nil {
				t.Fatal(err)
			}
			c.secret("the node's key", key)
			p.Stop()

			log := p.Log()
			for secret, what := range c.secrets {
				if at := strings.Index(log, secret); at >= 0 {
					begin := strings.LastIndexByte(log[:at], '\n') + 1
					line, _, _ := strings.Cut(log[begin:], "\n")
					t.Errorf("the log has %s:\n%s", what, line)
				}
			}
			// There is a log in which it could have been.
			lines := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
			if len(lines) < 10 {
				t.Errorf("the log is short:\n%s", log)
			}
			for _, line := range lines {
				if strings.HasPrefix(line, "listening on ") {
					continue
				}
				if isJSON := json.Valid([]byte(line)); isJSON != (format == "json") {
					t.Errorf("this line is not of the format %s: %s", format, line)
				}
			}
		})
	}
}

// converse does what clients do.
func (c *confidant) converse() {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	must := func(what string, err error) {
		c.Helper()
		if err != nil {
			c.Fatalf("%s: %v", what, err)
		}
	}
	ask := func(conn *conn, code tipt.NodeRequest, body []byte) {
		c.Helper()
		_, err := conn.ask(ctx, code, body)
		must(code.String(), err)
	}
	const newPassword = "wrong donkey"
	c.secret("a password", []byte(password))
	c.secret("a password", []byte(newPassword))
	in := make(map[string]*conn)
	for _, name := range []string{"ada", "bob"} {
		invite := strings.TrimSpace(admin(c.T, c.daemon, "invite", "new"))
		c.secret("an invitation", []byte(invite))
		conn := c.connect(func(r *link.Request) { r.Fail(&tipt.Error{Code: tipt.ErrInternal, Message: "no, thanks"}) })
		must("register", conn.register(ctx, name, password, invite))
		response, err := conn.signIn(ctx, tipt.SignInRequest{User: name, Password: password, Receive: true})
		must("sign in", err)
		c.secret("a token", response.Token)
		in[name] = conn
	}
	key, err := in["ada"].certificate(ctx)
	must("GET_NODE_KEY", err)
	content := []byte("meet me at the lighthouse")
	c.secret("a message", content)
	for _, wait := range []bool{true, false} {
		for _, to := range []string{"bob", "nobody"} {
			id := tipt.NewMessageID()
			body, err := message(key, c.daemon.Name, to, id, content, wait)
			must("seal", err)
			c.secret("a sealed message", body)
			ask(in["ada"], tipt.RequestForward, body)
		}
	}
	if _, err := in["ada"].ask(ctx, tipt.RequestForward, tipt.ForwardRequest{Node: string(c.daemon.Name), Wait: true, Sealed: content}.Append(nil)); err == nil {
		c.Error("what is not sealed was forwarded")
	}
	ask(in["ada"], tipt.RequestSetKey, tipt.SetKeyRequest{Key: key.Bytes()}.Append(nil))
	ask(in["ada"], tipt.RequestSetPassword, tipt.SetPasswordRequest{Old: password, New: newPassword}.Append(nil))
	ask(in["ada"], tipt.RequestRemoveDevice, tipt.RemoveDeviceRequest{Device: "phone"}.Append(nil))
	admin(c.T, c.daemon, "user", "disable", "bob")
	in["bob"].wantClose(c.T, tipt.CloseSignedOut)
	ask(in["ada"], tipt.RequestDeleteAccount, tipt.DeleteAccountRequest{Password: newPassword}.Append(nil))
	in["ada"].wantClose(c.T, tipt.CloseSignedOut)
}

// misbehave does what no client should.
func (c *confidant) misbehave() {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	// Wrong passwords, until the node makes them wait.
	guess := c.connect(nil)
	c.secret("a guess", []byte("wrong guess"))
	for busy := false; !busy; {
		_, err := guess.signIn(ctx, tipt.SignInRequest{User: "bob", Password: "wrong guess"})
		if busy = !errors.Is(err, tipt.ErrCredentials); busy {
			wantCode(c.T, "a guess", err, tipt.ErrBusy)
		}
	}
	// No TLS, a TLS connection that is dropped, and one that is reset, at several moments.
	plain := c.raw()
	if _, err := plain.Write([]byte("GET / HTTP/1.1\r\nHost: node.example\r\n\r\n")); err != nil {
		c.Fatal(err)
	}
	config := &tls.Config{ServerName: string(c.daemon.Name), RootCAs: c.daemon.CA.Pool(), MinVersion: tls.VersionTLS12}
	const upgrade = "GET /secret-path HTTP/1.1\r\nHost: node.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	c.secret("a path", []byte("secret-path"))
	for _, sent := range []string{
		"",
		"GET /secret-path HTTP/1.1\r\nHost: node.example\r\n\r\n",
		"no HTTP at all\r\n\r\n",
		strings.Replace(upgrade, "13", "7", 1),
		upgrade,
		upgrade + "\x82\xfe\x01\x00",                         // a part of a message
		upgrade + "\x81\x85\x00\x00\x00\x00lemon",            // a text message
		upgrade + "\x82\x85\x00\x00\x00\x00lemon",            // no packet
		upgrade + "\x82\x05lemon",                            // not masked
		upgrade + "\x82\xff\x7f\x00\x00\x00\x00\x00\x00\x00", // long
	} {
		for _, reset := range []bool{false, true} {
			tcp := c.raw()
			conn := tls.Client(tcp, config)
			if err := conn.HandshakeContext(ctx); err != nil {
				c.Fatal(err)
			}
			if _, err := conn.Write([]byte(sent)); err != nil {
				c.Fatal(err)
			}
			if strings.HasPrefix(sent, upgrade) {
				if _, err := conn.Read(make([]byte, 1000)); err != nil { // 101
					c.Fatal(err)
				}
			}
			if reset {
				if err := tcp.SetLinger(0); err != nil {
					c.Fatal(err)
				}
			}
			if err := tcp.Close(); err != nil {
				c.Fatal(err)
			}
		}
	}
}
