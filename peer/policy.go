package peer

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"github.com/tipt/tipt-go"
)

// maxPatterns bounds the lines of a list.
const maxPatterns = 100_000

// A Policy is an operator's choice of the nodes this one has to do with, in both
// directions: what the block list names is barred, and so is, where there is an
// allow list, all that it does not name. Its files have one glob a line, such
// as *.example.org; # begins a comment. A nil Policy allows all.
type Policy struct {
	block, allow string // files, "" for none
	lists        atomic.Pointer[lists]
}

type lists struct {
	block, allow []string
	allowing     bool // there is an allow list
}

// LoadPolicy reads the lists. Either file may be "".
func LoadPolicy(block, allow string) (*Policy, error) {
	p := &Policy{block: block, allow: allow}
	return p, p.Reload()
}

// Reload reads the lists again. After an error the old ones hold.
func (p *Policy) Reload() error {
	var fresh lists
	var err error
	if fresh.block, err = readGlobs(p.block); err != nil {
		return fmt.Errorf("read the block list: %w", err)
	}
	if fresh.allow, err = readGlobs(p.allow); err != nil {
		return fmt.Errorf("read the allow list: %w", err)
	}
	fresh.allowing = p.allow != ""
	p.lists.Store(&fresh)
	return nil
}

// Allows reports whether the node may be spoken to and heard.
func (p *Policy) Allows(node tipt.NodeName) bool {
	if p == nil {
		return true
	}
	l := p.lists.Load()
	return !matches(l.block, node) && (!l.allowing || matches(l.allow, node))
}

func matches(globs []string, node tipt.NodeName) bool {
	for _, glob := range globs {
		// The pattern is valid, Reload saw to that. A name has no slash, so * spans labels.
		if ok, _ := path.Match(glob, string(node)); ok {
			return true
		}
	}
	return false
}

func readGlobs(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var globs []string
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		glob, _, _ := strings.Cut(lines.Text(), "#")
		if glob = strings.TrimSpace(glob); glob == "" {
			continue
		}
		if _, err := path.Match(glob, ""); err != nil || glob != strings.ToLower(glob) || strings.ContainsAny(glob, " /@") {
			return nil, fmt.Errorf("%s, line %d: %q is no pattern of nodes' names in lower case, such as *.example.org", file, number, glob)
		}
		if globs = append(globs, glob); len(globs) > maxPatterns {
			return nil, fmt.Errorf("%s has more than %d patterns", file, maxPatterns)
		}
	}
	return globs, lines.Err()
}
