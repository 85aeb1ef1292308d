package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
)

func TestAdviseNewcomer(t *testing.T) {
	tests := []struct {
		invite string
		code   tipt.ErrorCode
		want   string // behind the error
	}{
		{"", tipt.ErrInviteInvalid, "; give one with --invite CODE"},
		{"5KJX", tipt.ErrInviteInvalid, "; that one is used or wrong"},
		{"", tipt.ErrNameTaken, "; if it is yours: `tipt sign-in bob@node.example`"},
		{"", tipt.ErrRegistrationClosed, ""},
	}
	for _, tt := range tests {
		err := fmt.Errorf("register bob: %w", &tipt.Error{Code: tt.code})
		got := (&registerCmd{Address: "bob@node.example", Invite: tt.invite}).advise(err)
		if after, ok := strings.CutPrefix(got.Error(), err.Error()); !ok || after != tt.want {
			t.Errorf("invitation %q, %v: %q, want %q behind it", tt.invite, err, got, tt.want)
		}
	}
	if err := new(registerCmd).advise(nil); err != nil {
		t.Errorf("what went well becomes %v", err)
	}
}
