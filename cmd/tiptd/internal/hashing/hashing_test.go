package hashing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tipt/tipt-go/account"
)

const atOnce = 2

// cheap is the least that argon2id can cost.
var cheap = account.HashCost{Memory: 8, Time: 1, Threads: 1}

// What this program does when it is started with a verb; without one it runs the tests.
var verbs = map[string]func() error{
	"hash": func() error { return Serve(os.Stdin, os.Stdout, atOnce) },
	"fail": func() error { return errors.New("no") },
	"be of another version": func() error {
		_, err := os.Stdout.Write([]byte{form + 1, 1})
		return errors.Join(err, drain())
	},
	"be in the way": func() error {
		_, err := os.Stdout.Write(greeting(false))
		return errors.Join(err, drain())
	},
	"be silent": func() error {
		_, err := os.Stdout.Write(greeting(true))
		return errors.Join(err, drain())
	},
	"end when asked": func() error {
		_, err := os.Stdout.Write(greeting(true))
		_, _, rerr := readRequest(os.Stdin)
		return errors.Join(err, rerr)
	},
	"answer what nobody asked": func() error {
		return answerWrongly(func(number uint32, key []byte) []byte { return appendAnswer(nil, number+1, key) })
	},
	"answer too little": func() error {
		return answerWrongly(func(number uint32, key []byte) []byte { return appendAnswer(nil, number, key[1:]) })
	},
	"answer half": func() error {
		return answerWrongly(func(number uint32, key []byte) []byte { return appendAnswer(nil, number, key)[:10] })
	},
}

func drain() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// answerWrongly answers one request and ends.
func answerWrongly(answer func(number uint32, key []byte) []byte) error {
	_, err := os.Stdout.Write(greeting(true))
	r, _, rerr := readRequest(os.Stdin)
	_, werr := os.Stdout.Write(answer(r.number, make([]byte, r.size)))
	return errors.Join(err, rerr, werr)
}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && verbs[os.Args[1]] != nil {
		if err := verbs[os.Args[1]](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// open starts a Hasher whose process does what a verb says. It is closed with the test.
func open(t *testing.T, verb string) (h *Hasher, log *transcript) {
	t.Helper()
	log = new(transcript)
	h = Start(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), log, verb)
	t.Cleanup(h.Close)
	return h, log
}

// running waits until there is a process other than one.
func running(t *testing.T, h *Hasher, but *child) (c *child) {
	t.Helper()
	until(t, "a process runs", func() bool {
		c = h.current()
		return c != nil && c != but
	})
	return c
}

// until waits for what must come.
func until(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(time.Minute); !isSo(); <-look.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// A transcript is a log that may be read while it is written.
type transcript struct {
	mu   sync.Mutex // guards the following field
	text bytes.Buffer
}

func (w *transcript) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// The process computes what this one does.
func TestSameKeys(t *testing.T) {
	h, _ := open(t, "hash")
	c := running(t, h, nil)
	for _, test := range []struct {
		password, salt string
		cost           account.HashCost
		size           int
	}{
		{"correct horse", "somesaltsomesalt", cheap, 32},
		{"", "somesalt", cheap, 16},
		{strings.Repeat("long", 500_000), strings.Repeat("s", 64), cheap, 64},
		{"\x00\xff", "somesaltsomesalt", account.HashCost{Memory: 300, Time: 3, Threads: 4}, 32},
		{"correct horse", "somesaltsomesalt", account.HashCost{Memory: 19 << 10, Time: 2, Threads: 1}, 32},
	} {
		want := account.Argon2id([]byte(test.password), []byte(test.salt), test.cost, test.size)
		got := c.ask(request{cost: test.cost, size: test.size, salt: []byte(test.salt)}, []byte(test.password), answerTime)
		if !bytes.Equal(got, want) {
			t.Errorf("%.20q at %+v: %x, want %x", test.password, test.cost, got, want)
		}
		if again := h.Argon2id([]byte(test.password), []byte(test.salt), test.cost, test.size); !bytes.Equal(again, want) {
			t.Errorf("%.20q at %+v: %x, want %x", test.password, test.cost, again, want)
		}
	}
}

// Each of many who ask at once has its own key, also while the process is killed again and again.
func TestKilled(t *testing.T) {
	h, log := open(t, "hash")
	var asking sync.WaitGroup
	stop := make(chan struct{})
	for i := range 8 {
		asking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				password := fmt.Appendf(nil, "%d of %d", n, i)
				want := account.Argon2id(password, []byte("somesalt"), cheap, 32)
				if got := h.Argon2id(password, []byte("somesalt"), cheap, 32); !bytes.Equal(got, want) {
					t.Errorf("%s: %x, want %x", password, got, want)
				}
			}
		})
	}
	var c *child
	for range 2 {
		c = running(t, h, c)
		if c.ask(request{cost: cheap, size: 32, salt: []byte("somesalt")}, nil, answerTime) == nil {
			t.Error("the process does not answer")
		}
		c.kill()
	}
	close(stop)
	asking.Wait()
	until(t, "the second end is logged", func() bool { return strings.Contains(log.String(), "pause=2s") })
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "signal: killed") {
		t.Errorf("warned %d times, want once, and of the signal:\n%s", n, log)
	}
}

// Whatever a process does, there are keys.
func TestBadProcess(t *testing.T) {
	for verb, cause := range map[string]string{
		"fail":                     "exit status 1",
		"be of another version":    "another version",
		"be silent":                "signal: killed",
		"end when asked":           "EOF",
		"answer what nobody asked": "not asked",
		"answer too little":        "not asked",
		"answer half":              "unexpected EOF",
	} {
		t.Run(verb, func(t *testing.T) {
			h, log := open(t, verb)
			if verb != "fail" { // of which nothing may be left
				c, within := running(t, h, nil), answerTime
				if verb == "be silent" {
					within = time.Millisecond
				}
				if key := c.ask(request{cost: cheap, size: 32, salt: []byte("somesalt")}, []byte("password"), within); key != nil {
					t.Errorf("the process answered %x", key)
				}
			}
			want := account.Argon2id([]byte("password"), []byte("somesalt"), cheap, 32)
			if got := h.Argon2id([]byte("password"), []byte("somesalt"), cheap, 32); !bytes.Equal(got, want) {
				t.Errorf("%x, want %x", got, want)
			}
			until(t, "it is logged", func() bool { return strings.Contains(log.String(), "the node itself does so") })
			if !strings.Contains(log.String(), cause) {
				t.Errorf("%q is not in the log:\n%s", cause, log)
			}
		})
	}
}

// That others are held up is said.
func TestNotGentle(t *testing.T) {
	h, log := open(t, "be in the way")
	running(t, h, nil)
	until(t, "it is logged", func() bool { return strings.Contains(log.String(), "cannot give way") })
}

// A program that is not there does not keep anybody out.
func TestNoProgram(t *testing.T) {
	c, err := start(exec.CommandContext(t.Context(), "/nonexistent"), io.Discard)
	if c != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("started %v, %v", c, err)
	}
}

func TestRequest(t *testing.T) {
	want := request{
		number: 0x01020304,
		cost:   account.HashCost{Memory: 0x05060708, Time: 0x090a0b0c, Threads: 0x0d},
		size:   64,
		salt:   []byte("somesalt"),
	}
	whole := want.append(nil, []byte("password"))
	if len(whole) != want.length([]byte("password")) {
		t.Errorf("%d bytes, want %d", len(whole), want.length([]byte("password")))
	}
	got, password, err := readRequest(bytes.NewReader(whole))
	if err != nil || string(password) != "password" {
		t.Errorf("password %q, %v", password, err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
		t.Error(diff)
	}
	for n := range whole {
		if _, _, err := readRequest(bytes.NewReader(whole[:n])); err == nil || errors.Is(err, io.EOF) != (n == 0) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	for what, r := range map[string]request{
		"no passes":  {cost: account.HashCost{Memory: 8, Threads: 1}},
		"no threads": {cost: account.HashCost{Memory: 8, Time: 1}},
	} {
		if _, _, err := readRequest(bytes.NewReader(r.append(nil, nil))); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	huge := want.append(nil, nil)
	copy(huge[15:], "\xff\xff\xff\xff") // size of the password
	if _, _, err := readRequest(bytes.NewReader(huge)); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a password of 4 GiB: %v", err)
	}
}
