package migrate_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
)

// expireField gives a field of a hash a TTL.
func expireField(t *testing.T, s *sandbox.Server) {
	t.Helper()
	c := connect(t, s)
	for _, args := range [][]any{{"HSET", "visits", "a", 1}, {"HEXPIRE", "visits", 1000, "FIELDS", 1, "a"}} {
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
}

// stopsFor waits for a run to end, and sees what the user is told.
func stopsFor(t *testing.T, m *running, config migrate.Config, next string, parts ...string) {
	t.Helper()
	err := m.ended()
	var hinted *migrate.HintedError
	if !errors.As(err, &hinted) {
		t.Fatalf("ended with %v", err)
	}
	told := err.Error() + "\n" + hinted.HintText()
	for _, part := range parts {
		if !strings.Contains(told, part) {
			t.Errorf("no %q in:\n%s", part, told)
		}
	}
	if m.stop() == nil {
		t.Error("no error")
	}
	s, err := migrate.ReadStatus(config.StateDir, config.Name)
	if err != nil || s.Phase != migrate.Failed || !slices.Contains(s.NextSteps, next) {
		t.Errorf("phase %s, next %q, %v", s.Phase, s.NextSteps, err)
	}
}

// A command without an equal ends the link to the target; with --drop the same
// run goes on by a new copy.
func TestNoEqualAtTheTarget(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-8.0", "redis-7.0")
	config := p.config()
	m := start(t, config)
	m.ready()
	expireField(t, p.source)
	stopsFor(t, m, config, "godwit abort", `HPEXPIREAT (hash-field-ttl) of db 0, key "visits"`, p.source.Address()+" serves as before", "--drop hash-field-ttl copies to it anew")
	config.Drop = []rdb.Feature{rdb.FeatureHashFieldTTL}
	m = start(t, config)
	if s := m.ready(); s.Copy.FullResyncs != 1 || len(s.Dropped) != 1 || s.Dropped[0].Copy != 1 {
		t.Errorf("%d full resyncs, dropped %+v", s.Copy.FullResyncs, s.Dropped)
	}
}

// After a cutover it ends the way back, and the user is told; with --drop there
// is one again.
func TestNoEqualOnTheWayBack(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-8.0")
	config := p.config()
	m := start(t, config)
	m.ready()
	m.cutover()
	m.ready()
	expireField(t, p.target)
	stopsFor(t, m, config, "godwit complete", p.target.Address()+" serves, with every write", "A rollback is not possible any more", "--drop hash-field-ttl copies to it anew")
	config.Drop = []rdb.Feature{rdb.FeatureHashFieldTTL}
	m = start(t, config)
	m.ready()
	m.rollback()
	if n, err := connect(t, p.source).Do(t.Context(), "HGET", "visits", "a"); err != nil || n != "1" {
		t.Errorf("%v came back: %v", n, err)
	}
}
