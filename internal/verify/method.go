package verify

import "fmt"

// method chooses how the sides are read, and says why not by snapshots.
func (r *run) method() (m Method, why string, err error) {
	if r.cfg.Options.Method == Scan {
		return Scan, "a scan was asked for", nil
	}
	for _, s := range []*side{r.source, r.target} {
		for _, shard := range s.shards {
			obstacle := shard.node.NoSnapshot()
			switch {
			case obstacle == "":
			case r.cfg.Options.Method == Snapshot:
				return "", "", &hintedError{
					fmt.Errorf("the %s %s cannot be compared by snapshots: %s", s.role, shard.node.Endpoint.Address, obstacle),
					"use --method scan, or permit replication to this user: +psync +replconf",
				}
			default:
				return Scan, fmt.Sprintf("the %s %s: %s", s.role, shard.node.Endpoint.Address, obstacle), nil
			}
		}
	}
	return Snapshot, "", nil
}
