package matrix

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/traffic"
)

// featureOutcome is what became of a feature that one of two servers has and the
// other one does not take.
type featureOutcome struct {
	feature traffic.Feature
	back    bool   // it is the source that does not: only the way back is concerned
	refused string // why, by name
	dropped string // what --drop made of it; empty if it works
}

// runFeatures tries each feature that cannot go both ways: it must be refused by
// its name, and --drop must leave out that and nothing else.
func runFeatures(t *testing.T, source, target string) []featureOutcome {
	a, b := newHost(t, source), newHost(t, target)
	var outcomes []featureOutcome
	for _, f := range traffic.Features() {
		forward := slices.Contains(a.holds, f) && !carries(a, b, f)
		back := slices.Contains(b.holds, f) && !carries(b, a, f)
		if !forward && !back {
			continue
		}
		m := &migration{t: t, source: newHost(t, source), target: newHost(t, target)}
		o := featureOutcome{feature: f, back: back}
		var err error
		if back {
			err = m.tryBack(&o)
		} else {
			err = m.try(&o)
		}
		m.stop()
		if err != nil {
			t.Errorf("%s to %s, seed %d, %s: %v", source, target, *seed, f, err)
			o.refused = "FAILS: " + err.Error()
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

const (
	featureKeys     = 150
	featureCommands = 800
)

// others are the features that a run for one of them leaves out.
func others(f traffic.Feature) []traffic.Feature {
	var rest []traffic.Feature
	for _, x := range traffic.Features() {
		if x != f && (f != traffic.GeoSearch || x != traffic.GeoStore) { // the one is a way to say the other
			rest = append(rest, x)
		}
	}
	return rest
}

// mustRefuse sends commands that use the feature until the run ends by a refusal
// that names what it cannot carry. Not every round must hold one that has an effect.
func (m *migration) mustRefuse(to *host, f traffic.Feature) (string, error) {
	const rounds, pause = 10, 300 * time.Millisecond
	for range rounds {
		if err := m.write(to, featureCommands, others(f), false); err != nil {
			return "", err
		}
		select {
		case err := <-m.done:
			m.done <- err
			reason, named := refusal(&endedError{err})
			if !named {
				return "", fmt.Errorf("not refused by name: %w", err)
			}
			return reason, nil
		case <-time.After(pause):
		}
	}
	return "", fmt.Errorf("not refused: %d commands have passed", rounds*featureCommands)
}

// try has data of the feature in the source, then commands in its stream.
func (m *migration) try(o *featureOutcome) error {
	without := others(o.feature)
	if !slices.Contains(command.Features(), rdb.Feature(o.feature)) {
		return m.tryCommands(o)
	}
	if err := errors.Join(m.fill(featureKeys, without), m.write(m.source, featureCommands, without, false)); err != nil {
		return err
	}
	m.begin()
	var err error
	if o.refused, err = m.mustRefuse(m.source, o.feature); err != nil {
		return err
	}
	m.abort()

	m.begin(rdb.Feature(o.feature))
	if err := m.ready(); err != nil {
		return fmt.Errorf("with --drop: %w", err)
	}
	if err := m.onlyLacks(o.feature); err != nil {
		return fmt.Errorf("the copy with --drop: %w", err)
	}
	if err = m.write(m.source, featureCommands, without, false); err == nil {
		err = m.onlyLacks(o.feature)
	}
	if err == nil && o.feature == traffic.VectorSet {
		err = m.renameLeftOut()
	}
	if err == nil {
		return nil
	}
	reason, named := refusal(err)
	switch {
	case named:
		o.dropped = reason
	case o.feature == traffic.VectorSet && strings.Contains(reason, "has refused"):
		o.dropped = "a command that needs a key that was left out, such as RENAME, ends the link"
	default:
		return fmt.Errorf("the stream with --drop: %w", err)
	}
	return nil
}

// renameLeftOut renames a key that the target does not have, as it was left out.
func (m *migration) renameLeftOut() error {
	for _, args := range [][]any{{"VADD", "left", "VALUES", 2, 1, 1, "out"}, {"RENAME", "left", "renamed"}} {
		if _, err := m.source.client.Do(m.t.Context(), args...); err != nil {
			return err
		}
	}
	select {
	case err := <-m.done:
		m.done <- err
		return &endedError{err}
	case <-time.After(2 * time.Second):
		return m.onlyLacks(traffic.VectorSet)
	}
}

// besides is what must be left out for a feature to come into question.
func besides(f traffic.Feature) []rdb.Feature {
	if f == traffic.GeoSearch {
		return []rdb.Feature{command.FeatureGeoStore}
	}
	return nil
}

// tryCommands has commands in the stream that there are no words for at the
// target: no data that a snapshot could not carry.
func (m *migration) tryCommands(o *featureOutcome) error {
	if err := m.fill(featureKeys, traffic.Features()); err != nil {
		return err
	}
	m.begin(besides(o.feature)...)
	err := m.ready()
	if err == nil {
		o.refused, err = m.mustRefuse(m.source, o.feature)
	}
	return err
}

// tryBack has the target's clients use the feature after a cutover: the way back
// ends by name.
func (m *migration) tryBack(o *featureOutcome) error {
	if err := m.fill(featureKeys, traffic.Features()); err != nil {
		return err
	}
	m.begin(besides(o.feature)...)
	err := m.cutover()
	if err == nil {
		o.refused, err = m.mustRefuse(m.target, o.feature)
	}
	return err
}

// onlyLacks sees that nothing but data of the feature is missing at the target.
func (m *migration) onlyLacks(f traffic.Feature) error {
	wrong, err := m.differences(m.source, m.target, func(d audit.Difference) bool {
		switch f {
		case traffic.HashFieldTTL:
			return d.Kind != audit.TTL || !strings.HasPrefix(d.Detail, "field ")
		case traffic.Function:
			return d.DB >= 0 || d.Kind != audit.Missing
		case traffic.VectorSet:
			return d.Kind != audit.Missing || !strings.Contains(d.Detail, "vectorset")
		case traffic.GeoStore:
			return !strings.HasPrefix(d.Key, "traffic:geo") && !strings.HasPrefix(d.Key, "traffic:zset")
		default:
			return true
		}
	})
	if err != nil || len(wrong) == 0 {
		return err
	}
	return &differsError{wrong}
}
