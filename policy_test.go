package tipt_test

import (
	"bytes"
	"errors"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tipt/tipt-go"

// packages are all packages of the module by their folder; the root is ".".
// What is only tests is among them too.
func packages(t *testing.T) map[string]*build.Package {
	t.Helper()
	found := map[string]*build.Package{}
	err := filepath.WalkDir(".", func(dir string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if name := entry.Name(); dir != "." && (name == "testdata" || name[0] == '.' || name[0] == '_') {
			return fs.SkipDir
		}
		p, err := build.ImportDir(dir, 0)
		if none := (*build.NoGoError)(nil); errors.As(err, &none) {
			return nil
		} else if err != nil {
			return err
		}
		found[filepath.ToSlash(dir)] = p
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found["."] == nil || found["internal/msgpack"] == nil {
		t.Fatalf("found only %v", slices.Sorted(maps.Keys(found)))
	}
	return found
}

// TestPackageDocs wants a sentence about every package that is not only tests.
func TestPackageDocs(t *testing.T) {
	for dir, p := range packages(t) {
		documented := 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				documented++
				start := "Package " + p.Name + " "
				if p.Name == "main" {
					start = ""
				}
				if !strings.HasPrefix(f.Doc.Text(), start) {
					t.Errorf("the doc of %s does not start with %q", dir, start)
				}
			}
		}
		if len(p.GoFiles) > 0 && documented != 1 {
			t.Errorf("package %s has its doc in %d files, not in one", dir, documented)
		}
	}
}

// TestImportDirection wants imports to point one way, directly or through others.
// docs/architecture.md draws the arrows.
func TestImportDirection(t *testing.T) {
	all := packages(t)
	reached := map[string]map[string]bool{}
	var reach func(dir string) map[string]bool
	reach = func(dir string) map[string]bool {
		if r := reached[dir]; r != nil {
			return r
		}
		r := map[string]bool{}
		reached[dir] = r
		for _, imported := range all[dir].Imports {
			rest, ours := strings.CutPrefix(imported, module)
			if !ours || rest != "" && rest[0] != '/' {
				continue
			}
			to := path.Clean("./" + rest)
			if all[to] == nil {
				t.Fatalf("%s imports %s, which is not there", dir, imported)
			}
			r[to] = true
			maps.Copy(r, reach(to))
		}
		return r
	}

	processes := []string{"cmd", "bench"}
	whole := append([]string{"internal/tipttest"}, processes...) // may put a whole node together
	for _, rule := range []struct {
		to     string   // a package and those below it
		only   []string // if set: reached only from these
		except []string // if set: reached from all but these
	}{
		{to: "cmd", only: []string{"nothing"}},
		{to: "node", only: whole},
		{to: "store/sqlite", only: whole},
		{to: "store/storetest", only: []string{"nothing"}}, // outside of tests
		{to: "internal/tipttest", only: []string{"nothing"}},
		{to: "client", only: whole},
		{to: "conform", only: processes},
		{to: "account", only: append([]string{"node"}, whole...)},
		{to: "mailbox", only: append([]string{"node"}, whole...)},
		{to: "peer", only: append([]string{"node"}, whole...)},
		{to: "store", except: []string{"seal", "link", "internal/ws", "internal/msgpack", "client"}},
		{to: "link", except: []string{"seal", "store", "account", "mailbox", "peer"}},
		{to: "internal/ws", except: []string{"seal", "store", "account", "mailbox", "peer", "link"}},
		{to: "seal", except: []string{"link", "internal/ws", "store", "account", "mailbox"}},
		{to: ".", except: []string{"internal/msgpack"}},
	} {
		for from := range all {
			if from == rule.to || within(from, rule.to) && rule.to != "." {
				continue
			}
			allowed := !slices.ContainsFunc(rule.except, func(x string) bool { return within(from, x) })
			if rule.only != nil {
				allowed = slices.ContainsFunc(rule.only, func(x string) bool { return within(from, x) })
			}
			for to := range reach(from) {
				if !allowed && (to == rule.to || within(to, rule.to) && rule.to != ".") {
					t.Errorf("%s reaches %s", from, to)
				}
			}
		}
	}
}

// within reports whether a package is dir or below it.
func within(pkg, dir string) bool {
	return pkg == dir || strings.HasPrefix(pkg, dir+"/")
}

// TestForeignImports keeps libraries, and in the root package I/O, goroutines and clocks, where they
// belong.
func TestForeignImports(t *testing.T) {
	for dir, p := range packages(t) {
		for _, imported := range p.Imports {
			for _, rule := range []struct {
				library string
				only    []string
			}{
				{"github.com/ProtonMail/go-crypto", []string{"seal", "conform"}},
				{"github.com/coder/websocket", []string{"internal/ws", "internal/tipttest"}},
				{"github.com/gobwas/ws", []string{"internal/ws"}},
				{"golang.org/x/crypto/argon2", []string{"account"}},
				{"modernc.org/sqlite", []string{"store/sqlite", "bench/floor"}},
				{"testing", []string{"internal/tipttest", "store/storetest"}},
			} {
				if within(imported, rule.library) && !slices.Contains(rule.only, dir) {
					t.Errorf("%s imports %s", dir, imported)
				}
			}
		}
	}
	for _, imported := range packages(t)["."].Imports {
		if slices.Contains([]string{"context", "io", "net", "net/http", "os", "sync", "log", "log/slog"}, imported) {
			t.Errorf("the protocol imports %s", imported)
		}
	}
}

// TestFileSizes wants files that can be read at a sitting.
func TestFileSizes(t *testing.T) {
	const most = 500
	for dir, p := range packages(t) {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(b, []byte("\n")); n >= most {
				t.Errorf("%s has %d lines, not under %d", filepath.Join(dir, name), n, most)
			}
		}
	}
}
