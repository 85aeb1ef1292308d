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
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

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

// within reports whether a package is dir or below it.
func within(pkg, dir string) bool {
	return pkg == dir || strings.HasPrefix(pkg, dir+"/")
}

// TestForeignImports keeps libraries, and in the root package I/O, goroutines and clocks, where they
// belong. What packages of this module may import of each other, docs has a test of.
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
				{"modernc.org/sqlite", []string{"internal/sqlite3", "store/sqlite", "bench/run"}},
				{"modernc.org/libc", []string{"internal/sqlite3"}},
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
