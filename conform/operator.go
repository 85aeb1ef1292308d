package conform

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// What a shell exits with when it cannot run a command.
const (
	notExecutable = 126
	notFound      = 127
)

// operated reports whether there is an operator who helps.
func (s *suite) operated() bool { return s.Admin != "" || s.operate != nil }

// operator has the operator's command do something and returns what it prints.
func (s *suite) operator(ctx context.Context, args ...string) (string, error) {
	if s.operate != nil {
		return s.operate(ctx, args...)
	}
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", s.Admin + ` "$@"`, "admin"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			said := strings.ReplaceAll(strings.TrimSpace(string(exit.Stderr)), "\n", "; ")
			return "", fmt.Errorf("%s %s: %w: %s", s.Admin, strings.Join(args, " "), err, said)
		}
		return "", fmt.Errorf("%s %s: %w", s.Admin, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// An errand is what the operator does while a scenario goes on.
type errand struct {
	done chan struct{} // closed at its end
	err  error         // to be read after done
}

// errand sends the operator on an errand, whose end close waits for.
func (t *T) errand(args ...string) *errand {
	e := &errand{done: make(chan struct{})}
	t.errands = append(t.errands, e)
	go func() {
		defer close(e.done)
		_, e.err = t.s.operator(t.ctx, args...)
	}()
	return e
}

// over reports whether the errand has ended.
func (e *errand) over() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// wait waits for its end.
func (e *errand) wait() error {
	<-e.done
	return e.err
}

// operator has the operator do something, or ends the scenario.
func (t *T) operator(args ...string) string {
	out, err := t.s.operator(t.ctx, args...)
	if err != nil {
		t.skip("the operator's command failed: " + err.Error())
	}
	return out
}

// undo has the operator undo what he did, also when the run is interrupted.
func (t *T) undo(args ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), time.Minute)
	defer cancel()
	_, err := t.s.operator(ctx, args...)
	return err
}

// noEffect ends the scenario because nothing shows of what the operator was to do. Whether it is the command
// or the node that did not obey cannot be told from outside.
func (t *T) noEffect(args ...string) {
	t.skip(fmt.Sprintf("%q of the operator's command had no effect, though it ended well: does it reach this node?", strings.Join(args, " ")))
}

// canRun has the operator's command do what changes nothing, to see whether it can be run. It may fail, as
// it does where it knows less.
func (s *suite) canRun(ctx context.Context) error {
	_, err := s.operator(ctx, "maintenance", "off")
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == notExecutable || exit.ExitCode() == notFound) {
		return fmt.Errorf("the operator's command cannot be run: %w", err)
	}
	return nil
}
