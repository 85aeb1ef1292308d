package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

func TestFlaws(t *testing.T) {
	bob := tipt.Address{User: "bob", Node: "node.example"}
	changed := refuseUserKey(bob, "old", "new")
	if !errors.Is(changed, client.ErrUserKeyChanged) {
		t.Errorf("%v is no change of a key", changed)
	}
	for _, tt := range []struct {
		err         error
		code, words string
	}{
		{nil, "", ""},
		{&client.UserKeyError{User: bob, Err: changed}, "key-changed", "another key than the one kept"},
		{&client.UserKeyError{User: bob, Err: refuseUserKey(bob, "old", "")}, "key-withdrawn", "withdrawn"},
		{&client.UserKeyError{User: bob, Err: tipt.ErrNodeUnreachable}, "key-unavailable", "NODE_UNREACHABLE"},
		{seal.ErrUnsigned, "missing", "though the sender has a key"},
		{seal.ErrNoSigningKey, "other-key", "another key than the sender's"},
		{errors.New("seal: it is of tomorrow"), "invalid", "it is of tomorrow"},
	} {
		if got := unsigned(tt.err); got.code != tt.code || !strings.Contains(got.words, tt.words) || strings.Contains(got.words, "seal:") {
			t.Errorf("%v: %+v, want %s and %q", tt.err, got, tt.code, tt.words)
		}
	}
	for _, tt := range []struct {
		err         error
		code, words string
	}{
		{nil, "", ""},
		{client.ErrNoKey, "no-key", "no key here"},
		{fmt.Errorf("x: %w", seal.ErrCannotOpen), "other-key", "not on this device"},
		{seal.ErrMessage, "invalid", "bad message"},
	} {
		if got := unopened(tt.err); got.code != tt.code || !strings.Contains(got.words, tt.words) || strings.Contains(got.words, "seal:") {
			t.Errorf("%v: %+v, want %s and %q", tt.err, got, tt.code, tt.words)
		}
	}
	// What is sent to somebody, too, and in whatever it is wrapped: without what it was wrapped in.
	for err, want := range map[error]string{
		changed:                       "bob@node.example has a new key, or somebody wants to read along, so nothing is sent there; ",
		refuseUserKey(bob, "old", ""): "bob@node.example has no key any more, so nothing is sent there, ",
	} {
		text, status := explain(fmt.Errorf("send to %s: %w", bob, &client.UserKeyError{User: bob, Err: err}))
		if !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "run `tipt key accept bob@node.example`") || status != exitFailed {
			t.Errorf("%d: %s", status, text)
		}
	}
}

func TestUnsent(t *testing.T) {
	const long = "one two three four five six seven eight nine"
	for _, tt := range []struct {
		line string
		err  error
		want string
	}{
		{"hello\x1b[2J", tipt.ErrNoSuchUser, "! not sent: hello\\x1b[2J\n"},
		{long, errUnanswered, "! perhaps not sent: " + long[:39] + "…\n"},
		{long[:40], client.ErrUserKeyChanged, "! not sent: " + long[:40] + "\n"},
	} {
		if got := unsent(tt.line, tt.err); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
