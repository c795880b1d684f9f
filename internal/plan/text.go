package plan

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteText prints the plan for people: what it is about, what stands in its
// way, and what would be sent.
func (p Plan) WriteText(w io.Writer) error {
	var b strings.Builder
	p.writeHead(&b)
	writeFindings(&b, "Blockers", p.Blockers)
	writeFindings(&b, "Warnings", p.Warnings)
	writeFindings(&b, "Notes", p.Notes)
	p.writeSteps(&b)
	fmt.Fprintf(&b, "\n%s\n", p.verdict())
	_, err := io.WriteString(w, b.String())
	return err
}

func (p Plan) writeHead(b *strings.Builder) {
	if p.Name != "" {
		fmt.Fprintf(b, "Migration %s\n\n", p.Name)
	}
	ends := [][]string{p.Source.row("source"), p.Target.row("target")}
	for column := range len(ends[0]) - 1 {
		width := max(len(ends[0][column]), len(ends[1][column]))
		for _, end := range ends {
			end[column] += strings.Repeat(" ", width-len(end[column]))
		}
	}
	for _, end := range ends {
		fmt.Fprintf(b, "  %s\n", strings.Join(end, "  "))
	}
	switch {
	case p.SourceSlots != "" && p.Slots != "":
		fmt.Fprintf(b, "\n  source\n%s\n  target\n%s", p.SourceSlots, p.Slots)
	case p.SourceSlots != "" || p.Slots != "":
		fmt.Fprintf(b, "\n%s%s", p.SourceSlots, p.Slots)
	}
	if p.File != nil {
		rows := append(p.File.rows(), [2]string{"engine", p.Engine + ": " + p.EngineWhy + "; about " + roughly(p.EstimatedSeconds)})
		writeRows(b, rows)
		return
	}
	if len(p.Steps) == 0 {
		return
	}
	method := "FAILOVER TO godwit: the source pauses writes, waits for the target and demotes itself"
	if p.Method == Fence {
		method = "min-replicas-to-write holds writes at the source until the target has them all, then REPLICAOF godwit"
	}
	if p.Method == Pause {
		method = "CLIENT PAUSE at every primary until the target has everything, then ACL SETUSER there; the target's users write from then on"
	}
	back := "yes, "
	if !p.WayBack {
		back = "no: "
	}
	copied := fmt.Sprintf("%s (%d with a TTL) in %s", count(p.Sizes.Keys, "key", "keys"), p.Sizes.Expires, count(int64(len(p.Sizes.DBs)), "db", "dbs"))
	if p.Sizes.Libraries > 0 {
		copied += ", " + count(int64(p.Sizes.Libraries), "library of functions", "libraries of functions")
	}
	copied += fmt.Sprintf("; %s of memory; about %s", bytes(p.Sizes.UsedMemory), roughly(p.EstimatedSeconds))
	rows := [][2]string{
		{"engine", p.Engine + ": " + p.EngineWhy},
		{"copy", copied},
		{"spool", fmt.Sprintf("%s in memory, then %s on disk", bytes(p.Sizes.SpoolMemory), bytes(p.Sizes.SpoolDisk))},
		{"cutover", fmt.Sprintf("%s; given up after %v", method, time.Duration(p.MaxPauseMS)*time.Millisecond)},
		{"way back", back + p.WayBackReason},
		{"verify", p.Verify.text()},
	}
	writeRows(b, rows)
}

func writeRows(b *strings.Builder, rows [][2]string) {
	b.WriteByte('\n')
	for _, row := range rows {
		fmt.Fprintf(b, "  %-9s %s\n", row[0], row[1])
	}
}

func (e End) row(name string) []string {
	memory := bytes(e.Memory)
	if e.MaxMemory > 0 {
		memory += " of " + bytes(e.MaxMemory)
	}
	return []string{name, e.URL, e.Version, e.Role, count(e.Keys, "key", "keys"), memory}
}

func writeFindings(b *strings.Builder, title string, findings []Finding) {
	if len(findings) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, f := range findings {
		fmt.Fprintf(b, "  - %s  [%s]\n", f.Text, f.Code)
		if f.Hint != "" {
			fmt.Fprintf(b, "    hint: %s\n", f.Hint)
		}
	}
}

func (p Plan) writeSteps(b *strings.Builder) {
	if len(p.Steps) == 0 {
		return
	}
	width := 0
	for _, s := range p.Steps {
		width = max(width, len(s.Command))
	}
	b.WriteString("\nSteps\n")
	phase := ""
	for i, s := range p.Steps {
		if s.Phase != phase {
			phase = s.Phase
			fmt.Fprintf(b, "  %s\n", phase)
		}
		fmt.Fprintf(b, "  %3d  %-6s  %-*s  %s\n", i+1, s.Server, width, s.Command, s.Why)
	}
}

func (p Plan) verdict() string {
	if p.Refused() {
		return "Refused: " + count(int64(len(p.Blockers)), "blocker", "blockers") + ". Nothing was changed."
	}
	if len(p.Warnings) > 0 {
		return "Possible, with " + count(int64(len(p.Warnings)), "warning", "warnings") + ". Nothing was changed."
	}
	return "Possible. Nothing was changed."
}

// roughly writes an estimate without pretending to precision.
func roughly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return "1s"
	case d < time.Minute:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
