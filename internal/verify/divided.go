package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/refresh"
	"godwit/internal/topology"
)

// The source may be several servers among which clients have divided their keys: which of
// them has a key only the clients know. So every one is asked for every key, and what they
// have of it is put together: one of them has it, or none. What two of them have the target
// can have but once, whatever it is there; it is a difference of its own, Twice.

// divided tells whether the side is such servers.
func (s *side) divided() bool { return s.several() && !s.ruled() }

// apart sees that several servers of a side have nothing to do with each other.
func (s *side) apart() error {
	if !s.several() {
		return nil
	}
	for i, shard := range s.shards {
		if shard.node.Mode == topology.Cluster {
			return &hintedError{
				fmt.Errorf("the %s %s is of a cluster, and one of several servers", s.role, shard.address()),
				"a cluster is one side: name any one node of it",
			}
		}
		for _, other := range s.shards[:i] {
			if id := shard.node.Replication.ReplID; id != "" && id == other.node.Replication.ReplID {
				return &hintedError{
					fmt.Errorf("the %ss %s and %s have one history: they are one server, or a replica and what it follows", s.role, other.address(), shard.address()),
					"name each primary once, and no replicas",
				}
			}
		}
	}
	return nil
}

// beside is what the side has of a key of which some of its servers have what is known, and
// another one, at an address, has more.
func (s *side) beside(db int, known, more keyState, address string) keyState {
	switch {
	case s.ruled() && known.there && more.there:
		return bothLibraries(known, more)
	case s.ruled() && !more.there:
		return known
	case !s.scattered(db):
		return more
	case !more.there:
		return known
	case !known.there:
		more.servers = address
		return more
	case known.Type == libraryType && more.Type == libraryType && known.Sum == more.Sum:
		return known
	}
	known.servers += ", " + address
	known.twice, known.torn = true, known.torn || more.torn
	return known
}

// haveIt says of a key which servers have it.
func haveIt(servers string) string { return servers + " have it: the target can have one of them" }

// addresses are where the servers with these numbers are.
func (s *side) addresses(shards []int) string {
	var all []string
	for _, shard := range shards {
		all = append(all, s.Shards[shard].Address)
	}
	return strings.Join(all, ", ")
}

// everyShard gives do the keys for each of several servers that has the db.
func (r *reader) everyShard(ctx context.Context, db int, keys [][]byte, do func(c *refresh.Conn, db int, keys [][]byte, at []int) error) error {
	for shard := range r.side.Shards {
		lacks, err := r.lacksAt(ctx, shard, db)
		if err != nil {
			return err
		}
		if lacks {
			continue
		}
		c, err := r.conn(ctx, r.conns, shard)
		if err != nil {
			return err
		}
		if err := do(c, db, keys, nil); err != nil {
			return err
		}
	}
	return nil
}

// shardsOf are the shards that may have keys of which one is given, all of one slot where
// the side is a cluster: the one that serves it, or every one of a scattered db.
func (r *reader) shardsOf(db int, key []byte) []int {
	if !r.side.scattered(db) {
		return []int{r.shardOf(db, key)}
	}
	all := make([]int, len(r.side.Shards))
	for i := range all {
		all[i] = i
	}
	return all
}

// sameDB is how many records at the beginning are of the first one's db: more than one
// where several servers of a side have a key.
func sameDB(records []record) int {
	n := 0
	for n < len(records) && records[n].db == records[0].db {
		n++
	}
	return n
}

// twice is the difference that a key makes which several servers of the source have. The
// target's record is nil where it has none.
func (j judgement) twice(source []record, target *record) Difference {
	d := difference(Twice, &source[0], target)
	var shards []int
	for _, r := range source {
		shards = append(shards, r.shard)
	}
	slices.Sort(shards)
	d.Detail = haveIt(j.source.addresses(slices.Compact(shards)))
	return d
}
