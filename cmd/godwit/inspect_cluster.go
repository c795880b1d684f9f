package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"godwit/internal/server"
	"godwit/internal/status/units"
	"godwit/internal/topology"
)

// clusterView is a cluster as inspect shows it. docs/inspect.md explains its fields.
type clusterView struct {
	URL     string               `json:"url"` // without the password
	Mode    topology.Mode        `json:"mode"`
	Keys    int64                `json:"keys"` // of the primaries that answered
	Shards  []shardView          `json:"shards"`
	Cluster *topology.ClusterMap `json:"cluster"`
}

// shardView is one shard of a cluster.
type shardView struct {
	Letter   string         `json:"letter"` // in the picture of the slots
	ID       string         `json:"id"`     // of the primary
	Slots    int            `json:"slots"`
	Primary  *topology.Node `json:"primary,omitempty"` // as of a standalone server
	Error    string         `json:"error,omitempty"`   // why it was not inspected
	Replicas []replicaView  `json:"replicas"`

	node topology.ClusterNode
}

// replicaView is a replica as its primary and it itself know it.
type replicaView struct {
	ID      string         `json:"id"`
	Address string         `json:"address"`
	State   string         `json:"state"`               // of replication: online, send_bulk, wait_bgsave; empty when it is not connected
	Lag     *int64         `json:"lag_bytes,omitempty"` // how far it is behind its primary
	Node    *topology.Node `json:"node,omitempty"`      // as of a standalone server
	Error   string         `json:"error,omitempty"`     // why it was not inspected

	node topology.ClusterNode
}

// inspectedAtOnce is how many nodes are inspected at the same time.
const inspectedAtOnce = 8

// inspectCluster shows the cluster that a node belongs to.
func inspectCluster(ctx context.Context, e server.Endpoint, asJSON bool, s streams) error {
	c, err := topology.ReadCluster(ctx, e)
	if err != nil {
		return err
	}
	view := clusterView{URL: e.String(), Mode: topology.Cluster, Cluster: c, Shards: []shardView{}}
	shards := c.Shards()
	var primaries, replicas []server.Endpoint
	for _, shard := range shards {
		primaries = append(primaries, shard.Primary.Endpoint)
		for _, r := range shard.Replicas {
			replicas = append(replicas, r.Endpoint)
		}
	}
	// The replicas last: what they have taken meanwhile they do not lag behind.
	found := topology.InspectAll(ctx, primaries, "godwit-inspect", inspectedAtOnce)
	rest := topology.InspectAll(ctx, replicas, "godwit-inspect", inspectedAtOnce)
	for i, shard := range shards {
		of := len(shard.Replicas)
		view.Shards = append(view.Shards, newShardView(i, shard, found[i], rest[:of]))
		view.Keys += found[i].Node.Keys()
		rest = rest[of:]
	}
	if asJSON {
		return json.NewEncoder(s.out).Encode(view)
	}
	return view.write(s.out)
}

func newShardView(number int, shard topology.Shard, primary topology.Inspection, replicas []topology.Inspection) shardView {
	v := shardView{
		Letter: topology.Letters(number), ID: shard.Primary.ID, Slots: topology.CountSlots(shard.Primary.Slots),
		Replicas: []replicaView{}, node: shard.Primary,
	}
	v.Primary, v.Error = inspected(primary)
	for i, r := range shard.Replicas {
		replica := replicaView{ID: r.ID, Address: r.Address, node: r}
		replica.Node, replica.Error = inspected(replicas[i])
		byIP := net.JoinHostPort(r.IP, strconv.Itoa(r.Endpoint.Port()))
		for _, d := range primary.Node.Replication.Replicas {
			if d.Address == r.Address || d.Address == byIP {
				// It acknowledges once a second; what it says itself is newer.
				lag := max(0, primary.Node.Replication.Offset-max(d.Offset, replicas[i].Node.Replication.Offset))
				replica.State, replica.Lag = d.State, &lag
			}
		}
		v.Replicas = append(v.Replicas, replica)
	}
	return v
}

// inspected is the node, or the error in words.
func inspected(found topology.Inspection) (*topology.Node, string) {
	if found.Err != nil {
		return nil, found.Err.Error()
	}
	return &found.Node, ""
}

// plainWidth is for how many columns a picture is drawn that is not for a terminal.
const plainWidth = 80

// write prints the shards and the picture of the slots.
func (v clusterView) write(w io.Writer) error {
	width := plainWidth
	if file, ok := w.(*os.File); ok && isTerminal(file) {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil { //nolint:gosec // a descriptor is small
			width = columns
		}
	}
	state := paint(lipgloss.Green, "ok")
	if !v.Cluster.OK {
		state = paint(lipgloss.Red, "fail")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cluster  %s · state %s · epoch %d\n", v.URL, state, v.Cluster.Epoch)
	fmt.Fprintf(&b, "         %d shards · %d nodes · %s keys\n\n", len(v.Shards), len(v.Cluster.Nodes), units.Count(v.Keys))
	v.writeTable(&b, width)
	for _, n := range v.Cluster.Nodes {
		if word := outside(n, v.Cluster); word != "" {
			b.WriteString(ansi.Truncate(address(n)+" "+paint(lipgloss.Yellow, word), width, "…") + "\n")
		}
	}
	b.WriteString("\n" + v.Cluster.DrawSlots(width, paintCell))
	_, err := lipgloss.Fprint(w, b.String())
	return err
}

// writeTable prints a line for each shard and, below it, for each of its replicas.
func (v clusterView) writeTable(b *strings.Builder, width int) {
	rows := [][]string{{"shard", "primary", "version", "keys", "memory", "slots", ""}}
	for i, s := range v.Shards {
		row := []string{paint(shardColor(i), s.Letter), address(s.node), "", "", "", units.Count(int64(s.Slots)), ""}
		if s.Primary != nil {
			row[2], row[3], row[4] = s.Primary.Version.String(), units.Count(s.Primary.Keys()), units.Bytes(s.Primary.Memory.Used)
		}
		rows = append(rows, row)
	}
	widths := columnWidths(rows)
	rest := width - len("  ")*(len(widths)-1)
	for _, w := range widths[:len(widths)-1] {
		rest -= w
	}
	indent := strings.Repeat(" ", widths[0]+len("  "))
	for i, row := range rows {
		if i == 0 {
			writeRow(b, row, widths)
			continue
		}
		s := v.Shards[i-1]
		row[len(row)-1] = topology.FormatSlots(s.node.Slots, rest)
		writeRow(b, row, widths)
		for _, line := range s.notes() {
			b.WriteString(ansi.Truncate(indent+line, width, "…") + "\n")
		}
	}
}

// notes are the lines below a shard: what is wrong with its primary, and its replicas.
func (s shardView) notes() []string {
	var notes []string
	if word := unwell(s.node); word != "" {
		notes = append(notes, paint(lipgloss.Red, word))
	}
	if s.Error != "" {
		notes = append(notes, paint(lipgloss.Red, s.Error))
	}
	for _, r := range s.Replicas {
		note := "replica " + address(r.node) + ", "
		switch {
		case r.Lag == nil && s.Primary == nil:
			note += "lag not known"
		case r.Lag == nil:
			note += paint(lipgloss.Yellow, "not connected to it")
		case r.State != "online":
			note += paint(lipgloss.Yellow, r.State)
		default:
			note += units.Bytes(*r.Lag) + " behind"
		}
		if r.Node != nil && s.Primary != nil && r.Node.Version != s.Primary.Version {
			note += ", " + paint(lipgloss.Yellow, r.Node.Version.String())
		}
		if word := unwell(r.node); word != "" {
			note += ", " + paint(lipgloss.Red, word)
		}
		if r.node.NoFailover {
			note += ", not promoted by itself (nofailover)"
		}
		if r.Error != "" && r.node.Health != topology.Failed {
			note += ", " + paint(lipgloss.Red, r.Error)
		}
		notes = append(notes, note)
	}
	return notes
}

// unwell says what other nodes think of one that is not well.
func unwell(n topology.ClusterNode) string {
	switch {
	case n.NoAddress:
		return "no node knows its address (noaddr)"
	case n.Health == topology.Failed:
		return "has failed (fail)"
	case n.Health == topology.Suspected:
		return "not reached by a node (pfail)"
	case !n.LinkUp:
		return "not connected to the others"
	}
	return ""
}

// outside says why a node is in none of the shards, empty for one that is.
func outside(n topology.ClusterNode, c *topology.ClusterMap) string {
	if n.Handshake {
		return "is being met (handshake)"
	}
	if n.Role == topology.Primary {
		return ""
	}
	if primary, known := c.Node(n.Primary); !known || primary.Role != topology.Primary {
		return "is a replica of " + cmp.Or(address(primary), "a node that is not known")
	}
	return ""
}

func address(n topology.ClusterNode) string {
	if n.Address == "" {
		return n.ID
	}
	return n.Address
}

// numbers are the columns that stand to the right.
func numbers(column int) bool { return column >= 3 && column <= 5 }

func columnWidths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	return widths
}

func writeRow(b *strings.Builder, row []string, widths []int) {
	var line strings.Builder
	for i, cell := range row {
		if i > 0 {
			line.WriteString("  ")
		}
		pad := strings.Repeat(" ", max(0, widths[i]-lipgloss.Width(cell)))
		if numbers(i) {
			line.WriteString(pad + cell)
		} else {
			line.WriteString(cell + pad)
		}
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// paintCell colours a run of cells in its shard's colour; what needs a look stands out.
func paintCell(c topology.Cell, text string) string {
	switch {
	case c.Unowned:
		return paint(lipgloss.Red, text)
	case c.Moving:
		return paint(lipgloss.Yellow, text)
	}
	return paint(shardColor(c.Shard), text)
}

// shardColor is one of the terminal's own colours that neighbours do not share.
func shardColor(shard int) color.Color {
	colors := []color.Color{lipgloss.Blue, lipgloss.Green, lipgloss.Magenta, lipgloss.Cyan}
	return colors[shard%len(colors)]
}

func paint(c color.Color, text string) string {
	return lipgloss.NewStyle().Foreground(c).Render(text)
}
