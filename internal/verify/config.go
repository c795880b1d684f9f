package verify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
)

// validate finds what cannot be meant.
func (c Config) validate() error {
	o := c.Options
	switch {
	case len(c.Source.Shards) == 0 || len(c.Target.Shards) == 0:
		return errors.New("verify: a side without servers")
	case c.Source.Rule != nil || c.Target.Rule != nil && (c.Target.Slots != nil || len(c.Target.Shards) < 2 || c.Target.Route.Maps() || c.Source.Route.Maps()):
		return errRule
	case len(c.Target.Shards) > 1 && c.Target.Slots == nil && c.Target.Rule == nil:
		return errors.New("verify: several shards of the target, and no word on which serves what")
	case c.Feeds != nil && len(c.Feeds) != len(c.Source.Shards):
		return errors.New("verify: not every shard of the source has a feed")
	case o.Dir == "":
		return errors.New("verify: no directory for its journal")
	case !slices.Contains([]Method{Automatic, Snapshot, Scan}, o.Method):
		return fmt.Errorf("method %q: use %s or %s, or leave it out", o.Method, Snapshot, Scan)
	case o.Sample < 0 || o.Sample > 1:
		return fmt.Errorf("sample %v: use a share between 0 and 1", o.Sample)
	case o.MaxRate < 0 || o.MaxDuration < 0 || o.Samples < 0:
		return errors.New("verify: a limit is negative")
	case slices.ContainsFunc(o.DBs, func(db int) bool { return db < 0 }):
		return fmt.Errorf("dbs %v: a db's number is 0 or more", o.DBs)
	case o.DeleteExtra && !o.Repair:
		return errors.New("extra keys are deleted only by a repair")
	}
	return nil
}

// fingerprint is the same for two configurations that compare the same: one can go
// on with what the other has left.
func (c Config) fingerprint() []byte {
	h := sha256.New()
	o := c.Options
	for _, part := range []any{o.Method, o.Sample, o.Keys, o.DBs, o.Drop, c.Source.Name, c.Target.Name, c.Source.Route, c.Target.Route} {
		_, _ = fmt.Fprintf(h, "%q\n", fmt.Sprint(part)) // never fails
	}
	for _, s := range []Side{c.Source, c.Target} {
		for _, shard := range s.Shards {
			_, _ = fmt.Fprintf(h, "%q\n", shard.Address) // likewise
		}
	}
	return h.Sum(nil)
}
