package verify

import (
	"fmt"

	"godwit/internal/topology"
)

// method chooses how the sides are read, and says why not by snapshots.
func (r *run) method() (m Method, why string, err error) {
	if r.cfg.Options.Method == Scan {
		return Scan, "a scan was asked for", nil
	}
	for _, s := range []*side{r.source, r.target} {
		for _, shard := range s.shards {
			obstacle := NoSnapshot(shard.node)
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

// NoSnapshot says why a server's data cannot be had by PSYNC, "" if it can.
func NoSnapshot(n topology.Node) string {
	for _, command := range []topology.Command{topology.Psync, topology.Replconf} {
		switch n.Permissions.Of(command) {
		case topology.Denied:
			return fmt.Sprintf("%s is not permitted to user %s", command, n.User())
		case topology.Missing:
			return fmt.Sprintf("the server has no %s, as managed services and those who rename commands have it", command)
		case topology.Allowed, topology.Unknown:
		}
	}
	if !n.RDBFormat().Known() {
		return fmt.Sprintf("its snapshots are of version %d, which is not known here", n.RDBVersion)
	}
	return ""
}
