package status

import (
	"slices"

	"godwit/internal/migrate"
)

// Place says where a phase lies on the way, seen from the present one.
type Place string

// The places.
const (
	Done  Place = "done"
	Now   Place = "now"
	Later Place = "later"
)

// Stop is one phase of the way.
type Stop struct {
	Phase migrate.Phase
	Place Place
}

// Way is the line of phases from planned to completed as it is shown to people,
// with the present one in it. A side exit takes the place of what it precludes.
func Way(now migrate.Phase) []Stop {
	way := []migrate.Phase{migrate.Planned, migrate.Copying, migrate.Following, migrate.Switching, migrate.Switched, migrate.Completed}
	switch now {
	case migrate.RolledBack:
		way = []migrate.Phase{migrate.Planned, migrate.Copying, migrate.Following, migrate.Switched, migrate.RolledBack}
	case migrate.Aborted, migrate.Failed:
		way = []migrate.Phase{migrate.Planned, now}
	}
	at := slices.Index(way, now)
	stops := make([]Stop, len(way))
	for i, phase := range way {
		stops[i] = Stop{Phase: phase, Place: Later}
		switch {
		case i == at:
			stops[i].Place = Now
		case i < at:
			stops[i].Place = Done
		}
	}
	return stops
}
