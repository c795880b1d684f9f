// Package audit compares two servers that nobody writes to: every db, key by
// key, value by meaning rather than by encoding, TTLs to the millisecond, and
// the function libraries. It reads only with ordinary commands, so that it shares
// no code, and no mistakes, with what it checks.
package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
)

// Kind is in what way a key differs.
type Kind string

// The kinds of differences, seen from the first server, a, to the second, b.
const (
	Missing Kind = "missing" // in a, not in b
	Extra   Kind = "extra"   // in b, not in a
	Type    Kind = "type"
	Value   Kind = "value"
	TTL     Kind = "ttl" // of the key or of a hash field
)

// Difference is one key that is not the same on both sides.
type Difference struct {
	DB     int // -1 for a function library, which belongs to no db
	Key    string
	Kind   Kind
	Detail string // what a has, then what b has; long values are cut
}

func (d Difference) String() string {
	if d.DB < 0 {
		return fmt.Sprintf("function library %q: %s: %s", d.Key, d.Kind, d.Detail)
	}
	return fmt.Sprintf("db %d, key %.100q: %s: %s", d.DB, d.Key, d.Kind, d.Detail)
}

// Report is what a comparison found.
type Report struct {
	Keys        int64        // compared, those of a
	Different   int64        // all that was found, also where Differences was cut short
	Differences []Difference // at most Options.MaxDifferences
}

// Equal tells whether nothing differs.
func (r Report) Equal() bool { return r.Different == 0 }

// Options tune a comparison. The zero value compares everything exactly.
type Options struct {
	MaxDifferences int           // to be listed; default 100
	TTLTolerance   time.Duration // by which expiry times may differ

	// NoEntriesRead leaves out how many entries a consumer group has read: Redis
	// 7.0 does not replicate it, but for NOACK.
	NoEntriesRead bool

	// LargeValue is the size in bytes, in the server's memory, from which a value
	// is read in pieces; default 8 MiB.
	LargeValue int64
}

// workers is how many batches of keys are compared at the same time.
const workers = 2

// Compare reads both servers. It needs a few seconds for 300,000 keys, and the
// memory for a batch of them. Keys that expire meanwhile do not count as
// different. What is in neither's INFO keyspace is not looked at.
func Compare(ctx context.Context, a, b server.Endpoint, o Options) (Report, error) {
	if o.MaxDifferences == 0 {
		o.MaxDifferences = 100
	}
	if o.LargeValue == 0 {
		o.LargeValue = 8 << 20
	}
	c := &comparison{options: o}
	if err := c.run(ctx, a, b); err != nil {
		return Report{}, fmt.Errorf("comparing %s with %s: %w", a, b, err)
	}
	slices.SortFunc(c.report.Differences, func(x, y Difference) int {
		if x.DB != y.DB {
			return x.DB - y.DB
		}
		return strings.Compare(x.Key, y.Key)
	})
	return c.report, nil
}

type comparison struct {
	options Options

	mu     sync.Mutex // guards report
	report Report
}

func (c *comparison) add(keys int, differences []Difference) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Keys += int64(keys)
	c.report.Different += int64(len(differences))
	room := c.options.MaxDifferences - len(c.report.Differences)
	c.report.Differences = append(c.report.Differences, differences[:min(room, len(differences))]...)
}

func (c *comparison) run(ctx context.Context, endpointA, endpointB server.Endpoint) error {
	a, err := openSide(ctx, endpointA)
	if err != nil {
		return err
	}
	defer a.close()
	b, err := openSide(ctx, endpointB)
	if err != nil {
		return err
	}
	defer b.close()

	libraries, err := compareLibraries(ctx, a, b)
	if err != nil {
		return err
	}
	c.add(0, libraries)

	dbs := slices.Concat(a.dbs, b.dbs)
	slices.Sort(dbs)
	for _, db := range slices.Compact(dbs) {
		if err := c.compareDB(ctx, a, b, db); err != nil {
			return fmt.Errorf("db %d: %w", db, err)
		}
	}
	return nil
}

// compareDB looks up the keys of a in b, then those of b in a: that both have as
// many keys would not prove it, some may have expired and not be gone yet.
func (c *comparison) compareDB(ctx context.Context, a, b *side, db int) error {
	err := c.eachBatch(ctx, a, a, b, db, func(ctx context.Context, p pair, keys []string) ([]Difference, error) {
		c.add(len(keys), nil)
		return p.compareKeys(ctx, keys)
	})
	if err != nil {
		return err
	}
	return c.eachBatch(ctx, b, a, b, db, func(ctx context.Context, p pair, keys []string) ([]Difference, error) {
		return p.findExtra(ctx, keys)
	})
}

// look compares some keys.
type look func(ctx context.Context, p pair, keys []string) ([]Difference, error)

// eachBatch scans the keys of one side and looks at them batch by batch. What
// seems to differ is looked at twice: a key may have expired on one side just
// before, and on the other just after.
func (c *comparison) eachBatch(ctx context.Context, scanned, a, b *side, db int, first look) error {
	group, ctx := errgroup.WithContext(ctx)
	batches := make(chan []string)
	group.Go(func() error {
		defer close(batches)
		return scanned.scan(ctx, db, batches)
	})
	for range workers {
		group.Go(func() error {
			p, err := openPair(ctx, a, b, db, c.options)
			if err != nil {
				return err
			}
			defer p.close()
			for keys := range batches {
				suspects, err := first(ctx, p, keys)
				if err != nil {
					return err
				}
				if len(suspects) == 0 {
					continue
				}
				differences, err := p.lookAgain(ctx, suspects)
				if err != nil {
					return err
				}
				c.add(0, differences)
			}
			return nil
		})
	}
	return group.Wait()
}

// quote shortens a value for a person to read.
func quote(s string) string {
	const limit = 60
	if len(s) <= limit {
		return strconv.Quote(s)
	}
	return fmt.Sprintf("%s... (%d bytes)", strconv.Quote(s[:limit]), len(s))
}
