// Package status shows a running migration to the outside and takes its
// commands: an HTTP API on a Unix socket for the godwit verbs, and on TCP a
// read-only part of it with a web page and Prometheus metrics. It keeps no
// state; every answer is a fresh snapshot of the migration.
package status

import (
	"context"
	"iter"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

// Controller is the migration that is served. Every method may be called from
// any goroutine.
type Controller interface {
	// Status MUST be cheap and MUST NOT wait for a server.
	Status() migrate.Status
	// Subscribe returns the events from now on. A subscriber that does not keep
	// up MUST NOT hold up the migration. Nothing is sent after cancel.
	Subscribe() (events <-chan migrate.Event, cancel func())
	// Cutover and Rollback return when the switch is made or given up; a dry
	// run returns the literal steps and changes nothing.
	Cutover(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)
	Rollback(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)
	// Complete and Abort return when the migration has ended.
	Complete(ctx context.Context, dryRun bool) (migrate.EndResult, error)
	Abort(ctx context.Context, dryRun bool) (migrate.EndResult, error)
	// Verify returns when both sides are compared, which ctx ends early. How far it
	// is, Status tells. Its error says that it did not begin.
	Verify(context.Context, migrate.VerifyOptions) (*verify.Report, error)
}

// Local gives a migration in this process the methods of a Client, so that a
// view need not know which of the two it shows.
func Local(c Controller) LocalClient { return LocalClient{Controller: c} }

// LocalClient is a Controller that looks like a Client.
type LocalClient struct{ Controller }

// Status never fails.
func (l LocalClient) Status(context.Context) (migrate.Status, error) {
	return l.Controller.Status(), nil
}

// Events yields the events since this call, until ctx is done and those that
// came before it are read. It never yields an error, and MUST be ranged over
// once, or the subscription stays.
func (l LocalClient) Events(ctx context.Context) iter.Seq2[migrate.Event, error] {
	events, cancel := l.Subscribe()
	return func(yield func(migrate.Event, error) bool) {
		defer cancel()
		for {
			select {
			case event, open := <-events:
				if !open || !yield(event, nil) {
					return
				}
			case <-ctx.Done():
				if len(events) == 0 {
					return
				}
			}
		}
	}
}
