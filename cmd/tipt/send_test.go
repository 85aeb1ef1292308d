package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
)

func TestAdviseSender(t *testing.T) {
	unreachable := &tipt.Error{Code: tipt.ErrNodeUnreachable}
	noUserKey := &client.UserKeyError{User: tipt.Address{User: "bob", Node: "other.example"}, Err: unreachable}
	noKey := &client.KeyError{Node: "other.example", Err: unreachable}
	var id tipt.MessageID
	tests := []struct {
		queue bool
		err   error
		want  string // behind the error
	}{
		{false, unreachable, "; to leave the message with your own node, which tries for five days, add --queue"},
		{true, unreachable, ""},
		{false, noKey, "; its key is not known yet, so nothing can be left for it: check the spelling, or try later"},
		{true, noKey, "; its key is not known yet, so nothing can be left for it: check the spelling, or try later"},
		{false, noUserKey, "; to leave the message with your own node, which tries for five days, add --queue"},
		{true, noUserKey, "; whether there is a key to seal to is not known yet, so nothing can be left: try later"},
		{false, &client.UserKeyError{Err: &tipt.Error{Code: tipt.ErrNodeTimeout}}, ""},
		{false, client.ErrUnknownOutcome, "; the message may have arrived: to send it again without doubling it, add --id " + id.String()},
		{false, &client.KeyError{Node: "other.example", Err: &tipt.Error{Code: tipt.ErrNodeTimeout}}, ""},
		{false, &tipt.ForwardError{Code: tipt.ErrNoSuchUser}, ""},
	}
	for _, tt := range tests {
		err := fmt.Errorf("send: %w", tt.err)
		got := (&sendCmd{Queue: tt.queue}).advise(err, id)
		if after, ok := strings.CutPrefix(got.Error(), err.Error()); !ok || after != tt.want {
			t.Errorf("queue %v, %v: %q, want %q behind it", tt.queue, err, got, tt.want)
		}
	}
	if err := new(sendCmd).advise(nil, id); err != nil {
		t.Errorf("what was sent becomes %v", err)
	}
}
