package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/status"
	"godwit/internal/status/live"
)

// runOptions are the flags of run.
type runOptions struct {
	migration migrationOptions
	listen    string
}

func newRunCommand(s streams) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:     "run --from URL --to URL",
		GroupID: groupMove,
		Short:   "Copy, follow, and stay until the migration is completed",
		Long: `Copies the source to the target, follows every write, and waits for the cutover
("godwit cutover", a key of the live view, or --cutover auto). It stays up for
the rollback window, so that "godwit rollback" can go back without loss, until
"godwit complete" ends it.

Interrupted or killed at any point, the same command goes on from there. Before
the switch Ctrl-C leaves the target attached, unless --abort-on-exit is given.

With --from file:PATH the source is what a server has saved: an RDB file, an append
only file, or the directory or the manifest of one in several parts. The run ends
by itself once the target has everything; there is no cutover.

On a terminal it shows a live view; elsewhere it prints a line at each event and
every few seconds; with --output json one JSON object a line, the last of them
the result.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRun(cmd.Context(), cmd, &o, s) },
	}
	o.migration.addFlags(cmd, s)
	cmd.Flags().StringVar(&o.listen, "listen", "", "`host:port` on which to serve a status page, /status and /metrics for Prometheus, all of them read-only")
	completeNone(cmd, "listen")
	return cmd
}

func runRun(ctx context.Context, cmd *cobra.Command, o *runOptions, s streams) (err error) {
	config, err := o.migration.build(cmd, s)
	if err != nil {
		return err
	}
	log := newLogger(s, o.migration.verbose)
	if err := yield(); err != nil {
		log.Debug("not all that could be done to give way to the servers was", "error", err)
	}
	m, err := migrate.Begin(ctx, config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	listeners, err := o.listeners(ctx, config)
	if err != nil {
		return err
	}
	show := terminalShow(s, o.migration.output.json(), o.migration.verbose, config.AbortOnExit)
	err = carry(ctx, m, listeners, show, log)
	if errors.Is(err, context.Canceled) {
		err = &hintedError{err: err, hint: "the same `godwit run` goes on from here; `godwit status` says what else can be done"}
	}
	return errors.Join(showResult(s, m.Status(), err, o.migration.output.json()), err)
}

// listeners opens the socket of the verbs and, if asked for, the TCP port.
func (o *runOptions) listeners(ctx context.Context, c migrate.Config) ([]net.Listener, error) {
	socket, err := status.Listen(ctx, c.StateDir, c.Name)
	if err != nil {
		return nil, err
	}
	if o.listen == "" {
		return []net.Listener{socket}, nil
	}
	var config net.ListenConfig
	tcp, err := config.Listen(ctx, "tcp", o.listen)
	if err != nil {
		return nil, errors.Join(usagef("give another --listen host:port", "--listen: %w", err), socket.Close())
	}
	return []net.Listener{socket, tcp}, nil
}

// show tells the user how m goes until ctx is done. stop interrupts m.
type show func(ctx context.Context, m status.LocalClient, stop func()) error

// carry runs m, serves its API and shows it, until it has ended and everything
// of it has stopped.
func carry(ctx context.Context, m migrate.Running, listeners []net.Listener, show show, log *slog.Logger) error {
	running, stopRunning := context.WithCancel(ctx)
	defer stopRunning()
	// What surrounds the run outlives it a little: its last events and answers
	// are still to be seen.
	around, stopAround := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stopAround()
	for _, listener := range listeners {
		wg.Go(func() {
			if err := status.Serve(around, listener, m, programVersion()); err != nil {
				log.Error("the migration goes on without its API", "error", err)
			}
		})
	}
	ended := make(chan error, 1)
	go func() {
		ended <- m.Run(running)
		stopAround()
	}()
	if err := show(around, status.Local(m), stopRunning); err != nil {
		// Nobody can be told, yet the migration must not suffer.
		log.Error("the migration goes on unseen", "error", err)
	}
	return <-ended
}

// terminalShow chooses between the live view, plain lines and JSON.
func terminalShow(s streams, asJSON, verbose, abortOnExit bool) show {
	plain := func(ctx context.Context, m status.LocalClient, _ func()) error {
		return live.Follow(ctx, m, live.Plain{W: s.out})
	}
	switch {
	case asJSON:
		return func(ctx context.Context, m status.LocalClient, _ func()) error {
			return live.Follow(ctx, m, live.JSON{W: s.out})
		}
	case !s.interactive() || verbose && isTerminal(s.err): // a log would tear the view
		return plain
	}
	return func(ctx context.Context, m status.LocalClient, stop func()) error {
		o := live.Options{Input: s.in, Output: s.out, Stop: stop, AbortOnExit: abortOnExit}
		return viewElse(ctx, m, s, o, live.Plain{W: s.out})
	}
}

// viewElse shows the live view, and plain lines should the view break down.
// A second Ctrl-C in the view exits at once, as a second signal does.
func viewElse(ctx context.Context, m status.LocalClient, s streams, o live.Options, plain live.Printer) error {
	err := live.View(ctx, m, o)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, live.ErrForced):
		s.exit(status.ExitInterrupted)
	}
	_, _ = fmt.Fprintf(s.err, "the live view ended: %v\n", err) // the plain lines go on all the same
	return live.Follow(ctx, m, plain)
}

// showResult prints how the run ended; an error itself is printed as any other.
func showResult(s streams, last migrate.Status, err error, asJSON bool) error {
	if asJSON {
		result := live.Result{Status: last, ExitCode: status.ExitCode(err), Hint: status.Hint(err)}
		if err != nil {
			result.Error = err.Error()
		}
		return live.JSON{W: s.out}.Result(result)
	}
	if code := status.ExitCode(err); code == status.ExitRefused || code == status.ExitUsage {
		return nil // nothing was begun
	}
	last.Error, last.Hint, last.Emergency = "", "", nil
	if _, err := fmt.Fprintln(s.out); err != nil {
		return err
	}
	return live.Report(s.out, last)
}
