// Command vectors checks testdata/vectors, which the page beside them describes, and with -update first makes
// those that need keys: sealed messages, between nodes and from end to end, sealed answers and
// vouched requests. All of these follow from one seed, so that a check is to make them again; the tests of
// this package do that. Whoever else reads vectors does so in tests with Vectors in their names, which are run too:
//
//	go run ./internal/vectors            checks all vectors
//	go run ./internal/vectors -update    makes and checks them
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
)

// The packages whose tests make vectors, and read them.
const (
	module  = "github.com/tipt/tipt-go"
	makers  = module + "/internal/vectors"
	conform = module + "/conform"
)

func main() {
	update := flag.Bool("update", false, "make the vectors that need keys anew")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "vectors: it takes no arguments")
		os.Exit(2)
	}
	if *update {
		run(makers, "-update")
	}
	run(module, conform, makers)
}

// run runs the tests of vectors, and ends the program when one fails.
func run(args ...string) {
	cmd := exec.Command("go", append([]string{"test", "-run", "Vectors"}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "vectors: %v: %v\n", cmd, err)
		os.Exit(1)
	}
}
