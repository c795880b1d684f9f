package migrate_test

import (
	"slices"

	"godwit/internal/migrate"
)

// streamingLinks tells whether every link streams, and has carried everything.
func streamingLinks(s migrate.Status) bool {
	return len(s.Links) > 0 && !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.State != "streaming" || l.LagBytes != 0 })
}
