package sqlite_test

import (
	"testing"

	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
	"github.com/tipt/tipt-go/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T, dir string) store.Store {
		s, err := sqlite.Open(dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
