package hashing

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// A child is a process from its start to its end, as its parent sees it.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser // one Write is a whole request, and is not mixed with another
	out io.Reader

	mu    sync.Mutex // guards the following fields
	ended bool
	last  uint32
	asked map[uint32]question
}

// A question is a request without its answer.
type question struct {
	size   int
	answer chan []byte // closed without one when the process has ended
}

// executable is where this program is. Where the system knows, it is what runs, even when its
// file was replaced since.
func executable() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return path, nil
}

// start starts a command, whose context ends it. It stays in this process's session, as Linux shares
// the processors out among sessions before it looks at priorities.
func start(cmd *exec.Cmd, stderr io.Writer) (*child, error) {
	c := &child{cmd: cmd, asked: make(map[uint32]question)}
	var err error
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	if c.out, err = cmd.StdoutPipe(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), c.in.Close())
	}
	cmd.Args[0] = os.Args[0]
	cmd.Dir = string(os.PathSeparator) // so that it keeps no folder from being unmounted
	cmd.Env = []string{}
	cmd.Stderr = stderr
	cmd.Cancel = c.in.Close
	cmd.WaitDelay = endTime
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process: %w", err)
	}
	return c, nil
}

// run passes answers on until the process has ended and returns why. Greeted is told
// whether the process gives way to others.
func (c *child) run(greeted func(gentle bool)) error {
	err := c.pass(greeted)
	c.kill()
	c.mu.Lock()
	c.ended = true
	left := c.asked
	c.asked = nil
	c.mu.Unlock()
	for _, q := range left {
		close(q.answer)
	}
	if waited := c.cmd.Wait(); waited != nil && errors.Is(err, io.EOF) {
		err = waited // which says what ended it
	}
	return fmt.Errorf("the process has ended: %w", err)
}

// pass passes answers on until there are no more.
func (c *child) pass(greeted func(gentle bool)) error {
	gentle, err := readGreeting(c.out)
	if err != nil {
		return err
	}
	greeted(gentle)
	for {
		number, key, err := readAnswer(c.out)
		if err != nil {
			return err
		}
		c.mu.Lock()
		q, ok := c.asked[number]
		delete(c.asked, number)
		c.mu.Unlock()
		if !ok || len(key) != q.size {
			if ok {
				close(q.answer)
			}
			return errors.New("it answered what it was not asked")
		}
		q.answer <- key
	}
}

// ask has the process evaluate argon2id and returns the key, or nil when the process has ended. When
// it takes longer than within, it is killed.
func (c *child) ask(r request, password []byte, within time.Duration) []byte {
	q := question{size: r.size, answer: make(chan []byte, 1)}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return nil
	}
	c.last++
	r.number = c.last
	c.asked[r.number] = q
	c.mu.Unlock()
	defer time.AfterFunc(within, c.kill).Stop()

	b := r.append(make([]byte, 0, r.length(password)), password)
	if _, err := c.in.Write(b); err != nil {
		c.kill() // half a request is none
	}
	clear(b)
	return <-q.answer
}

// kill ends the process, if it has not ended.
func (c *child) kill() { _ = c.cmd.Process.Kill() }
