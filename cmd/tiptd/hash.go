package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/cmd/tiptd/internal/hashing"
)

// hashCmd is the process that hashes passwords for a node. Nobody starts it by hand.
type hashCmd struct {
	AtOnce int `arg:"" help:"How many at once."`
}

func (c *hashCmd) Run(s streams) error {
	if c.AtOnce < 1 {
		return fmt.Errorf("%d hashes at once, at least 1 is needed", c.AtOnce)
	}
	return hashing.Serve(os.Stdin, s.out, c.AtOnce)
}

// startHashing starts that process. The caller closes what it returns once no node uses it.
func startHashing(log *slog.Logger, s streams) *hashing.Hasher {
	return hashing.Start(log, s.err, "hash", strconv.Itoa(account.HashesAtOnce()))
}
