package main_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/node"
)

// write writes a file of a test.
func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What cannot be served is refused at the start, with a line that says what is wrong
// and a status that a script can tell.
func TestServeRefusesToStart(t *testing.T) {
	good := tipttest.NewDaemon(t, tiptd)
	other := tipttest.NewDaemon(t, tiptd)
	file := func(name, content string) string { return write(t, filepath.Join(good.Dir, name), content) }
	folder := func(name string, mode os.FileMode) string {
		dir := filepath.Join(good.Dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "something"), "")
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	garbage := file("garbage.pem", "this is no certificate\n")
	public := folder("public", 0o755)
	long := filepath.Join(good.Dir, strings.Repeat("long/", 30))
	foreign := filepath.Join(good.Dir, "foreign")
	elsewhere := *good
	elsewhere.Name, elsewhere.Data = "elsewhere.example", foreign
	elsewhere.Renew(t)
	elsewhere.Start(t).Stop()
	good.Renew(t)
	certificate := func(name string, life time.Duration, names ...string) []string {
		cert, key, err := good.CA.IssueFor(life, names...)
		if err != nil {
			t.Fatal(err)
		}
		return []string{"--cert", file(name+".pem", string(cert)), "--key", file(name+".key", string(key))}
	}

	for _, tt := range []struct {
		name   string
		flags  []string // override those that would do
		status int
		stderr string
	}{
		{"unknown flag", []string{"--colour", "blue"}, 2, "unknown flag --colour"},
		{"no number", []string{"--max-connections", "many"}, 2, "--max-connections"},
		{"no such registration", []string{"--registration", "everybody"}, 2, `--registration must be one of "open","invite","closed"`},
		{"too few connections", []string{"--max-connections", "0"}, 1, "--max-connections: 0 is too few"},
		{"name with capitals", []string{"--node", "Node.example"}, 1, "--node: write node.example\n"},
		{"name with a final dot", []string{"--node", "node.example."}, 1, "--node: write node.example\n"},
		{"address for a name", []string{"--node", "ada@node.example"}, 1, "--node: ada@node.example is an address; give the part behind @\n"},
		{"name with a port", []string{"--node", "node.example:443"}, 1, "without port or path; --listen says where\n"},
		{"URL for a name", []string{"--node", "https://node.example"}, 1, "without port or path; --listen says where\n"},
		{"one label for a name", []string{"--node", "node"}, 1, "--node: NODE_INVALID"},
		{"no certificate", []string{"--cert", good.Dir + "/none.pem"}, 1, good.Dir + "/none.pem: no such file"},
		{"no certificate's key", []string{"--key", good.Dir + "/none.pem"}, 1, good.Dir + "/none.pem: no such file"},
		{"garbage for a certificate", []string{"--cert", garbage}, 1, "read the certificate " + garbage},
		{"garbage for a key", []string{"--key", garbage}, 1, garbage},
		{"key of another certificate", []string{"--key", other.Key}, 1, other.Key},
		{"certificate of another name", certificate("other", time.Hour, "other.example", "www.other.example"), 1, "other.pem is for other.example, www.other.example, not node.example: nobody could connect; get one for node.example"},
		{"certificate that has expired", certificate("old", -time.Minute, string(good.Name)), 1, "old.pem expired on "},
		{"negative limit", []string{"--outbox-node-bytes", "-1"}, 1, "a limit is below 0"},
		{"no number for a limit", []string{"--user-messages", "many"}, 2, "--user-messages"},
		{"no such switch", []string{"--limits", "perhaps"}, 2, `--limits must be one of "on","off"`},
		{"no block list", []string{"--block", good.Dir + "/none"}, 1, "read the block list: open " + good.Dir + "/none: no such file"},
		{"nonsense for an allow list", []string{"--allow", garbage}, 1, "read the allow list: " + garbage + ", line 1: "},
		{"no root", []string{"--root-ca", good.Dir + "/none.pem"}, 1, "--root-ca: "},
		{"garbage for a root", []string{"--root-ca", garbage}, 1, garbage + " holds no certificate"},
		{"address without a port", []string{"--resolve", "other.example=192.0.2.1"}, 1, "write NAME=HOST:PORT"},
		{"address of no name", []string{"--resolve", "other=192.0.2.1:443"}, 1, "--resolve: "},
		{"file for a data folder", []string{"--data", garbage}, 1, garbage},
		{"data folder open to others", []string{"--data", public}, 1, "chmod 700"},
		{"data folder under a file", []string{"--data", garbage + "/data"}, 1, "not a directory"},
		{"data folder of another node", []string{"--data", foreign}, 1, "that of the node elsewhere.example, not of node.example"},
		{"data folder too deep", []string{"--data", long}, 1, "choose a shorter data folder"},
		{"port in use", []string{"--listen", taken.Addr().String()}, 1, "listen on " + taken.Addr().String() + ": another program listens there already"},
		{"address of another machine", []string{"--listen", "192.0.2.1:0"}, 1, "listen on 192.0.2.1:0: "},
		{"no address", []string{"--listen", "somewhere"}, 1, "listen on somewhere: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := map[string]string{
				"--node": string(good.Name), "--listen": "127.0.0.1:0", "--data": good.Data, "--cert": good.Cert, "--key": good.Key,
			}
			for i := 0; i < len(tt.flags); i += 2 {
				args[tt.flags[i]] = tt.flags[i+1]
			}
			command := []string{"serve"}
			for flag, value := range args {
				command = append(command, flag+"="+value)
			}
			stdout, stderr, status := run(t, command...)
			if status != tt.status || stdout != "" || !strings.HasPrefix(stderr, "tiptd: ") || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("exit status %d, printed\n%s\non standard error:\n%s\nwant %d and %q", status, stdout, stderr, tt.status, tt.stderr)
			}
			first, help, _ := strings.Cut(stderr, "\n")
			if strings.Contains(first, "listening on") || help != "" && help != "See `tiptd serve --help`.\n" {
				t.Errorf("printed more than the reason:\n%s", stderr)
			}
		})
	}
	// Nothing of all that has kept the node from starting.
	good.Start(t).Stop()
}

// A command line that is wrong is told from what failed, with the way to the right one.
func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"serve"}, "missing flags: --cert=FILE, --data=DIR, --key=FILE, --node=NAME\nSee `tiptd serve --help`."},
		{nil, "say what: serve, dev, demo, maintenance, invite, key, queue, user, gc or version\nSee `tiptd --help`."},
		{[]string{"user"}, "say what: list, disable or enable\nSee `tiptd user --help`."},
		{[]string{"invite"}, "say what: new\nSee `tiptd invite --help`."},
		{[]string{"user", "lst"}, "unexpected argument lst, did you mean \"list\"?\nSee `tiptd user --help`."},
		{[]string{"user", "disable"}, "missing flags: --data=DIR\nSee `tiptd user disable --help`."},
		{[]string{"dev", "--colour"}, "unknown flag --colour\nSee `tiptd dev --help`."},
		{[]string{"dev", "-m"}, "unknown flag -m\nSee `tiptd dev --help`."},
		{[]string{"--colour"}, "unknown flag --colour\nSee `tiptd --help`."},
		{[]string{"bogus"}, "unexpected argument bogus\nSee `tiptd --help`."},
	} {
		out, errs, status := run(t, tt.args...)
		if want := "tiptd: " + tt.want + "\n"; status != 2 || out != "" || errs != want {
			t.Errorf("%q: exit status %d, printed %q\nand\n%s\nwant 2 and\n%s", tt.args, status, out, errs, want)
		}
	}
}

// The version is where people look for it.
func TestVersion(t *testing.T) {
	want := "tiptd " + node.Release + ", Tipt protocol " + tipt.Version + "\n"
	for _, args := range []string{"version", "--version"} {
		if out, errs, status := run(t, args); out != want || errs != "" || status != 0 {
			t.Errorf("%s: exit status %d, printed %q and %q, want %q", args, status, out, errs, want)
		}
	}
}

// A data folder that belongs to somebody else is refused, not worked around.
func TestServeUnreadableData(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd)
	d.Start(t).Stop()
	cmd := command(t, "serve", "--node", string(d.Name), "--listen", "127.0.0.1:0", "--data", d.Data, "--cert", d.Cert, "--key", d.Key)
	if os.Geteuid() == 0 {
		// Nothing is unreadable to root. Somebody else gets the program and the certificate, and
		// may look at the folder's parents.
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		for _, path := range []string{d.Cert, d.Key} {
			if err := os.Chown(path, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		for _, dir := range []string{filepath.Dir(tiptd), d.Dir, filepath.Dir(d.Dir)} {
			if err := os.Chmod(dir, 0o711); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		if err := os.Chmod(d.Data, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Chmod(d.Data, 0o700); err != nil {
				t.Error(err)
			}
		})
	}
	stdout, stderr, status := runCommand(t, cmd)
	if status != 1 || stdout != "" || !strings.HasPrefix(stderr, "tiptd: ") || !strings.Contains(stderr, d.Data) || !strings.Contains(stderr, "permission denied") {
		t.Errorf("exit status %d, printed\n%s\non standard error:\n%s", status, stdout, stderr)
	}
}

// One process serves a data folder; the next one learns which.
func TestServeSecondProcess(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	register(t, d, p.Addr, "ada")
	_, stderr, status := run(t, "serve", "--node", string(d.Name), "--listen", "127.0.0.1:0", "--data", d.Data, "--cert", d.Cert, "--key", d.Key)
	if want := fmt.Sprintf("in use by process %d: a node runs there already; use it, end it, or give another --data\n", p.PID()); status != 1 || !strings.HasSuffix(stderr, want) {
		t.Errorf("exit status %d, want 1 and %q:\n%s", status, want, stderr)
	}
	// The first one has lost nothing, the admin socket included.
	signIn(t, d, p.Addr, "ada", nil)
	if users := admin(t, d, "user", "list"); !strings.Contains(users, "ada") {
		t.Errorf("user list printed\n%s", users)
	}
	p.Kill()
	d.Start(t).Stop() // a lock ends with its process
}

// Every flag is also a variable.
func TestServeVariables(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd)
	d.Args = []string{"serve"}
	d.Env = []string{
		"TIPT_NODE=" + string(d.Name),
		"TIPT_LISTEN=127.0.0.1:0",
		"TIPT_DATA=" + d.Data,
		"TIPT_CERT=" + d.Cert,
		"TIPT_KEY=" + d.Key,
		"TIPT_REGISTRATION=open",
		"TIPT_ROOT_CA=" + d.Root,
		"TIPT_RESOLVE=other.example=127.0.0.1:1",
		"TIPT_MAX_CONNECTIONS=1",
		"TIPT_LOG_FORMAT=json",
		"TIPT_LOG_LEVEL=debug",
	}
	p := d.Start(t)
	register(t, d, p.Addr, "ada") // registration is open
	// The connection of register may still be on its way out.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var only *conn
	for only == nil {
		var err error
		var busy *ws.StatusError
		if only, err = dial(ctx, d, p.Addr, nil); err != nil && !errors.As(err, &busy) {
			t.Fatal(err)
		}
	}
	response := upgrade(t, d, p.Addr)
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("the second connection was answered %s, Retry-After %q, want 503 and a time", response.Status, response.Header.Get("Retry-After"))
	}
	wantStatus(t, d, p.Addr, "overload")
	only.hang()
	p.Stop()
	if log := p.Log(); !strings.Contains(log, `"level":"DEBUG"`) {
		t.Errorf("the log is not JSON at level debug:\n%s", log)
	}

	for variable, want := range map[string]string{
		"TIPT_REGISTRATION=all":           "--registration",
		"TIPT_ROOT_CA=" + d.Dir + "/none": "--root-ca",
		"TIPT_RESOLVE=other.example":      "--resolve",
		"TIPT_MAX_CONNECTIONS=-1":         "--max-connections",
		"TIPT_LOG_FORMAT=xml":             "--log-format",
		"TIPT_LOG_LEVEL=loud":             "--log-level",
	} {
		cmd := command(t, "serve")
		cmd.Env = tipttest.Env(append(append([]string{}, d.Env...), variable)...)
		_, stderr, status := runCommand(t, cmd)
		if status == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit status %d, want an error that names %s:\n%s", variable, status, want, stderr)
		}
	}
}

// Registration is closed unless somebody opens it.
func TestServeRegistrationClosed(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd)
	p := d.Start(t)
	c, err := dial(t.Context(), d, p.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.hang()
	err = c.register(t.Context(), "ada", password, "")
	wantCode(t, "register", err, tipt.ErrRegistrationClosed)
}
