package topology

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"godwit/internal/server"
)

// ClientPrefix begins the CLIENT name of every control connection of a
// migration; the migration's name follows.
const ClientPrefix = "godwit:"

// Clients are the connections to a server.
type Clients struct {
	Connected int64  `json:"connected"`
	Blocked   int64  `json:"blocked"`           // in BLPOP and the like
	Sentinels int    `json:"sentinels"`         // Sentinels that watch this server
	Godwit    []Peer `json:"godwit"`            // control connections of other processes
	Unlisted  bool   `json:"unlisted,omitzero"` // CLIENT LIST is not permitted: Sentinels and Godwit are not known
}

// Peer is a control connection of a migration.
type Peer struct {
	Migration string `json:"migration"`
	Address   string `json:"address"` // from where it is connected
}

// readClients asks CLIENT ID and CLIENT LIST on one connection, so that it knows
// which one is its own. An error reply, such as NOPERM, is returned.
func (n *Node) readClients(ctx context.Context, c *server.Client) error {
	n.Clients.Unlisted = true
	conn := c.Redis().Conn()
	defer conn.Close() //nolint:errcheck // it goes back to the pool
	results := pipeline(ctx, conn, [][]any{{"CLIENT", "ID"}, {"CLIENT", "LIST"}})
	for _, r := range results {
		if r.err != nil {
			return r.err
		}
	}
	text, ok := results[1].value.(string)
	if !ok {
		return fmt.Errorf("%s: CLIENT LIST: unexpected reply of type %T", c.Endpoint().Address, results[1].value)
	}
	n.Clients.Unlisted = false
	n.listClients(text, fmt.Sprint(results[0].value))
	return nil
}

// listClients reads CLIENT LIST (networking.c catClientInfoString); own is our id.
func (n *Node) listClients(text, own string) {
	var all []map[string]string
	var us map[string]string
	for line := range strings.Lines(text) {
		fields := clientFields(line)
		if fields["id"] == own {
			us = fields
			continue
		}
		all = append(all, fields)
	}
	if seen, err := netip.ParseAddrPort(us["addr"]); err == nil { // not so for a Unix socket
		n.SeenFrom = seen
	}
	for _, fields := range all {
		name := fields["name"]
		if migration, ok := strings.CutPrefix(name, ClientPrefix); ok && !sibling(fields, us) {
			n.Clients.Godwit = append(n.Clients.Godwit, Peer{Migration: migration, Address: fields["addr"]})
		}
		// sentinel.c sentinelSetClientName: one such connection for each Sentinel.
		if strings.HasPrefix(name, "sentinel-") && strings.HasSuffix(name, "-cmd") {
			n.Clients.Sentinels++
		}
	}
}

// sibling tells whether a connection is another one of our own process, as far
// as can be seen: the same name from the same host, and not there before us
// (ids grow).
func sibling(other, us map[string]string) bool {
	return other["name"] == us["name"] && clientHost(other) == clientHost(us) &&
		(len(other["id"]) > len(us["id"]) || len(other["id"]) == len(us["id"]) && other["id"] > us["id"])
}

// clientHost is the host of addr; of a Unix socket its path.
func clientHost(fields map[string]string) string {
	addr := fields["addr"]
	return addr[:max(0, strings.LastIndexByte(addr, ':'))]
}

// clientFields splits "name=value name=value"; no value has a space in it.
func clientFields(line string) map[string]string {
	fields := make(map[string]string)
	for field := range strings.FieldsSeq(line) {
		if name, value, ok := strings.Cut(field, "="); ok {
			fields[name] = value
		}
	}
	return fields
}
