package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/seal"
)

// patience is how long a test waits for what should come soon.
const patience = 30 * time.Second

// TestMain puts the real program into PATH, built once and without the race detector,
// under which it takes a second to start.
func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tipt-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if _, err := tipttest.Build(dir, "tipt"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := goleak.Find(); status == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// TestScripts runs testdata/*.txt against a node in this process. Each script
// has accounts of its own; $CONNECT and ca.pem say how the node is reached.
func TestScripts(t *testing.T) {
	n := tipttest.Start(t)
	stranger, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	other := newPatientKey(t, string(n.Name))
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CONNECT", n.Addr)
			env.Setenv("TIPT_CONFIG", env.WorkDir+"/config")
			return errors.Join(
				os.WriteFile(env.WorkDir+"/ca.pem", n.CA.CertPEM(), 0o600),
				os.WriteFile(env.WorkDir+"/stranger.pem", stranger.CertPEM(), 0o600),
				os.WriteFile(env.WorkDir+"/other.pgp", other.Certificate(), 0o600),
			)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"await":  await,
			"fails":  fails,
			"junk":   func(ts *testscript.TestScript, _ bool, args []string) { junk(ts, t, n, args) },
			"queue":  func(ts *testscript.TestScript, _ bool, args []string) { queue(ts, n, args) },
			"sealed": func(ts *testscript.TestScript, _ bool, args []string) { sealed(ts, t, n, args) },
		},
	})
}

// await FILE PATTERN waits until the file matches.
func await(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await FILE PATTERN")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	file := ts.MkAbs(args[0])
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(file)
		switch {
		case err == nil && pattern.Match(b):
			return
		case err != nil && !errors.Is(err, os.ErrNotExist):
			ts.Fatalf("%v", err)
		case time.Now().After(end):
			ts.Fatalf("%s has not come to match %q:\n%s", args[0], args[1], b)
		}
	}
}

// fails STATUS COMMAND runs a command, which must end with that exit status.
func fails(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: fails STATUS COMMAND")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var exit *exec.ExitError
	err = ts.Exec(args[1], args[2:]...)
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		ts.Fatalf("command ended with %v, want exit status %d", err, want)
	}
}

// sealed FILE USER TEXT writes a sealed MESSAGE to a user of the node.
func sealed(ts *testscript.TestScript, t *testing.T, n *tipttest.Node, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: sealed FILE USER TEXT")
	}
	content := tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: args[2], Time: time.Now()}}
	request := tipt.SealedRequest{
		Type:    tipt.ForwardMessage,
		Message: &tipt.MessageForward{To: args[1], ID: tipt.NewMessageID(), Message: content.Append(nil)},
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), n.Seal(t, request), 0o600))
}

// queue USER ADDRESS ID leaves a message of that user, whose password is "correct horse", with the node, without
// asking whether it can be delivered.
func queue(ts *testscript.TestScript, n *tipttest.Node, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: queue USER ADDRESS ID")
	}
	id, err := parseID(args[2])
	ts.Check(err)
	sendBody(ts, n, args[0], args[1], client.Outgoing{Body: []byte("no text"), ID: id, Queue: true})
}

// junk USER ADDRESS sends a message of that user which is sealed to the key of nobody.
func junk(ts *testscript.TestScript, t *testing.T, n *tipttest.Node, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: junk USER ADDRESS")
	}
	certificate, err := seal.ParseCertificate(newPatientKey(t, "nobody.example").Certificate())
	ts.Check(err)
	sealed, err := certificate.Seal([]byte("hello"), time.Now())
	ts.Check(err)
	sendBody(ts, n, args[0], args[1], client.Outgoing{Body: tipt.Content{Type: tipt.ContentSealed, Sealed: sealed}.Append(nil)})
}

func sendBody(ts *testscript.TestScript, n *tipttest.Node, user, address string, m client.Outgoing) {
	var err error
	m.To, err = tipt.ParseAddress(address)
	ts.Check(err)
	roots, err := parseCertificates(n.CA.CertPEM())
	ts.Check(err)
	c, err := client.Dial(context.Background(), n.Name, &client.Options{RootCAs: roots, Connect: n.Addr, Device: "script"})
	ts.Check(err)
	defer c.Close()
	_, err = c.SignIn(context.Background(), client.Credentials{User: user, Password: "correct horse", SendOnly: true})
	ts.Check(err)
	ts.Check(c.Send(context.Background(), m))
}
