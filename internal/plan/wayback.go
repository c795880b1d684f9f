package plan

import (
	"fmt"
)

// wayBack tells whether a rollback after the cutover will be possible, and why
// not or within which limits.
func (in *input) wayBack() (bool, string) {
	switch {
	case in.CopyOnly:
		return false, "the run never switches (--cutover never)"
	case in.RollbackWindow == 0:
		return false, "it ends at the cutover (--rollback-window 0)"
	}
	if in.apart() {
		return false, "to which of several servers a key belongs only their clients know; --shard-by tells godwit"
	}
	for _, n := range in.needs() {
		if n.use == forCopy || n.use == forMore {
			continue
		}
		if text, _ := refused(in, n); text != "" {
			return false, text
		}
	}
	if (in.toCluster() || in.joint()) && !in.Target.Version.AtLeast(6, 2) {
		return false, fmt.Sprintf("%s cannot pause writes alone, so it cannot hand over to another deployment", in.Target.Version)
	}
	if in.backMethod == Fence && !in.toCluster() && in.Target.Settings["min-replicas-max-lag"] == "0" {
		return false, "min-replicas-max-lag is 0 at the target, so min-replicas-to-write would not stop writes there"
	}
	until := "until godwit complete"
	if in.RollbackWindow > 0 {
		until = fmt.Sprintf("for %v after the cutover", in.RollbackWindow)
	}
	if in.severalServers() {
		until = fmt.Sprintf("to %s by %s (proven by the data during the copy), %s", count(int64(len(in.Sources)), "server", "servers"), in.ShardBy, until)
	}
	if !in.Source.Understands(in.Target, in.AcceptModules...) {
		return true, until + ", at the latest until a command that has no equal at the source"
	}
	return true, until
}
