package matrix

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/plan"
	"godwit/internal/rdb"
	"godwit/internal/traffic"
)

// size of a run.
type size struct{ keys, commands int }

// outcome is what became of a pair.
type outcome struct {
	source, target string
	refused        string           // why, by name; empty if it works
	features       []featureOutcome // of what cannot go both ways
}

// works tells whether all that both servers have is carried, there and back.
func (o outcome) works() bool { return o.refused == "" }

// runPair runs a whole migration with what both servers have, then a small one
// for each feature that can go one way only, or not at all. That data differs, or that a run
// ends without a name for it, fails the test.
func runPair(t *testing.T, source, target string, s size) outcome {
	o := outcome{source: source, target: target}
	stage, err := runBothWays(t, source, target, s)
	if err != nil {
		reason, named := refusal(err)
		if !named {
			t.Errorf("%s to %s, seed %d, %s: %v", source, target, *seed, stage, err)
		}
		o.refused = stage + ": " + reason
		return o
	}
	o.features = runFeatures(t, source, target)
	return o
}

// runBothWays is the whole migration. It fails with the stage it was in.
func runBothWays(t *testing.T, source, target string, s size) (stage string, err error) {
	m := &migration{t: t, source: newHost(t, source), target: newHost(t, target)}
	defer m.stop()
	without := notShared(m.source, m.target)
	for _, step := range []struct {
		stage string
		do    func() error
	}{
		{"filling", func() error { return m.fill(s.keys, without) }},
		{"copying", func() error { m.begin(); return m.ready() }},
		{"the copy", func() error { return m.equal(m.source, m.target) }},
		{"following", func() error { return m.write(m.source, s.commands, without, false) }},
		{"what followed", func() error { return m.equal(m.source, m.target) }},
		{"the cutover", m.cutover},
		{"the way back", func() error { return m.write(m.target, s.commands, without, true) }},
		{"what came back", func() error { return m.equal(m.target, m.source) }},
		{"the rollback", m.rollback},
		{"what was rolled back", func() error { return m.equal(m.source, m.target) }},
		{"following again", func() error { return m.write(m.source, s.commands/10, without, false) }},
		{"what followed again", func() error { return m.equal(m.source, m.target) }},
	} {
		if err := step.do(); err != nil {
			return step.stage, err
		}
	}
	return "", nil
}

// notShared are the features that cannot go both ways.
func notShared(a, b *host) []traffic.Feature {
	var features []traffic.Feature
	for _, f := range traffic.Features() {
		if !carries(a, b, f) || !carries(b, a, f) {
			features = append(features, f)
		}
	}
	return features
}

// refusal is why a run has ended, without what differs from run to run, and
// whether it says what it cannot carry.
func refusal(err error) (reason string, named bool) {
	var (
		ended    *endedError
		planned  *plan.RefusedError
		snapshot *rdb.NoEqualError
		stream   *command.NoEqualError
	)
	if !errors.As(err, &ended) {
		return err.Error(), false
	}
	named = errors.As(err, &planned) || errors.As(err, &snapshot) || errors.As(err, &stream)
	reason = ended.err.Error()
	if stream != nil {
		short := *stream
		short.Key = nil
		reason = short.Error()
	}
	reason = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(reason, "it")
	reason = regexp.MustCompile(` of db \d+, key "[^"]*"|(, )?(of )?(db \d+, )?key "(\\.|[^"\\])*"`).ReplaceAllString(reason, "")
	return strings.TrimSpace(reason), named
}
