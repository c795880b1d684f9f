package plan

import (
	"fmt"

	"godwit/internal/server"
	"godwit/internal/topology"
)

// versionRules see that each server understands what the other one sends.
func versionRules() []rule {
	return []rule{
		{"snapshot-version", blocker, func(in *input) (string, string) {
			version := in.Source.SnapshotFor(in.Target)
			if in.Target.Loads(version) {
				return "", ""
			}
			return fmt.Sprintf("the target (%s) cannot load the snapshots of the source (%s), which are of RDB version %d", in.Target.Version, in.Source.Version, version),
				loaders(version)
		}},
		{"field-ttl", blocker, func(in *input) (string, string) {
			n := in.Source.FieldExpires()
			if n == 0 || carriesFieldTTL(in) {
				return "", ""
			}
			return fmt.Sprintf("%s of the source with a TTL on a field, which the target (%s) cannot be sent", count(n, "hash", "hashes"), in.Target.Version),
				"choose a target of the source's product and at least its version, or remove these TTLs with HPERSIST"
		}},
		{"field-ttl-later", warning, func(in *input) (string, string) {
			if in.Source.FieldExpires() > 0 || !hasFieldTTL(in.Source) || carriesFieldTTL(in) {
				return "", ""
			}
			return "the target cannot be sent a hash with a TTL on a field: should one appear, the migration stops", "see that no client uses HEXPIRE and the like"
		}},
		{"stream-commands", warning, func(in *input) (string, string) {
			if in.Target.KnowsCommandsOf(in.Source.Version) {
				return "", ""
			}
			return fmt.Sprintf("the source (%s) may replicate commands that the target (%s) does not know: the link then stops and names the first one", in.Source.Version, in.Target.Version), ""
		}},
		{"way-back-commands", warning, func(in *input) (string, string) {
			if !in.wantsBack() || in.Source.KnowsCommandsOf(in.Target.Version) {
				return "", ""
			}
			return fmt.Sprintf("the way back is limited: after the cutover the target (%s) may replicate commands that the source (%s) does not know; the reverse link then stops and names the first one, and a rollback is possible no more%s",
				in.Target.Version, in.Source.Version, pxat(in)), "go back, if at all, before clients use commands that only the new version has"
		}},
		{"way-back-snapshot", warning, func(in *input) (string, string) {
			if !in.wantsBack() || in.Source.Loads(in.Target.SnapshotFor(in.Source)) {
				return "", ""
			}
			size := in.Target.Replication.Backlog.Size
			return fmt.Sprintf("the way back is limited: the source (%s) cannot load a snapshot of the target (%s), so it holds only as long as the target's backlog (%s) covers every interruption of the reverse link",
					in.Source.Version, in.Target.Version, bytes(size)),
				"enlarge it: " + in.Target.CLI("CONFIG", "SET", "repl-backlog-size", "256mb")
		}},
	}
}

// loaders says what could load a snapshot of that version.
func loaders(version int) string {
	const rule = "a server loads snapshots of its own RDB version and below"
	switch {
	case version >= 80:
		return rule + ": choose a target from Valkey 9.0 on"
	case version > 11:
		return fmt.Sprintf("%s, and Valkey none of Redis 7.4 or later: choose a Redis that writes RDB version %d (Redis 7.4: 12, Redis 8.6: 13)", rule, version)
	}
	return fmt.Sprintf("%s: choose a target that writes RDB version %d at least (Redis 7.0: 10, Redis 7.2 and Valkey: 11)", rule, version)
}

// hasFieldTTL tells whether a field of a hash can have a TTL.
func hasFieldTTL(n topology.Node) bool {
	switch n.Version.Product {
	case server.Redis:
		return n.Version.AtLeast(7, 4)
	case server.Valkey:
		return n.Version.AtLeast(9, 0)
	case server.Redict:
	}
	return false
}

// carriesFieldTTL tells whether a snapshot that the target loads holds such TTLs:
// not the old format that Valkey 9.1 writes for others.
func carriesFieldTTL(in *input) bool {
	return hasFieldTTL(in.Target) && in.Source.SnapshotFor(in.Target) == in.Source.RDBVersion
}

// pxat adds what is nearly sure to happen between those versions: from 7.0 on
// TTLs are replicated as absolute times.
func pxat(in *input) string {
	if in.Target.Version.AtLeast(7, 0) && !in.Source.Version.AtLeast(6, 2) {
		return " (SET with an expiry is one: it is replicated with PXAT)"
	}
	return ""
}
