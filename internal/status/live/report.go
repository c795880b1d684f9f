package live

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"godwit/internal/migrate"
	"godwit/internal/status/units"
	"godwit/internal/status/verdict"
)

// Report writes a status for people, once: what `godwit status` prints.
func Report(w io.Writer, s migrate.Status) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", s.Name, s.Phase)
	switch {
	case s.Ready:
		b.WriteString(", ready")
	case s.Phase.Ended():
	case !s.Running:
		b.WriteString(", but no process runs it; this is what the journal says")
	case s.NotReady != "":
		b.WriteString(", not ready: " + s.NotReady)
	}
	b.WriteString("\n\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	server := func(name string, e migrate.ServerStatus) {
		state := e.Role
		if e.Unreachable != "" {
			state = "unreachable: " + e.Unreachable
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s keys\t%s\n", name, e.URL, e.Version, state, units.Count(e.Keys), units.Bytes(e.UsedMemory)) // Flush reports it
	}
	server("source", s.Source)
	server("target", s.Target)
	if err := table.Flush(); err != nil {
		return err
	}
	row := func(name, text string) { fmt.Fprintf(&b, "%-7s %s\n", name, text) }
	if why := awaited(s); why != "" {
		row("copy", why)
	} else if s.Copy.TotalKeys > 0 || s.Copy.Bytes > 0 {
		row("copy", fmt.Sprintf("%.0f%% · %s", 100*s.Copy.Fraction, copyText(s)))
	}
	for _, link := range s.Links {
		state := link.State
		if link.Reason != "" && awaited(s) == "" {
			state += ": " + link.Reason
		}
		row("link", fmt.Sprintf("%s → %s · %s · offset %s · lag %s", link.Source, link.Target, state, units.Count(link.TargetOffset), lagText(link)))
	}
	if sp := s.Spool; sp.MemoryBytes+sp.DiskBytes > 0 {
		row("spool", units.Bytes(sp.MemoryBytes)+" in memory · "+units.Bytes(sp.DiskBytes)+" on disk")
	}
	for _, d := range s.Dropped {
		row("dropped", droppedText(d))
	}
	if text, _ := verdict.Status(s.Verify, s.At); text != "" {
		row("verify", text)
	}
	if sw := s.Cutover; sw.WriteStallMS > 0 {
		row("switch", fmt.Sprintf("last %s stalled writes for %s", sw.Direction, units.Milliseconds(sw.WriteStallMS)))
	}
	if s.Error != "" {
		row("error", s.Error)
	}
	if s.Hint != "" {
		row("hint", s.Hint)
	}
	for i, step := range s.NextSteps {
		if i == 0 {
			b.WriteString("\nnext:\n")
		}
		b.WriteString("  " + step + "\n")
	}
	if err := Emergency(&b, s.Emergency); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Emergency writes the lines that bring service back without godwit, if there are any.
func Emergency(w io.Writer, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nshould godwit and its machine be gone for good:\n  %s\n", strings.Join(lines, "\n  "))
	return err
}

// Steps writes the steps of an operation, one a line.
func Steps(w io.Writer, steps []migrate.StepStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, step := range steps {
		took, note := "", step.State
		if step.TookMS > 0 {
			took = units.Milliseconds(step.TookMS)
		}
		if step.Error != "" {
			note += ": " + step.Error
		}
		_, _ = fmt.Fprintf(table, "  %d.\t%s\t%s\t%s\t%s\t%s\n", i+1, step.Name, step.Server, step.Command, note, took) // Flush reports it
	}
	return table.Flush()
}
