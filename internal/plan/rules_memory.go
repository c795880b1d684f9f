package plan

import (
	"fmt"
	"strconv"

	"godwit/internal/topology"
)

// memoryRules see that the data fits, and that nothing is evicted.
func memoryRules() []rule {
	return []rule{
		{"target-memory", blocker, func(in *input) (string, string) {
			used, limit := in.Source.Memory.Used, in.Target.Memory.Max
			if limit == 0 || limit >= used {
				return "", ""
			}
			return fmt.Sprintf("the target's maxmemory of %s is below the %s that the source uses", bytes(limit), bytes(used)), raiseLimit(in)
		}},
		{"target-memory-tight", warning, func(in *input) (string, string) {
			used, limit := in.Source.Memory.Used, in.Target.Memory.Max
			if limit < used || limit >= used+used/10 {
				return "", ""
			}
			return fmt.Sprintf("the target's maxmemory of %s leaves little room above the %s that the source uses", bytes(limit), bytes(used)), raiseLimit(in)
		}},
		{"target-evicts-stream", blocker, func(in *input) (string, string) {
			if !in.Target.Memory.Evicts() || !countsMemory(in.Target) {
				return "", ""
			}
			return fmt.Sprintf("as a replica the target does not ignore its maxmemory of %s: it would evict keys by itself (%s), and nobody would see that they are missing", bytes(in.Target.Memory.Max), in.Target.Memory.Policy),
				in.Target.CLI("CONFIG", "SET", "replica-ignore-maxmemory", "yes")
		}},
		{"target-refuses-stream", warning, func(in *input) (string, string) {
			if in.Target.Memory.Evicts() || !countsMemory(in.Target) {
				return "", ""
			}
			return fmt.Sprintf("as a replica the target does not ignore its maxmemory of %s: once that is reached it refuses commands of the stream, and the migration ends", bytes(in.Target.Memory.Max)),
				in.Target.CLI("CONFIG", "SET", "replica-ignore-maxmemory", "yes")
		}},
		{"way-back-memory", warning, func(in *input) (string, string) {
			if !in.wantsBack() || !countsMemory(in.Source) {
				return "", ""
			}
			what := "refuse commands of the stream"
			if in.Source.Memory.Evicts() {
				what = "evict keys by itself, unseen"
			}
			return fmt.Sprintf("the way back is limited: as a replica the source does not ignore its maxmemory of %s; after the cutover it may %s, and a rollback would go back to less than there was", bytes(in.Source.Memory.Max), what),
				in.Source.CLI("CONFIG", "SET", "replica-ignore-maxmemory", "yes")
		}},
		{"target-machine-memory", warning, func(in *input) (string, string) {
			used, machine := in.Source.Memory.Used, in.Target.Memory.System
			if machine == 0 || machine >= used {
				return "", ""
			}
			return fmt.Sprintf("the target's machine has %s of memory, and the source uses %s", bytes(machine), bytes(used)), "choose a larger machine"
		}},
		{"target-evicts", warning, func(in *input) (string, string) {
			m := in.Target.Memory
			if !m.Evicts() {
				return "", ""
			}
			text := fmt.Sprintf("the target evicts keys at its maxmemory of %s (%s): once it is the primary, it drops data rather than refuse writes", bytes(m.Max), m.Policy)
			if in.Source.Memory.Policy == m.Policy {
				return text + ", as the source does", ""
			}
			return text, "if the data is no cache: " + in.Target.CLI("CONFIG", "SET", "maxmemory-policy", "noeviction")
		}},
		{"source-evicts", warning, func(in *input) (string, string) {
			m := in.Source.Memory
			if !m.Evicts() || m.Used < m.Max/10*9 {
				return "", ""
			}
			return fmt.Sprintf("the source is at %d %% of its maxmemory and evicts keys (%s): what it evicts is deleted at the target as well", m.Used*100/m.Max, m.Policy),
				"raise its limit for the time of the migration: " + in.Source.CLI("CONFIG", "SET", "maxmemory", "BYTES")
		}},
		{"source-fork-memory", warning, func(in *input) (string, string) {
			m := in.Source.Memory
			if m.System == 0 || m.Used < m.System/10*6 {
				return "", ""
			}
			return fmt.Sprintf("the source uses %s of its machine's %s: while it forks for the snapshot, pages that are written to are needed twice", bytes(m.Used), bytes(m.System)),
				"copy in a quiet hour, and watch its free memory"
		}},
	}
}

// countsMemory tells whether maxmemory holds for the server as a replica, too
// (evict.c performEvictions, server.c processCommand).
func countsMemory(n topology.Node) bool {
	return n.Memory.Max > 0 && n.Settings["replica-ignore-maxmemory"] == "no"
}

// raiseLimit suggests a maxmemory for the target, a quarter above what is used.
func raiseLimit(in *input) string {
	used := in.Source.Memory.Used
	return in.Target.CLI("CONFIG", "SET", "maxmemory", strconv.FormatInt(used+used/4, 10))
}

// bytes writes a size for people, in powers of 1024 as Redis does.
func bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, name := range []string{"KiB", "MiB", "GiB"} {
		f /= unit
		if f < unit {
			return fmt.Sprintf("%.1f %s", f, name)
		}
	}
	return fmt.Sprintf("%.1f TiB", f/unit)
}
