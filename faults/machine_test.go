//go:build external

package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/letters"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/peer"
)

// A machine is where one node runs, again and again.
type machine struct {
	name    tipt.NodeName
	ledger  *letters.Ledger
	excuses *excuses
	daemon  *tipttest.Daemon
	disk    disk
	faults  string // folder of what is wrong, see internal/fault
	clients *route
	others  map[tipt.NodeName]*route // its ways to other nodes

	neighbours []tipt.NodeName // of others, in order

	// What becomes of the processes is decided by one goroutine, what becomes of disk and clock by
	// another.
	rand      [2]*rand.Rand
	rotations int
	rest      usage // when nothing has been asked of it yet

	mu      sync.Mutex // guards the following fields
	process *tipttest.Process
	full    bool // the disk
	off     time.Duration
}

// A usage is what a process takes.
type usage struct {
	goroutines int
	memory     int64 // bytes, without what is in files
}

// patience is how long a process may take for what it is told to do.
const patience = time.Minute

// note adds what is done to the machine to the history of the letters that it matters to.
func (m *machine) note(format string, args ...any) {
	m.ledger.Note([]tipt.NodeName{m.name}, string(m.name)+": "+format, args...)
}

// door is where clients come in.
func (m *machine) door() letters.Door {
	return letters.Door{Node: m.name, Addr: m.clients.addr(), Roots: m.daemon.CA.Pool()}
}

// addr is where the node listens, "" when there is none.
func (m *machine) addr() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return ""
	}
	return m.process.Addr
}

// running returns the process, nil where there is none.
func (m *machine) running() *tipttest.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// start starts the node and waits until it serves. On a full disk it may fail: then it
// is tried again until there is room.
func (m *machine) start() {
	for {
		p, err := m.daemon.Exec()
		if err != nil {
			m.ledger.Fail("%s: %v", m.name, err)
			return
		}
		m.mu.Lock()
		full := m.full
		m.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = p.Listening(ctx)
		cancel()
		if err == nil {
			m.note("serves")
			m.mu.Lock()
			m.process = p
			m.mu.Unlock()
			return
		}
		p.Kill()
		if !full {
			m.ledger.Fail("%s does not start: %v", m.name, err)
			return
		}
		m.note("does not start on a full disk")
		time.Sleep(100 * time.Millisecond)
	}
}

// end takes the process away, after it was ended by how.
func (m *machine) end(how func(*tipttest.Process)) {
	p := m.running()
	if p == nil {
		return // it did not start
	}
	select {
	case <-p.Done():
		m.ledger.Fail("%s ended by itself:\n%s", m.name, p.Log())
	default:
	}
	how(p)
	m.mu.Lock()
	m.process = nil
	m.mu.Unlock()
	m.note("is gone")
	m.checkLog(p)
}

// kill ends the node with SIGKILL.
func (m *machine) kill() {
	m.note("is killed")
	m.end((*tipttest.Process).Kill)
}

// terminate ends the node in good order.
func (m *machine) terminate() {
	m.note("is told to stop")
	m.end(func(p *tipttest.Process) {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			m.ledger.Fail("terminate %s: %v", m.name, err)
		}
		select {
		case <-p.Done():
			if status := p.Status(); status != 0 {
				m.ledger.Fail("%s ended with status %d after SIGTERM:\n%s", m.name, status, p.Log())
			}
		case <-time.After(patience):
			m.ledger.Fail("%s has not ended %v after SIGTERM:\n%s", m.name, patience, p.Log())
			p.Kill()
		}
	})
}

// checkLog judges what a process has logged.
func (m *machine) checkLog(p *tipttest.Process) {
	for line := range strings.Lines(p.Log()) {
		bad := strings.Contains(line, "panic") || strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "fatal error")
		failed := strings.Contains(line, "level=ERROR") && !strings.Contains(line, "disk full")
		if bad || failed {
			m.ledger.Fail("%s logged %s\namong this:\n%s", m.name, line, tail(p.Log(), 100))
			return
		}
	}
}

// tail returns the last lines of a log, without the many that say that the disk is full.
func tail(log string, lines int) string {
	all := slices.DeleteFunc(strings.SplitAfter(log, "\n"), func(line string) bool { return strings.Contains(line, "disk full") })
	return strings.Join(all[max(len(all)-lines, 0):], "")
}

// signal sends the process a signal.
func (m *machine) signal(s syscall.Signal) {
	if p := m.running(); p != nil {
		_ = p.Signal(s) // it may have ended, which end finds
	}
}

// set writes what is wrong where the node reads it.
func (m *machine) set(what string, d time.Duration) {
	path := filepath.Join(m.faults, what)
	err := os.WriteFile(path+".new", []byte(d.String()), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		m.ledger.Fail("set %s of %s: %v", what, m.name, err)
	}
}

// fill fills the disk up to so many bytes.
func (m *machine) fill(left int64) {
	m.note("the disk is full, but for %d bytes", left)
	m.excuses.fill(m.name, time.Now().Add(time.Hour)) // until free
	m.mu.Lock()
	m.full = true
	m.mu.Unlock()
	if err := m.disk.fill(left); err != nil {
		m.ledger.Fail("fill the disk of %s: %v", m.name, err)
	}
}

// free ends fill.
func (m *machine) free() {
	if err := m.disk.free(); err != nil {
		m.ledger.Fail("free the disk of %s: %v", m.name, err)
	}
	m.mu.Lock()
	m.full = false
	m.mu.Unlock()
	m.excuses.fill(m.name, time.Now())
	m.note("the disk is free again")
}

// jump has the clock be so far ahead.
func (m *machine) jump(d time.Duration) {
	m.note("the clock is %v ahead", d)
	m.excuses.jump(m.name, d)
	m.set("clock", d)
	m.mu.Lock()
	m.off = d
	m.mu.Unlock()
}

// isOff reports whether the clock is wrong.
func (m *machine) isOff() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.off != 0
}

// operate runs one of an operator's commands. While the node does not run, or is stopped, it may fail.
func (m *machine) operate(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tiptd, append(args, "--data", m.daemon.Data)...)
	cmd.Env = tipttest.Env(m.daemon.Env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: tiptd %s: %w: %s", m.name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// ask gets something from the admin socket.
func (m *machine) ask(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(m.daemon.Data, node.AdminSocket))
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tiptd"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}

// waiting returns what waits in the outbox.
func (m *machine) waiting() (list []peer.Waiting, err error) {
	body, err := m.ask("/queue")
	if err == nil {
		err = json.Unmarshal(body, &list)
	}
	return list, err
}

// usage returns what the process takes, and what its goroutines do.
func (m *machine) usage(t *testing.T) (u usage, goroutines string) {
	t.Helper()
	body, err := m.ask("/goroutines")
	if err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	if _, err := fmt.Sscanf(string(body), "goroutine profile: total %d", &u.goroutines); err != nil {
		t.Fatalf("%s: goroutines: %v\n%s", m.name, err, body)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.running().PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(size), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			u.memory = kib << 10
		}
	}
	return u, string(body)
}
