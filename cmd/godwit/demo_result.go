package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"godwit/internal/audit"
	"godwit/internal/load"
	"godwit/internal/status/units"
)

// demoResult is what the demo measured and its audit found.
type demoResult struct {
	Source      string       `json:"source"`
	Target      string       `json:"target"`
	Switches    []demoSwitch `json:"switches"`
	Attempted   int64        `json:"writes_attempted"`
	Acked       int64        `json:"writes_acknowledged"`
	Lost        int64        `json:"writes_lost"`
	Doubled     int64        `json:"writes_doubled"`
	Reordered   int64        `json:"writes_reordered"`
	Keys        int64        `json:"keys_compared"`
	Different   int64        `json:"keys_different"`
	Samples     []string     `json:"samples,omitempty"` // of what was found wrong
	Clean       bool         `json:"clean"`
	TookSeconds float64      `json:"took_seconds"`
}

// demoSwitch is one switch, as godwit and as the writer that waited longest saw it.
type demoSwitch struct {
	Name          string  `json:"name"`
	WriteStallMS  float64 `json:"write_stall_ms"`
	WriterStallMS float64 `json:"writer_stall_ms"`
}

// demoSamples is how many of the things that are wrong are named.
const demoSamples = 10

func (r *demoResult) fill(writes load.Report, keys audit.Report, took time.Duration) {
	r.Attempted, r.Acked = writes.Attempted, writes.Acked
	r.Lost, r.Doubled, r.Reordered = writes.Lost, writes.Doubled, writes.Reordered
	r.Keys, r.Different = keys.Keys, keys.Different
	r.Samples = append(r.Samples, writes.Samples...)
	for _, difference := range keys.Differences {
		r.Samples = append(r.Samples, difference.String())
	}
	r.Samples = r.Samples[:min(len(r.Samples), demoSamples)]
	r.Clean = writes.Clean() && keys.Equal()
	r.TookSeconds = took.Seconds()
}

// write prints the audit for people.
func (r *demoResult) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s to %s, in %s\n\n", r.Source, r.Target, units.Duration(time.Duration(r.TookSeconds*float64(time.Second))))
	table := tabwriter.NewWriter(&b, 0, 0, 3, ' ', tabwriter.AlignRight)
	line := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")+"\t") } // Flush reports it
	header, godwit, writer := []string{"longest stall"}, []string{"measured by godwit"}, []string{"seen by a writer"}
	for _, s := range r.Switches {
		header = append(header, s.Name)
		godwit = append(godwit, units.Milliseconds(s.WriteStallMS))
		writer = append(writer, units.Milliseconds(s.WriterStallMS))
	}
	line(header...)
	line(godwit...)
	line(writer...)
	if err := table.Flush(); err != nil {
		return err
	}
	b.WriteString("\n")
	row := func(name string, n int64, note string) {
		fmt.Fprintf(&b, "%22s  %12s%s\n", name, units.Count(n), note)
	}
	row("writes acknowledged", r.Acked, fmt.Sprintf(" of %s sent", units.Count(r.Attempted)))
	row("lost", r.Lost, "")
	row("doubled", r.Doubled, "")
	if r.Reordered > 0 {
		row("reordered", r.Reordered, "")
	}
	row("keys compared", r.Keys, " by value and TTL")
	row("different", r.Different, "")
	for _, sample := range r.Samples {
		b.WriteString("  " + sample + "\n")
	}
	if r.Clean {
		b.WriteString("\nNothing was lost, nothing was doubled, and both servers hold the same.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
