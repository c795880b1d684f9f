package plan

import (
	"fmt"
	"strings"

	"godwit/internal/command"
	"godwit/internal/topology"
)

// versionRules see that each server understands what the other one sends.
func versionRules() []rule {
	return []rule{
		{"snapshot-unknown", blocker, func(in *input) (string, string) {
			for _, n := range []topology.Node{in.Source, in.Target} {
				if f := n.RDBFormat(); !f.Known() && !sameFormats(in) {
					return fmt.Sprintf("%s writes snapshots of RDB version %d, which this godwit does not know and so cannot rewrite for another server", n.Version, f.Version),
						"use a newer godwit, or servers of the same version"
				}
			}
			return "", ""
		}},
		{"snapshot-rewritten", note, func(in *input) (string, string) {
			if !in.rewrites() {
				return "", ""
			}
			return fmt.Sprintf("the target does not load every snapshot of the source (RDB version %d): they are rewritten on the way (to version %d)",
				in.Source.RDBFormat().Version, in.Target.RDBFormat().Version), ""
		}},
		{"stream-commands", note, func(in *input) (string, string) {
			if in.Target.Understands(in.Source, in.AcceptModules...) {
				return "", ""
			}
			return fmt.Sprintf("the source (%s) may replicate what the target (%s) does not understand%s: it is said in its words; the first command that has no equal there ends the link, by name",
				in.Source.Version, in.Target.Version, examples(in.Target.Lacking(in.Source, in.AcceptModules...))), ""
		}},
		{"way-back-commands", warning, func(in *input) (string, string) {
			if !in.wantsBack() || in.Source.Understands(in.Target, in.AcceptModules...) {
				return "", ""
			}
			return fmt.Sprintf("the way back has a limit: after the cutover clients may use at the target (%s) what the source (%s) has no equal for (%s): the first such command ends the reverse link, by name, and a rollback is possible no more",
				in.Target.Version, in.Source.Version, in.newAtTarget()), "go back, if at all, before clients use what only the new version has"
		}},
	}
}

// examples names some of the commands and options that a server lacks.
func examples(lacking []command.Option) string {
	const some = 4
	if len(lacking) == 0 {
		return " (payloads of RESTORE)"
	}
	var names []string
	for _, o := range lacking[:min(some, len(lacking))] {
		names = append(names, string(o))
	}
	if more := len(lacking) - some; more > 0 {
		return fmt.Sprintf(" (%s and %d more)", strings.Join(names, ", "), more)
	}
	return " (" + list(names) + ")"
}

// sameFormats tells whether either server loads what the other one writes, by
// their numbers alone.
func sameFormats(in *input) bool {
	return in.Source.RDBFormat() == in.Target.RDBFormat()
}

// rewrites tells whether snapshots are rewritten on the way.
func (in *input) rewrites() bool {
	from, to := in.Source.RDBFormat(), in.Target.RDBFormat()
	return from != to && from.Known() && to.Known() && !to.Loads(from)
}
