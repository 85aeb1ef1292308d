package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// grace is how long a client may take to end, at each step of being asked to.
	grace = 3 * time.Second
	// keptLine and keptLines bound what is kept of a client's output.
	keptLine, keptLines = 4096, 2048
)

// A program is a client that runs. The stage's mu guards its output.
type program struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	done  chan struct{} // closed when it has ended
	err   error         // how; read it after done
	out   output
	errs  output
}

// An output is what a program has printed, in lines that are cut off.
type output struct {
	st      *stage
	lines   []string
	dropped int // lines at the start
	open    bool
	shut    chan struct{} // nothing is read until it is closed; nil for that
}

// Write implements [io.Writer].
func (o *output) Write(b []byte) (int, error) {
	o.st.mu.Lock()
	defer o.st.mu.Unlock()
	if shut := o.shut; shut != nil {
		o.st.mu.Unlock()
		<-shut
		o.st.mu.Lock()
	}
	for rest := b; len(rest) > 0; {
		part, behind, ended := bytes.Cut(rest, []byte("\n"))
		if !o.open {
			o.lines = append(o.lines, "")
		}
		last := &o.lines[len(o.lines)-1]
		*last += string(part[:min(len(part), keptLine-len(*last))])
		o.open, rest = !ended, behind
	}
	if over := len(o.lines) - keptLines; over > 0 {
		o.lines = append([]string(nil), o.lines[over:]...)
		o.dropped += over
	}
	o.st.signal()
	return len(b), nil
}

// A mark is how many lines a client had printed.
type mark struct{ out, errs int }

func (st *stage) mark() mark {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.marked()
}

// marked is mark where the caller holds mu.
func (st *stage) marked() mark { return mark{st.program.out.count(), st.program.errs.count()} }

// since are the lines that the client has printed since then.
func (st *stage) since(m mark) []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append(st.program.out.from(m.out), st.program.errs.from(m.errs)...)
}

// news reports whether a line is none of the usual ones, but for its numbers and fingerprints.
func news(lines, usual []string) bool {
	known := make(map[string]bool)
	for _, line := range usual {
		known[numbers.ReplaceAllString(line, "#")] = true
	}
	return slices.ContainsFunc(lines, func(line string) bool { return !known[numbers.ReplaceAllString(line, "#")] })
}

// stuff has nothing read of the client's standard output until free is called, so that it can print no more
// than its pipe holds.
func (st *stage) stuff() (free func()) {
	shut := make(chan struct{})
	st.note(func() { st.program.out.shut = shut })
	return sync.OnceFunc(func() {
		st.note(func() { st.program.out.shut = nil })
		close(shut)
	})
}

// count is how many lines have come. The caller holds the stage's mu.
func (o *output) count() int { return o.dropped + len(o.lines) }

// from returns the lines from the nth on. The caller holds the stage's mu.
func (o *output) from(n int) []string { return o.lines[min(max(0, n-o.dropped), len(o.lines)):] }

// last returns the last lines in one. The caller holds the stage's mu.
func (o *output) last() string {
	lines := o.lines[max(0, len(o.lines)-3):]
	text := strings.Join(lines, " / ")
	return text[max(0, len(text)-400):]
}

// start starts the client.
func (st *stage) start() {
	p := &program{cmd: exec.Command("sh", "-c", st.run.Command), done: make(chan struct{})}
	p.out.st, p.errs.st = st, st
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "TIPT_") || strings.HasPrefix(variable, "TIPT_CONFIG=") {
			p.cmd.Env = append(p.cmd.Env, variable)
		}
	}
	p.cmd.Env = append(p.cmd.Env,
		"TIPT_URL=wss://"+playedNode+"/ws", "TIPT_CA="+st.run.roots, "TIPT_CONNECT="+st.listener.Addr().String(),
		"TIPT_USER="+st.user, "TIPT_PASS="+st.pass, "TIPT_TO="+st.to+"@"+otherNode,
	)
	if st.home != "" {
		for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TIPT_CONFIG"} {
			p.cmd.Env = append(p.cmd.Env, name+"="+st.home)
		}
	}
	if st.secret != "" {
		p.cmd.Env = append(p.cmd.Env, "TIPT_KEY="+st.secret)
	}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.WaitDelay = &p.out, &p.errs, grace
	ownGroup(p.cmd)
	stdin, err := p.cmd.StdinPipe()
	if err == nil {
		p.stdin = stdin
		err = p.cmd.Start()
	}
	if err != nil {
		st.fatal(nil, "to start the client", err.Error())
	}
	st.program = p
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
		st.mu.Lock()
		st.signal()
		st.mu.Unlock()
	}()
}

// end ends the client and all that it has started, and waits for that.
func (p *program) end() {
	_ = p.stdin.Close() // it may have ended
	for _, kill := range []bool{false, true} {
		if p.ended(grace) {
			break
		}
		signalGroup(p.cmd, kill)
	}
	<-p.done
	signalGroup(p.cmd, true) // what it left behind
}

func (p *program) ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// hasEnded says how the program ended, "" while it runs.
func (p *program) hasEnded() string {
	select {
	case <-p.done:
	default:
		return ""
	}
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return "the client ended with exit status 0"
	case errors.As(p.err, &exit):
		return "the client ended with " + exit.String()
	}
	return fmt.Sprintf("the client ended: %v", p.err)
}

// line gives the client a line to send.
func (st *stage) line(text string) {
	written := make(chan error, 1)
	st.group.Go(func() {
		_, err := io.WriteString(st.program.stdin, text+"\n")
		written <- err
	})
	ctx, cancel := context.WithTimeout(st.ctx, st.s.patience)
	defer cancel()
	select {
	case err := <-written:
		if err != nil {
			st.fatal(nil, "the client to read its standard input", st.state())
		}
	case <-ctx.Done(): // the write ends with the client
		st.fatal(nil, "the client to read its standard input", st.state())
	}
}
