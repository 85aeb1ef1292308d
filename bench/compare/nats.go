package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const natsStream = "BENCH"

// natsSignIn expects a server that begins with TLS (handshake_first).
func natsSignIn(c *conn, u user) error { return natsEnter(c, u, "bench."+strconv.Itoa(u.index)) }

// natsEnter connects and subscribes to a subject.
func natsEnter(c *conn, u user, subject string) error {
	info, err := c.line()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(info, "INFO ") {
		return fmt.Errorf("%q came, not INFO", info)
	}
	login, err := json.Marshal(map[string]any{"verbose": false, "pedantic": false, "user": shared, "pass": u.password})
	if err != nil {
		return err
	}
	if err := c.send("CONNECT " + string(login) + "\r\nSUB " + subject + " 1\r\nPING\r\n"); err != nil {
		return err
	}
	for {
		line, err := c.line()
		switch {
		case err != nil:
			return err
		case line == "PONG":
			return nil
		case !strings.HasPrefix(line, "INFO "): // it may be told anew
			return fmt.Errorf("%q came, not PONG", line)
		}
	}
}

func natsStay(c *conn) error {
	for {
		if _, _, _, err := natsNext(c); err != nil {
			return err
		}
	}
}

// natsNext reads the next message, and answers each PING before it.
func natsNext(c *conn) (subject, reply string, payload []byte, err error) {
	for {
		line, err := c.line()
		if err != nil {
			return "", "", nil, err
		}
		switch verb, rest, _ := strings.Cut(line, " "); verb {
		case "PING":
			if err := c.send("PONG\r\n"); err != nil {
				return "", "", nil, err
			}
		case "MSG":
			return natsMessage(c, strings.Fields(rest))
		case "INFO", "PONG":
		default:
			return "", "", nil, fmt.Errorf("%q came", line)
		}
	}
}

// natsMessage reads the rest of a message: subject, subscription, perhaps where to reply, size.
func natsMessage(c *conn, words []string) (subject, reply string, payload []byte, err error) {
	if len(words) != 3 && len(words) != 4 {
		return "", "", nil, fmt.Errorf("MSG with %d words", len(words))
	}
	if len(words) == 4 {
		reply = words[2]
	}
	size, err := strconv.Atoi(words[len(words)-1])
	if err != nil || size < 0 || size > maxMessage {
		return "", "", nil, fmt.Errorf("MSG of %q bytes", words[len(words)-1])
	}
	payload = make([]byte, size+len("\r\n"))
	if _, err := io.ReadFull(c.in, payload); err != nil {
		return "", "", nil, fmt.Errorf("read: %w", err)
	}
	return words[0], reply, payload[:size], nil
}

// appendNATS appends a message.
func appendNATS(b []byte, subject, reply string, payload []byte) []byte {
	b = fmt.Appendf(b, "PUB %s %s %d\r\n", subject, reply, len(payload))
	return append(append(b, payload...), "\r\n"...)
}

// natsAsk makes a request of JetStream on a connection that nothing else comes on.
func natsAsk(c *conn, inbox, request string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if err := c.send(string(appendNATS(nil, "$JS.API."+request, inbox, b))); err != nil {
		return err
	}
	_, _, answer, err := natsNext(c)
	if err != nil {
		return err
	}
	return natsRefusal(answer)
}

// natsRefusal is the error that an answer of JetStream has.
func natsRefusal(answer []byte) error {
	var a struct {
		Error *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("answer of JetStream: %w", err)
	}
	if a.Error != nil {
		return fmt.Errorf("JetStream: %s (%d)", a.Error.Description, a.Error.Code)
	}
	return nil
}

// natsPost has one stream, in files, out of which what a receiver has acknowledged goes, and for each
// receiver a consumer that the server keeps. If it syncs what it writes is a matter of its configuration.
var natsPost = post{
	prepare: func(c *conn, u user) error {
		if err := natsEnter(c, u, "prepare"); err != nil {
			return err
		}
		return natsAsk(c, "prepare", "STREAM.CREATE."+natsStream, map[string]any{
			"name": natsStream, "subjects": []string{"bench.*"}, "storage": "file", "retention": "workqueue",
		})
	},
	sender: func(c *conn, u user) error { return natsEnter(c, u, fmt.Sprintf("answer.%d.*", u.index)) },
	receiver: func(c *conn, u user) error {
		to := fmt.Sprintf("deliver.%d", u.index)
		if err := natsEnter(c, u, to); err != nil {
			return err
		}
		return natsAsk(c, to, "CONSUMER.DURABLE.CREATE."+natsStream+"."+u.name(), map[string]any{
			"stream_name": natsStream, "config": map[string]any{
				"durable_name": u.name(), "deliver_subject": to, "ack_policy": "explicit", "filter_subject": "bench." + strconv.Itoa(u.index),
			},
		})
	},
	append: func(b []byte, pair, slot int, content []byte) []byte {
		return appendNATS(b, "bench."+strconv.Itoa(pair), fmt.Sprintf("answer.%d.%d", pair, slot), content)
	},
	answer: func(c *conn) (int, error) {
		subject, _, answer, err := natsNext(c)
		if err != nil {
			return 0, err
		}
		if err := natsRefusal(answer); err != nil {
			return 0, err
		}
		return strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
	},
	take: func(c *conn) ([]byte, error) {
		_, reply, content, err := natsNext(c)
		if err != nil {
			return nil, err
		}
		if reply == "" {
			return nil, errors.New("a message that cannot be acknowledged")
		}
		c.queue(func(b []byte) []byte { return appendNATS(b, reply, "", []byte("+ACK")) })
		return content, nil
	},
}
