package matrix

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"godwit/internal/audit"
	"godwit/internal/rdb"
	"godwit/internal/traffic"
)

// featureOutcome is what became of a feature that one of two servers lacks.
type featureOutcome struct {
	feature traffic.Feature
	back    bool   // it is the source that lacks it: only the way back is concerned
	refused string // why, by name
	dropped string // what --drop made of it; empty if it works
}

// runFeatures tries each feature that only one of two servers has: it must be
// refused by its name, and --drop must leave out that and nothing else.
func runFeatures(t *testing.T, source, target string) []featureOutcome {
	a, b := newHost(t, source), newHost(t, target)
	var outcomes []featureOutcome
	for _, f := range traffic.Features() {
		inSource, inTarget := contains(a.holds, f), contains(b.holds, f)
		if inSource == inTarget {
			continue
		}
		m := &migration{t: t, source: newHost(t, source), target: newHost(t, target)}
		o := featureOutcome{feature: f, back: inTarget}
		var err error
		if inTarget {
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
		if x != f {
			rest = append(rest, x)
		}
	}
	return rest
}

// mustRefuse waits for a run to end by a refusal that names the feature, or at
// least what it cannot carry of it.
func (m *migration) mustRefuse() (string, error) {
	err := m.until("the run has ended", func() bool { return false })
	reason, named := refusal(err)
	if !named {
		return "", fmt.Errorf("not refused by name: %w", err)
	}
	return reason, nil
}

// try has data of the feature in the source, then commands in its stream.
func (m *migration) try(o *featureOutcome) error {
	without := others(o.feature)
	if !contains(rdb.Features(), rdb.Feature(o.feature)) {
		return m.tryCommands(o)
	}
	if err := errors.Join(m.fill(featureKeys, without), m.write(m.source, featureCommands, without, false)); err != nil {
		return err
	}
	m.begin()
	var err error
	if o.refused, err = m.mustRefuse(); err != nil {
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
	err = errors.Join(m.write(m.source, featureCommands, without, false), m.onlyLacks(o.feature))
	if err == nil {
		return nil
	}
	reason, named := refusal(err)
	if !named {
		return fmt.Errorf("the stream with --drop: %w", err)
	}
	o.dropped = reason
	return nil
}

// tryCommands has commands in the stream that there are no words for at the
// target: no data that a snapshot could not carry.
func (m *migration) tryCommands(o *featureOutcome) error {
	if err := m.fill(featureKeys, traffic.Features()); err != nil {
		return err
	}
	m.begin()
	err := errors.Join(m.ready(), m.write(m.source, featureCommands, others(o.feature), false))
	if err == nil {
		o.refused, err = m.mustRefuse()
	}
	return err
}

// tryBack has the target's clients use the feature after a cutover: the way back
// ends by name.
func (m *migration) tryBack(o *featureOutcome) error {
	without := others(o.feature)
	if err := m.fill(featureKeys, traffic.Features()); err != nil {
		return err
	}
	m.begin()
	if err := errors.Join(m.ready(), m.cutover()); err != nil {
		return err
	}
	if err := m.write(m.target, featureCommands, without, false); err != nil {
		return err
	}
	var err error
	o.refused, err = m.mustRefuse()
	return err
}

// onlyLacks sees that nothing but data of the feature is missing at the target.
func (m *migration) onlyLacks(f traffic.Feature) error {
	differences, err := m.differences(m.source, m.target)
	if err != nil {
		return err
	}
	var wrong []audit.Difference
	for _, d := range differences {
		expected := false
		switch f {
		case traffic.HashFieldTTL:
			expected = d.Kind == audit.TTL && strings.HasPrefix(d.Detail, "field ")
		case traffic.Function:
			expected = d.DB < 0 && d.Kind == audit.Missing
		case traffic.VectorSet:
			expected = d.Kind == audit.Missing && strings.Contains(d.Detail, "vectorset")
		}
		if !expected {
			wrong = append(wrong, d)
		}
	}
	if len(wrong) > 0 {
		return &differsError{wrong}
	}
	return nil
}
