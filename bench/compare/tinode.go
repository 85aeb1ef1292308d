package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
)

// tinodePath has the key of programs that Tinode's configuration comes with.
const tinodePath = "/v0/channels?apikey=AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K"

// tinodeAsk makes a request, and returns the code of the answer.
func tinodeAsk(c *conn, kind string, request map[string]any) (int, error) {
	const id = "1"
	request["id"] = id
	b, err := json.Marshal(map[string]any{kind: request})
	if err != nil {
		return 0, err
	}
	if err := wsSend(c, string(b)); err != nil {
		return 0, err
	}
	for {
		b, err := wsNext(c)
		if err != nil {
			return 0, err
		}
		var answer struct {
			Ctrl struct {
				ID   string `json:"id"`
				Code int    `json:"code"`
				Text string `json:"text"`
			} `json:"ctrl"`
		}
		if err := json.Unmarshal(b, &answer); err != nil {
			return 0, fmt.Errorf("answer to %s: %w", kind, err)
		}
		if answer.Ctrl.ID != id {
			continue // it says something else first
		}
		if code := answer.Ctrl.Code; code < 200 || code > 299 {
			return code, fmt.Errorf("answer to %s: %d %s", kind, code, answer.Ctrl.Text)
		}
		return answer.Ctrl.Code, nil
	}
}

// tinodeGreet upgrades and greets.
func tinodeGreet(c *conn) error {
	if err := wsUpgrade(c, tinodePath); err != nil {
		return err
	}
	_, err := tinodeAsk(c, "hi", map[string]any{"ver": "0.25", "ua": "bench"})
	return err
}

func tinodeSecret(u user) string {
	return base64.StdEncoding.EncodeToString([]byte(u.name() + ":" + u.password))
}

func tinodeRegister(c *conn, u user) error {
	if err := tinodeGreet(c); err != nil {
		return err
	}
	code, err := tinodeAsk(c, "acc", map[string]any{"user": "new", "scheme": "basic", "secret": tinodeSecret(u)})
	if code == http.StatusConflict {
		return nil // it is there already
	}
	return err
}

func tinodeSignIn(c *conn, u user) error {
	if err := tinodeGreet(c); err != nil {
		return err
	}
	if _, err := tinodeAsk(c, "login", map[string]any{"scheme": "basic", "secret": tinodeSecret(u)}); err != nil {
		return err
	}
	_, err := tinodeAsk(c, "sub", map[string]any{"topic": "me"})
	return err
}

func tinodeStay(c *conn) error {
	for {
		if _, err := wsNext(c); err != nil {
			return err
		}
	}
}
