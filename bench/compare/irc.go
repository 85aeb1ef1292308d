package main

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// plain is SASL PLAIN (RFC 4616) in base64.
func plain(name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + name + "\x00" + password))
}

// ircNext reads the next message but PINGs, which it answers: its command, and all of it.
func ircNext(c *conn) (command, line string, err error) {
	for {
		if line, err = c.line(); err != nil {
			return "", "", err
		}
		words := strings.Fields(line)
		if len(words) > 0 && (words[0][0] == '@' || words[0][0] == ':') { // tags, source
			words = words[1:]
		}
		if len(words) > 0 && words[0][0] == ':' {
			words = words[1:]
		}
		switch {
		case len(words) == 0:
		case words[0] == "PING":
			_, token, _ := strings.Cut(line, "PING ")
			if err := c.send("PONG " + token + "\r\n"); err != nil {
				return "", "", err
			}
		case words[0] == "ERROR":
			return "", "", fmt.Errorf("the server says %q", line)
		default:
			return words[0], line, nil
		}
	}
}

// ircAwait reads until one of some commands comes. Numbers from 400 on are errors,
// but for the one that tells a client who it is now.
func ircAwait(c *conn, commands ...string) (string, error) {
	for {
		command, line, err := ircNext(c)
		if err != nil {
			return "", err
		}
		for _, want := range commands {
			if command == want {
				return line, nil
			}
		}
		if len(command) == 3 && command[0] >= '4' && command[0] <= '9' && command != ircLoggedIn || command == "FAIL" {
			return "", fmt.Errorf("the server says %q", line)
		}
	}
}

// Numbers of messages that are awaited.
const (
	ircLoggedIn    = "900"
	ircSASLSuccess = "903"
	ircEndOfMOTD   = "376"
	ircNoMOTD      = "422"
)

// ircRegister wants draft/account-registration.
func ircRegister(c *conn, u user) error {
	if err := c.send("CAP REQ :draft/account-registration\r\nNICK " + u.name() + "\r\nUSER bench 0 * bench\r\nREGISTER * * " + u.password + "\r\n"); err != nil {
		return err
	}
	for {
		command, line, err := ircNext(c)
		switch {
		case err != nil:
			return err
		case command == "REGISTER", strings.Contains(line, " ACCOUNT_EXISTS "):
			return nil
		case command == "FAIL":
			return fmt.Errorf("the server says %q", line)
		}
	}
}

func ircSignIn(c *conn, u user) error {
	if err := c.send("CAP REQ :sasl\r\nNICK " + u.name() + "\r\nUSER bench 0 * bench\r\nAUTHENTICATE PLAIN\r\n"); err != nil {
		return err
	}
	if _, err := ircAwait(c, "AUTHENTICATE"); err != nil {
		return err
	}
	if err := c.send("AUTHENTICATE " + plain(u.name(), u.password) + "\r\n"); err != nil {
		return err
	}
	if _, err := ircAwait(c, ircSASLSuccess); err != nil {
		return err
	}
	if err := c.send("CAP END\r\n"); err != nil {
		return err
	}
	_, err := ircAwait(c, ircEndOfMOTD, ircNoMOTD)
	return err
}

func ircStay(c *conn) error {
	for {
		if _, _, err := ircNext(c); err != nil {
			return err
		}
	}
}
