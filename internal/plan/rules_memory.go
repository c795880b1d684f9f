package plan

import (
	"fmt"
	"strconv"
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
