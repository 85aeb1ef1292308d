package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
)

// Exit statuses, for scripts to rely on. The help text of main.go lists them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitSignedOut   = 3
	exitUnreachable = 4
	exitRefused     = 5
	exitUnknown     = 6
)

// errUnanswered is the error of a request whose outcome is not known because
// nobody waits for it any longer.
var errUnanswered = errors.New("no answer")

// waited makes errUnanswered of the end of ctx, which ended with the command, or
// of the time that it gives a request.
func waited(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %w yet", errUnanswered)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w within %v", errUnanswered, sendTimeout)
	}
	return err
}

// An unreachableError is why no connection to the node came about.
type unreachableError struct {
	node    tipt.NodeName
	connect string // --connect, if given
	err     error
}

func (e *unreachableError) Unwrap() error { return e.err }

func (e *unreachableError) Error() string {
	if known := e.known(); known != "" {
		return known
	}
	return fmt.Sprintf("%s cannot be reached: %v", e.at(), e.err)
}

func (e *unreachableError) at() string {
	if e.connect == "" {
		return string(e.node)
	}
	return string(e.node) + " at " + e.connect
}

// known says what is wrong and what to do about it, where that is known.
func (e *unreachableError) known() string {
	at := e.at()
	var (
		unknownAuthority x509.UnknownAuthorityError
		wrongName        x509.HostnameError
		invalid          x509.CertificateInvalidError
		notTLS           tls.RecordHeaderError
		noHost           *net.DNSError
	)
	switch {
	case errors.As(e.err, &unknownAuthority):
		return fmt.Sprintf("the certificate of %s is signed by an authority that this machine does not know; if it is a private one, give its root certificate with --ca FILE", at)
	case errors.As(e.err, &wrongName):
		return fmt.Sprintf("the certificate of %s is for another name: %v; check the address and --connect", at, wrongName)
	case errors.As(e.err, &invalid):
		return fmt.Sprintf("the certificate of %s is not valid: %v", at, invalid)
	case errors.As(e.err, &notTLS):
		return fmt.Sprintf("what answers for %s does not speak TLS; check --connect", at)
	case errors.As(e.err, &noHost) && noHost.IsNotFound:
		return fmt.Sprintf("there is no host %s; check the spelling, or say with --connect HOST:PORT where the node is reached", noHost.Name)
	case errors.Is(e.err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens for %s; is the node running? --connect HOST:PORT says where it is reached", at)
	case errors.Is(e.err, context.DeadlineExceeded):
		return fmt.Sprintf("%s does not answer", at)
	}
	return ""
}

// explain says what went wrong, what to do about it, and with which status to exit.
func explain(err error) (string, int) {
	var unreachable *unreachableError
	var refusal *tipt.Error
	var returned *tipt.ForwardError
	change, changed := errors.AsType[*keyChange](err)
	switch {
	case changed:
		return change.Error(), exitFailed // which says to whom, and what to do
	case isUsage(err):
		return err.Error(), exitUsage
	case errors.Is(err, client.ErrIncompatible):
		return err.Error() + "; ask its operator to update it", exitFailed
	case errors.Is(err, tipt.ErrCredentials), errors.Is(err, client.ErrSignedOut), errors.Is(err, tipt.ErrDisabled):
		return err.Error(), exitSignedOut
	case errors.Is(err, client.ErrReplaced):
		return "another `tipt listen`, `chat` or `sign-in` of this account took over here; only one at a time receives", exitFailed
	case errors.Is(err, context.Canceled):
		return "interrupted", exitFailed
	case isUnknown(err):
		return err.Error(), exitUnknown
	case errors.As(err, &unreachable), errors.Is(err, tipt.ErrBusy), errors.Is(err, tipt.ErrNodeUnreachable), errors.Is(err, tipt.ErrNodeTimeout):
		return err.Error(), exitUnreachable
	case errors.As(err, &refusal), errors.As(err, &returned), errors.Is(err, tipt.ErrTooLarge):
		return err.Error(), exitRefused
	}
	return err.Error(), exitFailed
}

// isUnknown says whether what was asked for may or may not have been done.
func isUnknown(err error) bool {
	return errors.Is(err, errUnanswered) || errors.Is(err, client.ErrUnknownOutcome) || errors.Is(err, tipt.ErrNodeTimeout) && !isKey(err) && !isUserKey(err)
}

// isKey says whether it is for want of a node's key that nothing was sent to that node.
func isKey(err error) bool {
	_, ok := errors.AsType[*client.KeyError](err)
	return ok
}

// isUserKey says whether nothing was sent because the recipient's key could not be had.
func isUserKey(err error) bool {
	_, ok := errors.AsType[*client.UserKeyError](err)
	return ok
}
