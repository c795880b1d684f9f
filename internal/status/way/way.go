// Package way is the line of phases as it is shown to people.
package way

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

// Of is the way from planned to completed with the present phase in it. A side
// exit takes the place of what it precludes.
func Of(now migrate.Phase) []Stop {
	phases := []migrate.Phase{migrate.Planned, migrate.Copying, migrate.Following, migrate.Switching, migrate.Switched, migrate.Completed}
	switch now {
	case migrate.RolledBack:
		phases = []migrate.Phase{migrate.Planned, migrate.Copying, migrate.Following, migrate.Switched, migrate.RolledBack}
	case migrate.Aborted, migrate.Failed:
		phases = []migrate.Phase{migrate.Planned, now}
	}
	at := slices.Index(phases, now)
	stops := make([]Stop, len(phases))
	for i, phase := range phases {
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
