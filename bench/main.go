// Command bench measures godwit side by side with native replication, on real
// servers of this machine, and keeps the table of docs/benchmarks.md. Ratios
// are of medians of runs that alternate, so that both sides see the same
// machine; absolute figures are of that machine alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"godwit/internal/sandbox"
)

type bench struct {
	godwit  string // path of the binary
	catalog sandbox.Catalog
	short   bool
	report  *report
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	godwit := flag.String("godwit", ".bin/godwit", "the binary to measure")
	servers := flag.String("servers", ".servers", "where scripts/get-servers.sh put the servers")
	short := flag.Bool("short", false, "small sizes and few runs: shows that the benchmarks work, and writes no table")
	only := flag.String("only", "", "comma-separated: copy, memory, scan, follow, switch, verify, cluster, set")
	output := flag.String("o", "docs/benchmarks.md", "the page whose table is replaced")
	flag.Parse()
	catalog, err := sandbox.Servers(*servers)
	if err != nil {
		return err
	}
	b := &bench{godwit: *godwit, catalog: catalog, short: *short, report: newReport()}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"copy", b.copies}, {"memory", b.memory}, {"scan", b.scan}, {"follow", b.follow}, {"switch", b.switches}, {"verify", b.verify}, {"cluster", b.cluster}, {"set", b.setOrRestore},
	} {
		if *only != "" && !strings.Contains(","+*only+",", ","+part.name+",") {
			continue
		}
		fmt.Printf("== %s\n", part.name)
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if err := b.report.print(os.Stdout); err != nil {
		return err
	}
	if !*short && *only == "" {
		if err := b.report.write(*output); err != nil {
			return err
		}
	}
	if n := b.report.missed(); n > 0 {
		return fmt.Errorf("%d of the limits are not met", n)
	}
	return nil
}

// pick is a for the long form and b for the short one.
func (b *bench) pick(long, short int) int {
	if b.short {
		return short
	}
	return long
}

// version is that of every server that nothing else is said of.
const version = "redis-7.0"

// start runs a server.
func (b *bench) start(ctx context.Context) (*sandbox.Server, error) {
	return b.startVersion(ctx, version)
}

func (b *bench) startVersion(ctx context.Context, version string, args ...string) (*sandbox.Server, error) {
	binary, err := b.catalog.Lookup(version)
	if err != nil {
		return nil, err
	}
	return sandbox.Start(ctx, binary, sandbox.Options{Args: args})
}

// closing closes servers and keeps the first error.
func closing(err *error, servers ...*sandbox.Server) {
	for _, s := range servers {
		if s != nil {
			*err = errors.Join(*err, s.Close())
		}
	}
}
