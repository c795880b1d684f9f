package live

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"godwit/internal/migrate"
	"godwit/internal/status/units"
)

// model is the state of the view; only the program's own goroutine touches it.
type model struct {
	options    Options
	migration  Migration
	operations context.Context                //nolint:containedctx // bounds the operations that keys start
	start      func(operation func() tea.Msg) // runs an operation in a goroutine
	screen     screen
	question   *question
	stopping   bool
	result     error
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.screen.width, m.screen.height = msg.Width, msg.Height
	case snapshot:
		return m, m.seen(msg)
	case operationEnded:
		m.screen.busy = ""
		m.screen.notice, m.screen.noticeBad = msg.text, msg.bad
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

// View implements tea.Model.
func (m *model) View() tea.View {
	m.screen.prompt = ""
	if m.question != nil {
		m.screen.prompt = m.question.text
	}
	view := tea.NewView(m.screen.render())
	view.AltScreen = true
	view.WindowTitle = "godwit " + m.screen.status.Name
	return view
}

func (m *model) seen(s snapshot) tea.Cmd {
	if s.err != nil {
		if gone(s.err) {
			return tea.Quit
		}
		if m.operations.Err() == nil {
			m.screen.notice, m.screen.noticeBad = s.err.Error(), true
		}
		return nil
	}
	m.screen.status = s.status
	m.screen.lag.add(s.status)
	m.screen.keys = m.keys()
	if m.options.Extra != nil {
		m.screen.extra = m.options.Extra()
	}
	if s.status.Phase.Ended() && m.options.Stop == nil {
		return tea.Quit
	}
	return nil
}

func (m *model) key(msg tea.KeyPressMsg) tea.Cmd {
	name := msg.String()
	if name == "ctrl+c" {
		return m.interrupt()
	}
	if m.stopping {
		return nil
	}
	if q := m.question; q != nil {
		switch name {
		case "y", "Y":
			m.question = nil
			return q.yes()
		case "n", "N", "esc", "q":
			m.question = nil
		}
		return nil
	}
	m.screen.notice = ""
	switch {
	case name == "q" || name == "esc":
		return m.quit()
	case m.options.Scripted != "":
		return nil
	}
	switch name {
	case "c":
		m.ask(m.askCutover)
	case "r":
		m.ask(m.askRollback)
	case "d":
		m.ask(m.askComplete)
	}
	return nil
}

// interrupt is Ctrl-C: the first stops as SIGINT does, the second does not wait.
func (m *model) interrupt() tea.Cmd {
	if m.options.Stop == nil {
		m.result = ErrQuit
		return tea.Quit
	}
	if m.stopping {
		m.result = ErrForced
		return tea.Quit
	}
	return m.stop()
}

func (m *model) stop() tea.Cmd {
	m.stopping, m.question = true, nil
	m.screen.busy = "stopping; Ctrl-C again does not wait"
	m.options.Stop()
	return nil
}

// ask puts a question unless another operation is under way.
func (m *model) ask(build func() *question) {
	if m.screen.busy != "" {
		m.screen.notice, m.screen.noticeBad = "wait for the end of what is under way", true
		return
	}
	m.question = build()
}

// operate runs an operation and shows how it ended.
func (m *model) operate(busy string, run func(context.Context) operationEnded) tea.Cmd {
	m.screen.busy, m.screen.notice = busy, ""
	m.start(func() tea.Msg { return run(m.operations) })
	return nil
}

// switched words the end of a cutover or rollback.
func switched(name string, result migrate.SwitchResult, err error) operationEnded {
	switch {
	case err != nil:
		return operationEnded{text: name + ": " + err.Error(), bad: true}
	case !result.Done:
		return operationEnded{text: name + " given up, all is as before: " + result.Reason, bad: true}
	}
	return operationEnded{text: name + " done, writes stalled for " + units.Milliseconds(result.WriteStallMS)}
}

// elapsed is how long the migration has gone on at the time of the snapshot.
func elapsed(s migrate.Status) time.Duration {
	if s.StartedAt.IsZero() || s.At.Before(s.StartedAt) {
		return 0
	}
	return s.At.Sub(s.StartedAt)
}
