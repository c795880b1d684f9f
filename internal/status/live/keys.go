package live

import (
	"context"
	"fmt"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"godwit/internal/migrate"
)

// question is asked at the foot of the view and answered by y or n.
type question struct {
	text string
	yes  func() tea.Cmd
}

// keys are those that do something now.
func (m *model) keys() []key.Binding {
	if m.options.Scripted != "" {
		return keysFor("")
	}
	return keysFor(m.screen.status.Phase)
}

// keysFor are the keys that do something in a phase.
func keysFor(phase migrate.Phase) []key.Binding {
	bind := func(name, help string) key.Binding {
		return key.NewBinding(key.WithKeys(name), key.WithHelp(name, help))
	}
	var keys []key.Binding
	switch phase {
	case migrate.Following, migrate.RolledBack:
		keys = append(keys, bind("c", "cut over"))
	case migrate.Switched:
		keys = append(keys, bind("r", "roll back"), bind("d", "complete"))
	}
	return append(keys, bind("q", "quit"))
}

func (m *model) refuse(why string) *question {
	m.screen.notice, m.screen.noticeBad = why, true
	return nil
}

func (m *model) askCutover() *question {
	s := m.screen.status
	switch {
	case s.Phase != migrate.Following && s.Phase != migrate.RolledBack:
		return m.refuse(fmt.Sprintf("no cutover while %s", s.Phase))
	case !s.Ready:
		return m.refuse("no cutover yet: " + reason(s))
	}
	return &question{
		text: "Cut over to " + address(s.Target.URL) + "? Writes stall for some milliseconds, then it serves. [y/n]",
		yes: func() tea.Cmd {
			return m.operate("cutting over", func(ctx context.Context) operationEnded {
				result, err := m.migration.Cutover(ctx, migrate.SwitchOptions{})
				return switched("cutover", result, err)
			})
		},
	}
}

func (m *model) askRollback() *question {
	s := m.screen.status
	switch {
	case s.Phase != migrate.Switched:
		return m.refuse(fmt.Sprintf("no rollback while %s", s.Phase))
	case !s.Ready:
		return m.refuse("no rollback yet: " + reason(s))
	}
	return &question{
		text: "Roll back to " + address(s.Source.URL) + ", with every write since? [y/n]",
		yes: func() tea.Cmd {
			return m.operate("rolling back", func(ctx context.Context) operationEnded {
				result, err := m.migration.Rollback(ctx, migrate.SwitchOptions{})
				return switched("rollback", result, err)
			})
		},
	}
}

func (m *model) askComplete() *question {
	s := m.screen.status
	if s.Phase != migrate.Switched {
		return m.refuse(fmt.Sprintf("nothing to complete while %s", s.Phase))
	}
	return &question{
		text: "Complete? " + address(s.Target.URL) + " stays primary for good; no rollback after this. [y/n]",
		yes: func() tea.Cmd {
			return m.operate("completing", func(ctx context.Context) operationEnded {
				if _, err := m.migration.Complete(ctx, false); err != nil {
					return operationEnded{text: "complete: " + err.Error(), bad: true}
				}
				return operationEnded{text: "completed"}
			})
		},
	}
}

// quit leaves the view at once when another process runs the migration;
// else it asks first, saying what stays.
func (m *model) quit() tea.Cmd {
	if m.options.Stop == nil {
		m.result = ErrQuit
		return tea.Quit
	}
	m.ask(func() *question { return &question{text: m.whatStays() + " [y/n]", yes: m.stop} })
	return nil
}

// whatStays says in what state the servers are when this process ends now.
func (m *model) whatStays() string {
	if m.options.Scripted != "" {
		return m.options.Scripted
	}
	s := m.screen.status
	switch s.Phase {
	case migrate.Switched:
		return "Quit? " + address(s.Target.URL) + " goes on serving. The way back is closed until `godwit run` again."
	case migrate.RolledBack, migrate.Following:
		if m.options.AbortOnExit {
			return "Quit? " + address(s.Target.URL) + " is detached with what it has; the source goes on serving."
		}
		return "Quit? The source goes on serving, the target stays attached; `godwit run` goes on."
	default:
		return "Quit? The source goes on serving; `godwit run` goes on from here or copies again."
	}
}

func reason(s migrate.Status) string {
	if s.NotReady != "" {
		return s.NotReady
	}
	return "the target is not ready"
}
