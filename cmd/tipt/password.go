package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/term"
)

// maxLine is how long a line of standard input may be that is not a message.
const maxLine = 4096

// password asks for a password, without echo at a terminal.
func (s streams) password(ctx context.Context, prompt string) (string, error) {
	return s.secret(ctx, "password", prompt)
}

// secret asks for what is a password, or is called otherwise.
func (s streams) secret(ctx context.Context, what, prompt string) (string, error) {
	fd := int(s.in.Fd())
	if !term.IsTerminal(fd) {
		return s.secretLine(what)
	}
	state, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask for the %s: %w", what, err)
	}
	fmt.Fprintf(s.err, "%s: ", prompt)
	type answer struct {
		password []byte
		err      error
	}
	answered := make(chan answer, 1)
	// A read from a terminal cannot be called off: when ctx ends first the goroutine is
	// left behind, and the process ends.
	go func() {
		b, err := term.ReadPassword(fd)
		answered <- answer{b, err}
	}()
	select {
	case a := <-answered:
		fmt.Fprintln(s.err)
		if a.err != nil {
			return "", fmt.Errorf("read the %s: %w", what, a.err)
		}
		return string(a.password), nil
	case <-ctx.Done():
		fmt.Fprintln(s.err)
		return "", errors.Join(ctx.Err(), term.Restore(fd, state))
	}
}

// secretLine is secret where standard input is no terminal.
func (s streams) secretLine(what string) (string, error) {
	line, err := s.lines.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", usage("the %s on standard input has more than %d bytes", what, maxLine)
	case errors.Is(err, io.EOF) && len(line) == 0:
		return "", usage("no %s: standard input is no terminal and has no line for it", what)
	case err != nil && !errors.Is(err, io.EOF):
		return "", fmt.Errorf("read the %s: %w", what, err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// newPassword is password; with twice a person must type it again.
func (s streams) newPassword(ctx context.Context, prompt string, twice bool) (string, error) {
	if !twice {
		return s.password(ctx, prompt)
	}
	return s.newSecret(ctx, "password", prompt)
}

// newSecret is secret, which a person must type twice.
func (s streams) newSecret(ctx context.Context, what, prompt string) (string, error) {
	secret, err := s.secret(ctx, what, prompt)
	if err != nil || !term.IsTerminal(int(s.in.Fd())) {
		return secret, err
	}
	again, err := s.secret(ctx, what, "The same again")
	if err != nil {
		return "", err
	}
	if again != secret {
		return "", usage("the two are not the same")
	}
	return secret, nil
}
