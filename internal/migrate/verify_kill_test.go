package migrate_test

import (
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

// A comparison that was killed before its end has no result, and begins anew where a
// cutover waits for one.
func TestKilledWhileVerifyingBeforeTheCutover(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	config := p.config()
	config.Verify = migrate.VerifyBeforeCutover
	startChild(t, config, "verify-stopped").killedItself()
	s, err := migrate.ReadStatus(config.StateDir, config.Name)
	if err != nil || s.Verify.State != migrate.VerifyUnknown || s.Verify.Verified || s.Verify.Error == "" {
		t.Errorf("%+v: %v", s.Verify, err)
	}
	m := start(t, config)
	if s := m.ready(); !s.Verify.Verified || s.Verify.State != migrate.VerifyEqual {
		t.Errorf("%+v", s.Verify)
	}
	m.cutover()
}

// Killed in each of its stages, a comparison can be had again, and finds what there is.
func TestKilledInAStageOfVerifying(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	l := p.load()
	config := p.config()
	first := startChild(t, config, "")
	first.must("ready")
	plant(t, p.target, []any{"SET", "planted", "1"})
	first.kill()
	for _, x := range []struct{ word, stage string }{
		{"slowly", verify.StageSnapshot}, {"slowly", verify.StageSecondLook}, {"scan", verify.StageScan}, {"repair", verify.StageRepair},
	} {
		run := startChild(t, config, "verify-stage-"+x.stage)
		run.must("ready")
		if a, ok := run.ask(x.word); ok {
			t.Fatalf("not killed in the stage %s: %+v", x.stage, a)
		}
		run.killedItself()
		restored(t, p.target, "0")
		run = startChild(t, config, "")
		run.must("ready")
		r := run.must(x.word).Report
		switch {
		case x.word == "repair": // the one that was killed may have deleted it
			if r.Result != verify.Equal || r.Counts[verify.Extra] != r.Repaired[verify.Deleted] {
				t.Errorf("after the stage %s: %+v", x.stage, r)
			}
		case r.Result != verify.Different || len(r.Counts) != 1 || r.Counts[verify.Extra] != 1:
			t.Errorf("after the stage %s: %+v", x.stage, r)
		}
		run.kill()
	}
	m := start(t, config)
	m.ready()
	m.verified(migrate.VerifyOptions{})
	p.settled(l, p.source)
}
