package topology

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"godwit/internal/slot"
)

// nodesView is what one node says in CLUSTER NODES.
type nodesView struct {
	nodes  []nodesLine
	owners owners // of each slot an index into nodes
	moves  []marker
}

// nodesLine is one line of CLUSTER NODES without its slots.
type nodesLine struct {
	id       string
	host     string // IP address; empty where the node does not know it, as of itself before it was met
	port     string // for clients; 0 where it is not known
	hostname string
	flags    []string
	primary  string // ID, empty for none
	epoch    int64
	linkUp   bool
}

// marker is a slot that its own node shows as on the move.
type marker struct {
	slot      uint16
	importing bool
	other     string // ID of the node at the other end
}

func (l nodesLine) is(flag string) bool {
	for _, f := range l.flags {
		if f == flag {
			return true
		}
	}
	return false
}

// myself is the node that was asked, nil if there is none, which no server says.
func (v *nodesView) myself() *nodesLine {
	for i := range v.nodes {
		if v.nodes[i].is("myself") {
			return &v.nodes[i]
		}
	}
	return nil
}

// parseNodes reads CLUSTER NODES (cluster_legacy.c clusterGenNodeDescription):
//
//	<id> <ip>:<port>@<cport>[,<hostname>[,<name>=<value>]...] <flags> <primary> <ping> <pong> <epoch> <link> <slots>...
//
// with slots as 7, 0-5460, [7->-<id>] for one that goes and [7-<-<id>] for one that
// comes. Hostnames are there from 7.0 on.
func parseNodes(text string) (*nodesView, error) {
	v := &nodesView{owners: newOwners()}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if err := v.readLine(fields); err != nil {
			return nil, fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
		}
	}
	if v.myself() == nil {
		return nil, fmt.Errorf("no line has the flag myself")
	}
	return v, nil
}

// fieldsOfNode is how many fields stand before the slots.
const fieldsOfNode = 8

func (v *nodesView) readLine(fields []string) error {
	if len(fields) < fieldsOfNode {
		return fmt.Errorf("%d fields, expected at least %d", len(fields), fieldsOfNode)
	}
	epoch, err := strconv.ParseInt(fields[6], 10, 64)
	if err != nil {
		return fmt.Errorf("config epoch %q is not a number", fields[6])
	}
	l := nodesLine{id: fields[0], flags: strings.Split(fields[2], ","), epoch: epoch, linkUp: fields[7] == "connected"}
	if fields[3] != "-" {
		l.primary = fields[3]
	}
	if err := l.readAddress(fields[1]); err != nil {
		return err
	}
	v.nodes = append(v.nodes, l)
	for _, field := range fields[fieldsOfNode:] {
		if strings.HasPrefix(field, "[") {
			m, err := parseMarker(field)
			if err != nil {
				return err
			}
			v.moves = append(v.moves, m)
			continue
		}
		r, err := parseSlots(field)
		if err != nil {
			return err
		}
		for s := int(r.First); s <= int(r.Last); s++ {
			v.owners[s] = int16(len(v.nodes) - 1) //nolint:gosec // a cluster has at most 16384 primaries
		}
	}
	return nil
}

// readAddress reads ip:port@cport,hostname,name=value. An IPv6 address stands without
// brackets, and ? or nothing for a host that is not known.
func (l *nodesLine) readAddress(field string) error {
	words := strings.Split(field, ",")
	address, _, _ := strings.Cut(words[0], "@")
	colon := strings.LastIndexByte(address, ':')
	if colon < 0 {
		return fmt.Errorf("%q is no address", field)
	}
	if _, err := strconv.ParseUint(address[colon+1:], 10, 16); err != nil {
		return fmt.Errorf("%q is no address", field)
	}
	l.host, l.port = strings.Trim(address[:colon], "[]"), address[colon+1:]
	if l.host == "?" {
		l.host = ""
	}
	if len(words) > 1 && !strings.Contains(words[1], "=") && words[1] != "?" {
		l.hostname = words[1]
	}
	return nil
}

// address is host:port for a client that would call the node by host; empty if
// either is not known.
func (l *nodesLine) address(host string) string {
	if host == "" || l.port == "0" {
		return ""
	}
	return net.JoinHostPort(host, l.port)
}

// parseMarker reads [7->-<id>] or [7-<-<id>].
func parseMarker(field string) (marker, error) {
	text := strings.TrimSuffix(strings.TrimPrefix(field, "["), "]")
	for _, way := range []struct {
		arrow     string
		importing bool
	}{{"->-", false}, {"-<-", true}} {
		if number, other, ok := strings.Cut(text, way.arrow); ok {
			s, err := parseSlot(number)
			return marker{slot: s, importing: way.importing, other: other}, err
		}
	}
	return marker{}, fmt.Errorf("%q is neither a slot that goes nor one that comes", field)
}

// parseSlots reads 7 or 0-5460.
func parseSlots(text string) (SlotRange, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, err := parseSlot(first)
	if err != nil {
		return SlotRange{}, err
	}
	to, err := parseSlot(last)
	if err == nil && to < from {
		err = fmt.Errorf("%q is no range of slots", text)
	}
	return SlotRange{First: from, Last: to}, err
}

func parseSlot(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n >= slot.Count {
		return 0, fmt.Errorf("%q is not a slot from 0 to %d", text, slot.Count-1)
	}
	return uint16(n), nil
}
