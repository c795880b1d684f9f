// Package matrix runs whole migrations between servers of any two versions: a
// data set of every type and encoding, random commands of each server's own
// version, a cutover and a rollback, and a comparison by meaning at each stage.
// make matrix runs every ordered pair and writes docs/compatibility.md; make test
// runs a short form of a few.
package matrix

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// seed of everything that is random; a failure names it.
var seed = flag.Uint64("seed", 1, "of data and commands")

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "3"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
