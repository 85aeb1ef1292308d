package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
)

func TestExplain(t *testing.T) {
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	unreachable := func(err error) error {
		return &unreachableError{node: "node.example", connect: "127.0.0.1:1", err: err}
	}
	tests := []struct {
		err    error
		status int
		says   string
	}{
		{errors.New("disk full"), exitFailed, "disk full"},
		{context.Canceled, exitFailed, "interrupted"},
		{client.ErrIncompatible, exitFailed, "ask its operator"},
		{client.ErrReplaced, exitFailed, "took over"},
		{usage("no such thing: %w", tipt.ErrNameInvalid), exitUsage, "no such thing"},
		{&tipt.Error{Code: tipt.ErrCredentials}, exitSignedOut, "CREDENTIALS"},
		{&tipt.Error{Code: tipt.ErrDisabled}, exitSignedOut, "DISABLED"},
		{client.ErrSignedOut, exitSignedOut, "signed out"},
		{unreachable(context.DeadlineExceeded), exitUnreachable, "node.example at 127.0.0.1:1 does not answer"},
		{unreachable(errors.New("odd")), exitUnreachable, "cannot be reached: odd"},
		{unreachable(&client.UnavailableError{Status: 503}), exitUnreachable, "takes no connections now: it is overloaded or in maintenance (HTTP status 503)"},
		{unreachable(&client.UnavailableError{Status: 500}), exitUnreachable, "takes no connections now: something fails there"},
		{&tipt.Error{Code: tipt.ErrBusy}, exitUnreachable, "BUSY"},
		{&tipt.Error{Code: tipt.ErrNodeUnreachable}, exitUnreachable, "NODE_UNREACHABLE"},
		{&tipt.Error{Code: tipt.ErrNameTaken}, exitRefused, "NAME_TAKEN"},
		{&tipt.Error{Code: tipt.ErrNodeRefused}, exitRefused, "NODE_REFUSED"},
		{&tipt.ForwardError{Code: tipt.ErrNoSuchUser}, exitRefused, "NO_SUCH_USER"},
		{fmt.Errorf("2000001 bytes: %w", tipt.ErrTooLarge), exitRefused, "TOO_LARGE"},
		{&tipt.Error{Code: tipt.ErrNodeTimeout}, exitUnknown, "NODE_TIMEOUT"},
		{&client.KeyError{Node: "node.example", Err: &tipt.Error{Code: tipt.ErrNodeTimeout}}, exitUnreachable, "get the key of node.example: NODE_TIMEOUT"},
		{&client.KeyError{Node: "node.example", Err: &tipt.Error{Code: tipt.ErrNodeRefused}}, exitRefused, "NODE_REFUSED"},
		{fmt.Errorf("%w: reset", client.ErrUnknownOutcome), exitUnknown, "unknown: reset"},
		{waited(interrupted, context.Canceled), exitUnknown, "interrupted: no answer yet"},
		{waited(t.Context(), context.DeadlineExceeded), exitUnknown, "no answer within 2m0s"},
		{waited(t.Context(), &tipt.ForwardError{Code: tipt.ErrMailboxFull}), exitRefused, "MAILBOX_FULL"},
	}
	for _, tt := range tests {
		text, status := explain(fmt.Errorf("do it: %w", tt.err))
		if status != tt.status || !strings.Contains(text, tt.says) {
			t.Errorf("%v: status %d, %q, want status %d and %q in it", tt.err, status, text, tt.status, tt.says)
		}
	}
	if err := waited(interrupted, nil); err != nil {
		t.Errorf("what was done before the interrupt becomes %v", err)
	}
}
