//go:build !fault

package fault

import (
	"net/http"
	"time"

	"github.com/tipt/tipt-go/store"
)

// Now is the time by which a node vouches for its users and judges what other nodes
// vouch for, dates what it stores, and tells what is too old. How long something takes, or
// has to wait, is measured by time.Now.
func Now() time.Time { return time.Now() }

// Store returns the store that a node is to use in place of s.
func Store(s store.Store) store.Store { return s }

// Handle adds to the admin socket what a test looks at.
func Handle(*http.ServeMux) {}
