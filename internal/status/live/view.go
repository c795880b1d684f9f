package live

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"godwit/internal/migrate"
)

// pollInterval is how often the view looks at the migration.
const pollInterval = 250 * time.Millisecond

// ErrQuit says that the user left the view while the migration goes on.
var ErrQuit = errors.New("the view was left")

// ErrForced says that the user interrupted a second time and will not wait.
var ErrForced = errors.New("interrupted twice")

// Extra is a line that the caller adds to the view.
type Extra struct{ Label, Text string }

// Options of the view.
type Options struct {
	Input  io.Reader // terminal
	Output io.Writer // terminal

	// Stop ends the migration that this process runs; nil when another one
	// runs it. The view stays until its context is done.
	Stop        func()
	AbortOnExit bool           // what Stop does to the target before the switch
	Extra       func() []Extra // more lines, asked for at every look; nil for none
	// Scripted is the question before quitting a migration that a script
	// switches, and for which there are no keys to do so; empty for others.
	Scripted string
}

// View shows m until ctx is done, the migration has ended or the user leaves.
// It returns nil, ErrQuit, ErrForced or an error of the terminal. An operation
// that the user started has returned when View does.
func View(ctx context.Context, m Migration, o Options) error {
	var running sync.WaitGroup
	defer running.Wait()
	looking, stopLooking := context.WithCancel(ctx)
	defer stopLooking()
	model := &model{options: o, migration: m, operations: looking}
	if o.Stop != nil {
		// A switch of our own ends by itself; tearing it would only lose its result.
		model.operations = context.WithoutCancel(ctx)
	}
	program := tea.NewProgram(model, tea.WithInput(o.Input), tea.WithOutput(o.Output), tea.WithoutSignalHandler())
	model.start = func(operation func() tea.Msg) {
		running.Go(func() { program.Send(operation()) })
	}
	running.Go(func() { look(looking, m, program) })
	if _, err := program.Run(); err != nil {
		return err
	}
	return model.result
}

// look sends the program a snapshot at every interval, and quits it when ctx is done.
func look(ctx context.Context, m Source, program *tea.Program) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		s, err := m.Status(ctx)
		program.Send(snapshot{status: s, err: err})
		select {
		case <-ctx.Done():
			program.Quit()
			return
		case <-ticker.C:
		}
	}
}

// Messages of the program.
type (
	snapshot struct {
		status migrate.Status
		err    error
	}
	operationEnded struct {
		text string
		bad  bool
	}
)

// gone tells whether err says that nothing runs the migration any more, as
// status.NotRunningError does.
func gone(err error) bool {
	var notRunning interface{ NotRunning() }
	return errors.As(err, &notRunning)
}
