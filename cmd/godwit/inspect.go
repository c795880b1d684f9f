package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"godwit/internal/server"
	"godwit/internal/status/units"
	"godwit/internal/topology"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	output    outputOptions
	endpoints endpointsOptions // only from is used
	node      bool
}

func newInspectCommand(s streams) *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:     "inspect URL",
		GroupID: groupLook,
		Short:   "Show a server or a cluster as godwit finds it",
		Long: `Connects to a server and shows its role, version, offsets, memory, dbs, what it
permits and who is connected. Of a cluster, any node of which will do, it shows
the shards, and the slots as a picture: a letter for 32 slots, > where slots are
being moved, ! and . where no node serves them. --node shows one node of it.

It changes nothing. The password may be in the URL, in --password-file or in
` + passwordVariable("") + `.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInspect(cmd.Context(), args[0], &o, s)
		},
	}
	o.output.addFlags(cmd)
	cmd.Flags().StringVar(&o.endpoints.from.passwordFile, "password-file", "", "`file` that holds the password")
	cmd.Flags().BoolVar(&o.node, "node", false, "of a cluster, show only the node at the URL")
	addTLSFlags(cmd.Flags(), &o.endpoints.tls, "tls", "the server")
	return cmd
}

func runInspect(ctx context.Context, url string, o *inspectOptions, s streams) (err error) {
	o.endpoints.from.url = url
	endpoint, err := o.endpoints.endpoint(&o.endpoints.from, s)
	if err != nil {
		return err
	}
	client, err := server.Dial(ctx, endpoint, "godwit-inspect")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	mode, err := topology.ModeOf(ctx, client)
	if err != nil {
		return err
	}
	if mode == topology.Cluster && !o.node {
		return inspectCluster(ctx, endpoint, o.output.json(), s)
	}
	node, err := topology.Inspect(ctx, client)
	if err != nil {
		return err
	}
	if o.output.json() {
		return json.NewEncoder(s.out).Encode(node)
	}
	return writeNode(s.out, node)
}

// writeNode prints what was found, for people.
func writeNode(w io.Writer, n topology.Node) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...)) // Flush reports it
	}
	row("server", "%s · %s · %s", n.URL, n.Version, n.Mode)
	if n.Mode == topology.Sentinel {
		for _, m := range n.Monitors {
			row("watches", "%+v", m)
		}
		return table.Flush()
	}
	r := n.Replication
	if r.Role == topology.Replica {
		row("role", "replica of %s, link %s", r.Upstream.Address(), r.Upstream.Link)
	} else {
		row("role", "primary, %d replicas", len(r.Replicas))
	}
	for _, d := range r.Replicas {
		row("", "%s · %s · offset %s", d.Address, d.State, units.Count(d.Offset))
	}
	row("replid", "%s, offset %s", r.ReplID, units.Count(r.Offset))
	if r.Backlog.Active {
		row("backlog", "%s of %s, from offset %s", units.Bytes(r.Backlog.Length), units.Bytes(r.Backlog.Size), units.Count(r.Backlog.FirstOffset))
	}
	row("memory", "%s, %s", units.Bytes(n.Memory.Used), memoryLimit(n.Memory))
	row("keys", "%s, %d function libraries", units.Count(n.Keys()), n.Libraries)
	for _, db := range n.DBs {
		row("", "db %d: %s keys, %s with a TTL", db.Number, units.Count(db.Keys), units.Count(db.Expires))
	}
	for i, m := range n.Modules {
		row([]string{"modules", ""}[min(i, 1)], "%s", m)
	}
	row("snapshots", "RDB version %d, %s", n.RDBVersion, rdbJudge(n))
	row("traffic", "%s commands/s, %s/s in", units.Rate(float64(n.Traffic.Commands)), units.Bytes(int64(n.Traffic.InputBytes)))
	row("clients", "%d connected, %d blocked", n.Clients.Connected, n.Clients.Blocked)
	for _, peer := range n.Clients.Godwit {
		row("", "godwit migration %s from %s", peer.Migration, peer.Address)
	}
	row("user", "%s", n.User())
	if denied := denied(n.Permissions); len(denied) > 0 {
		row("denied", "%s", strings.Join(denied, ", "))
	}
	return table.Flush()
}

// rdbJudge says how a server's RDB version is known, and what types of it are not loaded.
func rdbJudge(n topology.Node) string {
	by := map[topology.Judge]string{
		topology.ByRestore: "by what it loads", topology.ByFunctionDump: "by what it writes", topology.ByVersion: "by its version",
	}[n.RDBJudge]
	for i, t := range n.Refused.Types() {
		by += []string{"; does not load ", ", "}[min(i, 1)] + t.String()
	}
	return by
}

func memoryLimit(m topology.Memory) string {
	if m.Max == 0 {
		return "no limit"
	}
	return "of " + units.Bytes(m.Max) + ", " + m.Policy
}

// denied are the commands that the user may not run, of those a migration may need.
func denied(permissions topology.Permissions) []string {
	var names []string
	for command, permission := range permissions {
		if permission == topology.Denied {
			names = append(names, string(command))
		}
	}
	slices.Sort(names)
	return names
}
