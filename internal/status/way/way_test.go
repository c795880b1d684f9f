package way_test

import (
	"fmt"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/status/way"
)

func TestOf(t *testing.T) {
	for now, want := range map[migrate.Phase]string{
		migrate.Planned:    "[{planned now} {copying later} {following later} {switching later} {switched later} {completed later}]",
		migrate.Following:  "[{planned done} {copying done} {following now} {switching later} {switched later} {completed later}]",
		migrate.Completed:  "[{planned done} {copying done} {following done} {switching done} {switched done} {completed now}]",
		migrate.RolledBack: "[{planned done} {copying done} {following done} {switched done} {rolled-back now}]",
		migrate.Failed:     "[{planned done} {failed now}]",
		migrate.Aborted:    "[{planned done} {aborted now}]",
	} {
		if got := fmt.Sprint(way.Of(now)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", now, got, want)
		}
	}
}
