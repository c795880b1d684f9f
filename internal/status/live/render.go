package live

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/help"
	"charm.land/bubbles/v2/key"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"godwit/internal/migrate"
	"godwit/internal/status/units"
	"godwit/internal/status/way"
)

// Bounds of the layout, in cells.
const (
	labelWidth = 9  // of the names at the left
	minEvents  = 3  // lines of events that are kept before steps are shown
	wide       = 72 // from here on the memory of the servers is shown
	lagFloor   = 8  // milliseconds at which the sparkline is full at the least
)

// screen is all that is drawn. Its rendering depends on nothing else.
type screen struct {
	status        migrate.Status
	lag           lags
	extra         []Extra
	keys          []key.Binding
	busy          string // what is under way, empty for nothing
	notice        string // how the last operation ended
	noticeBad     bool
	prompt        string // question to be answered by y or n
	width, height int
}

// render draws the screen: what is always there, then the steps of the last
// switch and the events in the room that is left, then the foot.
func (s *screen) render() string {
	if s.width == 0 || s.height == 0 {
		return ""
	}
	if s.status.Phase == "" {
		return s.clip([]string{" looking at the migration..."})
	}
	top, foot := s.top(), append([]string{""}, s.foot()...)
	// In a small terminal the blank lines give way to the events.
	room := s.height - len(top) - len(foot)
	top = squeeze(top, minEvents+1-room)
	room = s.height - len(top) - len(foot)
	foot = squeeze(foot, minEvents+1-room)
	lines := top
	if steps := s.steps(); len(steps) > 0 && room-len(steps)-1 > minEvents {
		lines = append(append(lines, steps...), "")
	}
	lines = append(lines, s.events(s.height-len(lines)-len(foot))...)
	for len(lines) < s.height-len(foot) {
		lines = append(lines, "")
	}
	return s.clip(append(lines[:max(0, min(len(lines), s.height-len(foot)))], foot...))
}

func (s *screen) top() []string {
	st := s.status
	lines := []string{s.title(), "", s.server("source", st.Source), s.server("target", st.Target), "", " " + s.way(), ""}
	lines = append(lines, s.copy()...)
	for _, link := range st.Links {
		lines = append(lines, s.link(link)...)
	}
	lines = append(lines, s.spool()...)
	for _, d := range st.Dropped {
		lines = append(lines, label("dropped")+warn(droppedText(d)))
	}
	if line := verifyLine(st); line != "" {
		lines = append(lines, label("verify")+line)
	}
	if sw := st.Cutover; sw.Switches > 0 && sw.WriteStallMS > 0 {
		lines = append(lines, label("switch")+fmt.Sprintf("last %s stalled writes for %s", sw.Direction, bold(units.Milliseconds(sw.WriteStallMS))))
	}
	for _, extra := range s.extra {
		lines = append(lines, label(extra.Label)+extra.Text)
	}
	if st.Error != "" {
		lines = append(lines, label("error")+bad(st.Error))
	}
	if st.Hint != "" {
		lines = append(lines, label("hint")+st.Hint)
	}
	lines = append(lines, "")
	for i, step := range st.NextSteps {
		name := ""
		if i == 0 {
			name = "next"
		}
		lines = append(lines, label(name)+step)
	}
	if len(st.NextSteps) > 0 {
		lines = append(lines, "")
	}
	return lines
}

func (s *screen) title() string {
	st := s.status
	left := " " + bold("godwit") + "  " + st.Name
	state := accent(string(st.Phase))
	switch {
	case st.Phase == migrate.Failed:
		state = bad(string(st.Phase))
	case st.Ready:
		state += dim(" · ") + good("ready")
	case st.NotReady != "" && switchable(st.Phase):
		state += dim(" · " + st.NotReady)
	}
	right := state + dim(" · "+units.Duration(elapsed(st)))
	return spread(left, right, s.width-1)
}

func (s *screen) server(name string, e migrate.ServerStatus) string {
	role := fmt.Sprintf("%-8s", e.Role)
	if e.Role == "primary" {
		role = good(role)
	}
	left := label(name) + fmt.Sprintf("%-14s ", e.Version) + role + " " + address(e.URL)
	right := fmt.Sprintf("%s keys", units.Count(e.Keys))
	if s.width >= wide {
		right += fmt.Sprintf(" %8s", units.Bytes(e.UsedMemory))
	}
	right = dim(right)
	if e.Unreachable != "" {
		right = bad("unreachable: " + e.Unreachable)
	}
	return spread(left, right, s.width-1)
}

// way is the line of phases.
func (s *screen) way() string {
	var parts []string
	for _, stop := range way.Of(s.status.Phase) {
		switch {
		case stop.Place == way.Now && (stop.Phase == migrate.Failed || stop.Phase == migrate.Aborted):
			parts = append(parts, bad("✗ "+string(stop.Phase)))
		case stop.Place == way.Now:
			parts = append(parts, accent("◉ "+string(stop.Phase)))
		case stop.Place == way.Done:
			parts = append(parts, good("●")+" "+string(stop.Phase))
		default:
			parts = append(parts, dim("○ "+string(stop.Phase)))
		}
	}
	return strings.Join(parts, dim(" ─ "))
}

// steps are those of the switch under way or of the last one.
func (s *screen) steps() []string {
	sw := s.status.Cutover
	if len(sw.Steps) == 0 {
		return nil
	}
	lines := []string{rule(sw.Direction, s.width)}
	for _, step := range sw.Steps {
		lines = append(lines, s.step(step))
	}
	return lines
}

func (s *screen) step(step migrate.StepStatus) string {
	mark, took := dim("○"), ""
	switch step.State {
	case "done":
		mark = good("✓")
	case "running":
		mark = accent("◉")
	case "failed":
		mark = bad("✗")
	case "skipped":
		mark = dim("-")
	}
	if step.TookMS > 0 {
		took = dim(units.Milliseconds(step.TookMS))
	}
	text := step.Command
	if step.Error != "" {
		text = bad(step.Error)
	}
	return spread(fmt.Sprintf(" %s %-18s %-21s %s", mark, step.Name, step.Server, text), took, s.width-1)
}

// events draws the last events, in room lines.
func (s *screen) events(room int) []string {
	if room < 2 {
		return nil
	}
	var lines []string
	for _, event := range s.status.Events {
		lines = append(lines, s.event(event)...)
	}
	return append([]string{rule("events", s.width)}, lines[max(0, len(lines)-room+1):]...)
}

// event draws one event, in as many lines as it needs.
func (s *screen) event(e migrate.Event) []string {
	style := func(text string) string { return text }
	switch e.Level {
	case "error":
		style = bad
	case "warn":
		style = warn
	}
	const indent = len(" 15:04:05 ")
	var lines []string
	for i, text := range strings.Split(ansi.Wrap(e.Text, max(20, s.width-indent-1), ""), "\n") {
		before := strings.Repeat(" ", indent)
		if i == 0 {
			before = " " + dim(e.At.Format(time.TimeOnly)) + " "
		}
		lines = append(lines, before+style(text))
	}
	return lines
}

// foot is what is under way, how the last operation ended, the question or the keys.
func (s *screen) foot() []string {
	var lines []string
	switch {
	case s.busy != "":
		lines = append(lines, " "+accent("◉ "+s.busy+"..."))
	case s.notice != "" && s.noticeBad:
		lines = append(lines, " "+bad(s.notice))
	case s.notice != "":
		lines = append(lines, " "+good(s.notice))
	}
	if s.prompt != "" {
		for _, line := range strings.Split(ansi.Wordwrap(s.prompt, max(20, s.width-2), ""), "\n") {
			lines = append(lines, " "+warn(line))
		}
		return lines
	}
	view := help.New()
	view.SetWidth(s.width - 1)
	return append(lines, " "+view.ShortHelpView(s.keys))
}

// clip cuts every line at the width of the terminal.
func (s *screen) clip(lines []string) string {
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, s.width, "…")
	}
	return strings.Join(lines, "\n")
}

// squeeze drops up to n blank lines, the last ones first.
func squeeze(lines []string, n int) []string {
	for i := len(lines) - 1; i >= 0 && n > 0; i-- {
		if lines[i] == "" {
			lines = slices.Delete(lines, i, i+1)
			n--
		}
	}
	return lines
}

// spread puts left and right at the two ends of a line; left gives way.
func spread(left, right string, width int) string {
	left = ansi.Truncate(left, max(0, width-lipgloss.Width(right)-1), "…")
	gap := width - lipgloss.Width(left) - lipgloss.Width(right)
	return left + strings.Repeat(" ", max(1, gap)) + right
}

// rule is a line across with a name in it.
func rule(name string, width int) string {
	return dim(" ── " + name + " " + strings.Repeat("─", max(0, width-len(name)-6)))
}

func label(name string) string { return dim(fmt.Sprintf(" %-*s", labelWidth-1, name)) }

// The styles use the terminal's own sixteen colours, which fit every theme.
func bold(s string) string { return lipgloss.NewStyle().Bold(true).Render(s) }
func dim(s string) string  { return lipgloss.NewStyle().Foreground(lipgloss.BrightBlack).Render(s) }
func accent(s string) string {
	return lipgloss.NewStyle().Foreground(lipgloss.Cyan).Bold(true).Render(s)
}
func good(s string) string { return lipgloss.NewStyle().Foreground(lipgloss.Green).Render(s) }
func warn(s string) string { return lipgloss.NewStyle().Foreground(lipgloss.Yellow).Render(s) }
func bad(s string) string  { return lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true).Render(s) }
