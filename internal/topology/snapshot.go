package topology

import "fmt"

// NoSnapshot says why the server's data cannot be had by PSYNC, empty if it can.
func (n Node) NoSnapshot() string {
	for _, command := range []Command{Psync, Replconf} {
		switch n.Permissions.Of(command) {
		case Denied:
			return fmt.Sprintf("%s is not permitted to user %s", command, n.User())
		case Missing:
			return fmt.Sprintf("the server has no %s, as managed services and those who rename commands have it", command)
		case Allowed, Unknown:
		}
	}
	if !n.RDBFormat().Known() {
		return fmt.Sprintf("its snapshots are of version %d, which is not known here", n.RDBVersion)
	}
	return ""
}
