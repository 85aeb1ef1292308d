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
	block, allow list
	allowing     bool // there is an allow list
}

// A list is a file's patterns. The common ones, of which there may be many, are looked
// up: whole names and, with the star kept, *. and a name.
type list struct {
	names map[string]struct{}
	globs []string
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
	if fresh.block, err = readList(p.block); err != nil {
		return fmt.Errorf("read the block list: %w", err)
	}
	if fresh.allow, err = readList(p.allow); err != nil {
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
	return !l.block.has(node) && (!l.allowing || l.allow.has(node))
}

func (l list) has(node tipt.NodeName) bool {
	if _, ok := l.names[string(node)]; ok {
		return true
	}
	for parent := string(node); ; {
		_, rest, ok := strings.Cut(parent, ".")
		if !ok {
			break
		}
		if _, ok := l.names["*."+rest]; ok {
			return true
		}
		parent = rest
	}
	for _, glob := range l.globs {
		// The pattern is valid, readList saw to that. A name has no slash, so * spans labels.
		if ok, _ := path.Match(glob, string(node)); ok {
			return true
		}
	}
	return false
}

func readList(file string) (list, error) {
	l := list{names: make(map[string]struct{})}
	if file == "" {
		return l, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return list{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		pattern, _, _ := strings.Cut(lines.Text(), "#")
		if pattern = strings.TrimSpace(pattern); pattern == "" {
			continue
		}
		if err := l.add(pattern); err != nil {
			return list{}, fmt.Errorf("%s, line %d: %w", file, number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return list{}, fmt.Errorf("%s: %w", file, err)
	}
	return l, nil
}

// add refuses what could never match, which would leave a node allowed that the
// operator takes for barred.
func (l *list) add(pattern string) error {
	if len(l.names)+len(l.globs) >= maxPatterns {
		return fmt.Errorf("more than %d patterns", maxPatterns)
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		if _, err := tipt.ParseNodeName(pattern); err != nil {
			return fmt.Errorf("%q: %w", pattern, err)
		}
		l.names[pattern] = struct{}{}
		return nil
	}
	_, err := path.Match(pattern, "")
	if err != nil || strings.Trim(pattern, `abcdefghijklmnopqrstuvwxyz0123456789-.*?[]^`) != "" {
		return fmt.Errorf("%q is no pattern of nodes' names in lower-case A-labels, such as *.example.org", pattern)
	}
	if rest, ok := strings.CutPrefix(pattern, "*."); ok && !strings.ContainsAny(rest, `*?[`) {
		if _, err := tipt.ParseNodeName("x." + rest); err != nil {
			return fmt.Errorf("%q: %w", pattern, err)
		}
		l.names[pattern] = struct{}{}
		return nil
	}
	l.globs = append(l.globs, pattern)
	return nil
}
