package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newClusterCommand says by what clusters are made and mended: the servers' own tool does
// that, and well.
func newClusterCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:     "cluster create|check|fix HOST:PORT...",
		GroupID: groupLook,
		Short:   "Print the redis-cli line that makes, checks or mends a cluster",
		Long: `godwit moves data into clusters and out of them. Making, checking and mending them
is what redis-cli --cluster does: this prints the line to type, and does nothing.

  godwit cluster create a:6379 b:6379 c:6379    # with a replica each from six servers on
  godwit cluster check a:6379                   # any node
  godwit cluster fix a:6379`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			verb, nodes := args[0], args[1:]
			line := "redis-cli --cluster " + verb + " " + strings.Join(nodes, " ")
			switch {
			case verb == "create" && len(nodes) < 3:
				return usagef("give the host:port of each server", "a cluster takes three servers at least")
			case verb == "create" && len(nodes) >= 6 && len(nodes)%2 == 0:
				line += " --cluster-replicas 1"
			case verb == "create":
			case verb != "check" && verb != "fix":
				return usagef("use create, check or fix", "godwit cluster %s is not known", verb)
			case len(nodes) > 1:
				return usagef("any node of the cluster will do", "godwit cluster %s takes one host:port", verb)
			}
			_, err := fmt.Fprintln(s.out, line)
			return err
		},
	}
}
