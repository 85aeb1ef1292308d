package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// centrifugoToken is a JSON Web Token that says who somebody is and that the server is to subscribe
// them to a channel.
func centrifugoToken(u user) (string, error) {
	claims, err := json.Marshal(map[string]any{"sub": u.name(), "channels": []string{u.name()}})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	sum := hmac.New(sha256.New, []byte(u.password))
	sum.Write([]byte(signed))
	return signed + "." + encode(sum.Sum(nil)), nil
}

func centrifugoSignIn(c *conn, u user) error {
	token, err := centrifugoToken(u)
	if err != nil {
		return err
	}
	if err := wsUpgrade(c, "/connection/websocket"); err != nil {
		return err
	}
	if err := wsSend(c, `{"id":1,"connect":{"token":"`+token+`"}}`); err != nil {
		return err
	}
	b, err := wsNext(c)
	if err != nil {
		return err
	}
	var answer struct {
		Connect *struct {
			Subs map[string]json.RawMessage `json:"subs"`
		} `json:"connect"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return fmt.Errorf("answer to connect: %w", err)
	}
	if answer.Connect == nil || answer.Connect.Subs[u.name()] == nil {
		return fmt.Errorf("answer to connect: %s", b)
	}
	return nil
}

// centrifugoStay answers the server's pings, which are empty commands.
func centrifugoStay(c *conn) error {
	for {
		b, err := wsNext(c)
		if err != nil {
			return err
		}
		if string(b) == "{}" {
			if err := wsSend(c, "{}"); err != nil {
				return err
			}
		}
	}
}
