package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Control packets of MQTT 3.1.1, section 2.2, with the flags that they have here.
const (
	mqttConnect    = 0x10
	mqttConnAck    = 0x20
	mqttPublish    = 0x30
	mqttPubAck     = 0x40
	mqttSubscribe  = 0x82
	mqttSubAck     = 0x90
	mqttAtLeast    = 0x02 // flag of a PUBLISH: quality of service 1, to be acknowledged
	mqttClean      = 0x02 // flag of a CONNECT: forget the session at its end
	mqttCredential = 0xc0 // flags of a CONNECT: name and password follow
)

// appendMQTT appends a control packet.
func appendMQTT(b []byte, first byte, parts ...[]byte) []byte {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	b = binary.AppendUvarint(append(b, first), uint64(size)) // section 2.2.3 has the same form
	for _, part := range parts {
		b = append(b, part...)
	}
	return b
}

// mqttString is a string with its length.
func mqttString(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// mqttNext reads a control packet.
func mqttNext(c *conn) (first byte, body []byte, err error) {
	if first, err = c.in.ReadByte(); err != nil {
		return 0, nil, fmt.Errorf("read: %w", err)
	}
	size, err := binary.ReadUvarint(c.in)
	if err != nil {
		return 0, nil, fmt.Errorf("read: %w", err)
	}
	if size > maxMessage {
		return 0, nil, fmt.Errorf("a packet of %d bytes", size)
	}
	body = make([]byte, size)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, nil, fmt.Errorf("read: %w", err)
	}
	return first, body, nil
}

// mqttAsk sends a packet and reads the answer, which is to be want.
func mqttAsk(c *conn, packet []byte, want byte) ([]byte, error) {
	if err := c.send(string(packet)); err != nil {
		return nil, err
	}
	first, body, err := mqttNext(c)
	if err == nil && first != want {
		err = fmt.Errorf("packet %#x came, not %#x", first, want)
	}
	return body, err
}

// mqttEnter connects as a client that nobody expects to hear from (keep-alive 0).
func mqttEnter(c *conn, id, password string, flags byte) error {
	body, err := mqttAsk(c, appendMQTT(nil, mqttConnect, mqttString("MQTT"), []byte{4, mqttCredential | flags, 0, 0},
		mqttString(id), mqttString(shared), mqttString(password)), mqttConnAck)
	if err != nil {
		return err
	}
	if len(body) != 2 || body[1] != 0 {
		return fmt.Errorf("CONNACK % x", body)
	}
	return nil
}

// mqttListen subscribes to a topic with quality of service 1.
func mqttListen(c *conn, topic string) error {
	const id = "\x00\x01"
	body, err := mqttAsk(c, appendMQTT(nil, mqttSubscribe, []byte(id), mqttString(topic), []byte{1}), mqttSubAck)
	if err != nil {
		return err
	}
	if string(body) != id+"\x01" {
		return fmt.Errorf("SUBACK % x", body)
	}
	return nil
}

func mqttTopic(index int) string { return "bench/" + strconv.Itoa(index) }

func mqttSignIn(c *conn, u user) error {
	if err := mqttEnter(c, u.name(), u.password, mqttClean); err != nil {
		return err
	}
	return mqttListen(c, mqttTopic(u.index))
}

// mqttPost has receivers whose sessions the server keeps, and quality of service 1 on both ways.
var mqttPost = post{
	sender: func(c *conn, u user) error { return mqttEnter(c, "from-"+u.name(), u.password, mqttClean) },
	receiver: func(c *conn, u user) error {
		if err := mqttEnter(c, "to-"+u.name(), u.password, 0); err != nil {
			return err
		}
		return mqttListen(c, mqttTopic(u.index))
	},
	append: func(b []byte, pair, slot int, content []byte) []byte {
		id := binary.BigEndian.AppendUint16(nil, uint16(slot+1)) // 0 is none
		return appendMQTT(b, mqttPublish|mqttAtLeast, mqttString(mqttTopic(pair)), id, content)
	},
	answer: func(c *conn) (int, error) {
		first, body, err := mqttNext(c)
		if err != nil {
			return 0, err
		}
		if first != mqttPubAck || len(body) != 2 {
			return 0, fmt.Errorf("packet %#x came, not a PUBACK", first)
		}
		return int(binary.BigEndian.Uint16(body)) - 1, nil
	},
	take: mqttTake,
}

func mqttTake(c *conn) ([]byte, error) {
	first, body, err := mqttNext(c)
	if err != nil {
		return nil, err
	}
	if first&0xf6 != mqttPublish|mqttAtLeast { // it may be sent again, or kept
		return nil, fmt.Errorf("packet %#x came, not a PUBLISH", first)
	}
	topic := 0
	if len(body) >= 2 {
		topic = int(binary.BigEndian.Uint16(body))
	}
	if len(body) < 2+topic+2 {
		return nil, errors.New("a PUBLISH that ends early")
	}
	id := body[2+topic:][:2]
	c.queue(func(b []byte) []byte { return appendMQTT(b, mqttPubAck, id) })
	return body[2+topic+2:], nil
}
