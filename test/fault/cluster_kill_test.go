package fault

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/status"
)

var seed = flag.Uint64("seed", 0, "of the moments at which godwit is killed; 0: another one each time")

// kills are how many there are in each part of a migration.
type kills struct{ copying, following, switching int }

// Killed at any moment of the copy, of the follow and of the switches, the same `godwit
// run` goes on: every write is there once, and both sides are equal.
func TestKilledAtAnyMoment(t *testing.T) {
	versions, keys, n := []string{"redis-7.0"}, 3000, kills{1, 1, 1}
	if long {
		versions, keys, n = []string{"redis-7.0", "valkey-8.1", "valkey-9.1"}, 40_000, kills{7, 6, 7}
	}
	for _, version := range versions {
		for _, s := range shapes() {
			if !long && s.name != "standalone to cluster" {
				continue
			}
			row := *seed
			if row == 0 {
				row = rand.Uint64() >> 32
			}
			t.Run(fmt.Sprint(s.name, ", ", version), func(t *testing.T) {
				t.Parallel()
				t.Logf("-seed %d", row)
				j := newJourney(t, s, version, keys, true)
				j.killed(rand.New(rand.NewPCG(row, 0)), n)
				j.ends()
			})
		}
	}
}

// killed carries a migration on to its end by runs that are killed.
func (j *journey) killed(rng *rand.Rand, n kills) {
	j.t.Helper()
	j.write()
	j.bustle()
	within := func(d time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(d)))) }
	died := map[migrate.Phase]int{}
	kill := func() {
		j.run.kill()
		died[j.p.status().Phase]++
	}
	for i := range n.copying { // each a little later, so that not all of them come too late
		j.begin()
		within((startTime + time.Duration(j.keys)*keyTime) * time.Duration(i+1) / time.Duration(n.copying))
		kill()
	}
	for range n.following {
		j.begin()
		j.p.until("following", func(s migrate.Status) bool { return s.Running && s.Phase == migrate.Following })
		within(followTime)
		kill()
	}
	j.begin()
	j.p.ready()
	j.still()
	j.equal()
	j.write()
	j.p.ready()
	j.verifies()
	for range n.switching {
		switch s := j.p.until("settled", j.settled); {
		case s.Phase == migrate.Switched && j.shape.noWay:
			within(followTime)
			kill()
		case s.Phase == migrate.Switched:
			j.asked((*status.Client).Rollback, func() { within(switchTime); kill() })
		default:
			j.asked((*status.Client).Cutover, func() { within(switchTime); kill() })
		}
		j.begin()
	}
	j.t.Logf("killed in the phases %v", died)
	if s := j.p.until("settled", j.settled); s.Phase == migrate.Switched && !j.shape.noWay {
		j.must("rollback")
		j.p.ready()
	}
	j.verifies()
}

// settled tells that no switch is under way, and another is possible if there is to be
// one.
func (j *journey) settled(s migrate.Status) bool {
	return s.Running && (s.Ready || s.Phase == migrate.Switched && j.shape.noWay)
}

// asked has the run do a switch, and does something else once that is under way; what
// becomes of the switch is for the next run to say.
func (j *journey) asked(do func(*status.Client, context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error), then func()) {
	j.t.Helper()
	c, err := status.Dial(j.t.Context(), j.p.stateDir, "default")
	if err != nil {
		j.t.Fatal(err)
	}
	defer c.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = do(c, j.t.Context(), migrate.SwitchOptions{MaxPauseMS: 15_000})
	}()
	before, err := c.Status(j.t.Context())
	for now, waits := before, err == nil; waits && now.Phase == before.Phase; {
		select {
		case <-done:
			waits = false // it is over
		case <-time.After(time.Millisecond):
			if now, err = c.Status(j.t.Context()); err != nil {
				waits = false
			}
		}
	}
	then()
	<-done
}

// Within these times after the beginning of a part of a migration godwit is killed: they
// are a little longer than what is there to be interrupted.
const (
	startTime  = 300 * time.Millisecond // of the program
	keyTime    = 20 * time.Microsecond  // of the copy
	followTime = 800 * time.Millisecond
	switchTime = 80 * time.Millisecond
)
