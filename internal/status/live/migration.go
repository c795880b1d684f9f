// Package live shows a migration while it goes on: on a terminal as a view
// with keys, elsewhere as plain lines or as JSON. All of it reads snapshots and
// asks for operations as any client does, so it can neither block nor break
// the migration.
package live

import (
	"context"
	"iter"
	"strings"

	"godwit/internal/migrate"
)

// Source is what can be shown.
type Source interface {
	Status(context.Context) (migrate.Status, error)
	// Events yields the events since the call, until ctx is done or the
	// migration's process ends.
	Events(context.Context) iter.Seq2[migrate.Event, error]
}

// Migration is what the view shows and asks for operations: a status.Client,
// or a status.LocalClient when this process runs the migration.
type Migration interface {
	Source
	Cutover(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)
	Rollback(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)
	Complete(ctx context.Context, dryRun bool) (migrate.EndResult, error)
}

// address is a URL without its scheme, as people say it.
func address(url string) string {
	if _, after, found := strings.Cut(url, "://"); found {
		return after
	}
	return url
}
