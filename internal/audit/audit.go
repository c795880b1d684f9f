// Package audit compares two deployments that nobody writes to, servers or clusters or
// sets of servers over which clients spread the keys: every db, key by
// key, value by meaning rather than by encoding, TTLs to the millisecond, and
// the function libraries. It reads only with ordinary commands, so that it shares
// no code, and no mistakes, with what it checks.
package audit

import (
	"context"
	"fmt"
	"maps"
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

// The kinds of differences, seen from the first deployment, a, to the second, b.
const (
	Missing Kind = "missing" // in a, not in b
	Extra   Kind = "extra"   // in b, not in a
	Type    Kind = "type"
	Value   Kind = "value"
	TTL     Kind = "ttl"   // of the key or of a hash field
	Twice   Kind = "twice" // in two shards of one side; it is compared where clients find it
	Stray   Kind = "stray" // in a shard of a cluster that does not serve its slot, where clients do not find it
	NoDB    Kind = "no db" // a db with keys that the other side does not have; Key is empty
)

// Difference is one key that is not the same on both sides.
type Difference struct {
	DB     int // -1 for a function library, which belongs to no db
	Key    string
	Kind   Kind
	Detail string // what a has, then what b has; long values are cut
}

func (d Difference) String() string {
	switch {
	case d.Kind == NoDB:
		return fmt.Sprintf("db %d: %s", d.DB, d.Detail)
	case d.DB < 0:
		return fmt.Sprintf("function library %q: %s: %s", d.Key, d.Kind, d.Detail)
	}
	return fmt.Sprintf("db %d, key %.100q: %s: %s", d.DB, d.Key, d.Kind, d.Detail)
}

// Report is what a comparison found.
type Report struct {
	Keys        int64        // compared, those of a
	Ignored     int64        // keys left out, of both sides
	Different   int64        // all that was found, also where Differences was cut short
	Differences []Difference // at most Options.MaxDifferences
}

// Equal tells whether nothing differs.
func (r Report) Equal() bool { return r.Different == 0 }

// Options tune a comparison. The zero value compares everything exactly.
type Options struct {
	MaxDifferences int           // to be listed; default 100
	Ignore         string        // keys whose names begin so are left out, unless it is empty
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

// Compare reads both deployments, each of which is a server, or a cluster of which a
// node is named. It needs a few seconds for 300,000 keys, and the
// memory for a batch of them. Keys that expire meanwhile do not count as
// different. What is in neither's INFO keyspace is not looked at.
func Compare(ctx context.Context, a, b server.Endpoint, o Options) (Report, error) {
	return CompareSets(ctx, []server.Endpoint{a}, []server.Endpoint{b}, o)
}

// CompareSets is Compare for deployments of which any number of nodes are named: of a
// cluster one that can be reached is enough; servers that are no cluster have the keys
// together. A cluster must be settled: it fails at a slot that moves meanwhile.
func CompareSets(ctx context.Context, a, b []server.Endpoint, o Options) (Report, error) {
	if o.MaxDifferences == 0 {
		o.MaxDifferences = 100
	}
	if o.LargeValue == 0 {
		o.LargeValue = 8 << 20
	}
	c := &comparison{options: o}
	if err := c.run(ctx, a, b); err != nil {
		return Report{}, fmt.Errorf("comparing %s with %s: %w", names(a), names(b), err)
	}
	slices.SortFunc(c.report.Differences, func(x, y Difference) int {
		if x.DB != y.DB {
			return x.DB - y.DB
		}
		return strings.Compare(x.Key, y.Key)
	})
	return c.report, nil
}

func names(endpoints []server.Endpoint) string {
	list := make([]string, len(endpoints))
	for i, e := range endpoints {
		list[i] = e.String()
	}
	return strings.Join(list, ", ")
}

type comparison struct {
	options Options

	mu     sync.Mutex // guards report
	report Report
}

func (c *comparison) ignore(keys int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Ignored += keys
}

func (c *comparison) add(keys int, differences []Difference) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Keys += int64(keys)
	c.report.Different += int64(len(differences))
	room := c.options.MaxDifferences - len(c.report.Differences)
	c.report.Differences = append(c.report.Differences, differences[:min(room, len(differences))]...)
}

func (c *comparison) run(ctx context.Context, endpointsA, endpointsB []server.Endpoint) error {
	a, err := openSide(ctx, "a", endpointsA)
	if err != nil {
		return err
	}
	defer a.close()
	b, err := openSide(ctx, "b", endpointsB)
	if err != nil {
		return err
	}
	defer b.close()

	libraries, err := compareLibraries(ctx, a, b)
	if err != nil {
		return err
	}
	c.add(0, libraries)

	dbs := slices.AppendSeq(slices.Collect(maps.Keys(a.dbs)), maps.Keys(b.dbs))
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
	for _, sides := range [][2]*side{{a, b}, {b, a}} {
		has, err := sides[1].hasDB(ctx, db)
		if err != nil {
			return err
		}
		if !has {
			detail := fmt.Sprintf("%d keys in %s, and %s has no such db", sides[0].dbs[db], sides[0].name, sides[1].name)
			c.add(0, []Difference{{DB: db, Kind: NoDB, Detail: detail}})
			return nil
		}
	}
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

// eachBatch scans the keys of one side and looks at them batch by batch.
func (c *comparison) eachBatch(ctx context.Context, scanned, a, b *side, db int, first look) error {
	group, ctx := errgroup.WithContext(ctx)
	batches := make(chan batch)
	group.Go(func() error {
		defer close(batches)
		ignored, err := scanned.scan(ctx, db, c.options.Ignore, batches)
		c.ignore(ignored)
		return err
	})
	for range workers {
		group.Go(func() error {
			p, err := openPair(ctx, a, b, db, c.options)
			if err != nil {
				return err
			}
			defer p.close()
			for batch := range batches {
				if err := c.lookAt(ctx, p, scanned, batch, first); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// lookAt looks at what seems to differ twice: a key may have expired on one side just
// before, and on the other just after.
func (c *comparison) lookAt(ctx context.Context, p pair, scanned *side, b batch, first look) error {
	keys, misplaced, err := p.place(ctx, scanned, b)
	if err != nil {
		return err
	}
	c.add(0, misplaced)
	suspects, err := first(ctx, p, keys)
	if err != nil || len(suspects) == 0 {
		return err
	}
	differences, err := p.lookAgain(ctx, suspects)
	if err != nil {
		return err
	}
	c.add(0, differences)
	return nil
}

// quote shortens a value for a person to read.
func quote(s string) string {
	const limit = 60
	if len(s) <= limit {
		return strconv.Quote(s)
	}
	return fmt.Sprintf("%s... (%d bytes)", strconv.Quote(s[:limit]), len(s))
}
