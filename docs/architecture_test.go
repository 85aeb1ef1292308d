package docs_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tipt/tipt-go"

// mayImport says which packages of this module each of them may import outside
// its tests. The root is ".".
var mayImport = map[string][]string{
	"internal/msgpack":           {},
	".":                          {"internal/msgpack"},
	"seal":                       {"."},
	"link":                       {".", "internal/msgpack"},
	"internal/ws":                {".", "link"},
	"store":                      {"."},
	"store/sqlite":               {".", "store", "internal/sqlite3"},
	"store/storetest":            {".", "store"},
	"account":                    {".", "store"},
	"mailbox":                    {".", "store", "internal/fault"},
	"peer":                       {".", "seal", "store", "internal/limit", "internal/fault"},
	"node":                       {".", "seal", "internal/ws", "link", "store", "account", "mailbox", "peer", "internal/limit", "internal/fault"},
	"client":                     {".", "seal", "internal/ws", "link"},
	"conform":                    {},
	"internal/limit":             {},
	"internal/fault":             {"store"},
	"internal/sqlite3":           {},
	"internal/devca":             {},
	"internal/tap":               {".", "internal/msgpack"},
	"internal/vectors":           {},
	"internal/tipttest":          {".", "internal/ws", "link", "seal", "store/sqlite", "account", "node", "internal/devca"},
	"internal/letters":           {".", "internal/ws", "link", "seal"},
	"cmd/tiptd":                  {".", "internal/fault", "seal", "store", "store/sqlite", "peer", "mailbox", "node", "client", "internal/limit", "internal/tap", "internal/devca", "account", "cmd/tiptd/internal/hashing"},
	"cmd/tiptd/internal/hashing": {".", "account"},
	"cmd/tipt":                   {".", "client", "conform", "bench", "internal/tap", "internal/devca", "internal/ws", "link", "seal"}, // the last three for doctor, which walks the way itself
	"bench":                      {".", "seal", "bench/internal/bare", "bench/internal/process"},
	"bench/floor":                {".", "seal", "bench/internal/bare", "internal/sqlite3"},
	"bench/fill":                 {".", "bench", "store", "store/sqlite", "account"},
	"bench/run":                  {"bench", "bench/internal/process", "internal/devca"},
	"bench/compare":              {"bench", "bench/internal/process"},
	"bench/allocs":               {"bench", "internal/devca", "account", "node", "seal", "store/sqlite"},
	"bench/internal/bare":        {"."},
	"bench/internal/process":     {},
}

// imports returns, for each package of the module, what it imports of the module
// outside its tests, with the files that do.
func imports(t *testing.T) map[string]map[string]string {
	t.Helper()
	found := make(map[string]map[string]string)
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && name != "..") {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel("..", filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(dir)
		if found[pkg] == nil {
			found[pkg] = make(map[string]string)
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if rest, ok := strings.CutPrefix(imported, module); ok && (rest == "" || rest[0] == '/') {
				found[pkg][path.Clean("./"+rest)] = name
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Imports point one way.
func TestImports(t *testing.T) {
	for pkg, found := range imports(t) {
		allowed, ok := mayImport[pkg]
		if !ok {
			t.Errorf("package %s has no place in mayImport", pkg)
			continue
		}
		for imported, file := range found {
			if !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s, which package %s may not", file, imported, pkg)
			}
		}
	}
}

// The page names every package.
func TestPackages(t *testing.T) {
	page := readPage(t, "architecture.md")
	for _, pkg := range slices.Sorted(maps.Keys(imports(t))) {
		if pkg == "." {
			pkg = "tipt"
		}
		if !strings.Contains(page, "\n| `"+pkg+"`") {
			t.Errorf("architecture.md has no row for package %s", pkg)
		}
	}
}
