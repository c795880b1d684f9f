package migrate_test

import (
	"slices"
	"strings"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/plan"
	"godwit/internal/rdb"
	"godwit/internal/sandbox/sandboxtest"
)

// posing makes the target say that it is of another version, of as many characters.
func (p *pair) posing(c *migrate.Config, from, to string) {
	c.To = sandboxtest.Impostor(p.t, p.target, nil, []sandboxtest.Replacement{
		{Old: []byte("redis_version:" + from), New: []byte("redis_version:" + to)},
	})
}

func codes(findings []plan.Finding) []string {
	var codes []string
	for _, f := range findings {
		codes = append(codes, f.Code)
	}
	return codes
}

// A server is judged by what it does: one that is newer than it says is sent all
// that it knows as it is, there and back.
func TestNewerThanItSays(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-8.0", "redis-8.6")
	c := connect(t, p.source)
	for _, args := range [][]any{{"HSET", "visits", "a", 1, "b", 2}, {"HEXPIRE", "visits", 1000, "FIELDS", 1, "a"}} {
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	config := p.config()
	p.posing(&config, "8.6.", "7.0.")
	made, err := migrate.MakePlan(t.Context(), config)
	if err != nil || made.Refused() || !strings.HasPrefix(made.Target.Version, "Redis 7.0") {
		t.Fatalf("%s: %v, %v", made.Target.Version, made.Blockers, err)
	}
	if notes := codes(made.Notes); slices.Contains(notes, "stream-commands") || slices.Contains(notes, "snapshot-rewritten") {
		t.Errorf("notes %v", made.Notes)
	}
	l := p.load()
	m := start(t, config)
	m.ready()
	m.cutover()
	m.ready()
	p.settled(l, p.target)
	if _, err := connect(t, p.target).Do(t.Context(), "HEXPIRE", "visits", 2000, "FIELDS", 1, "b"); err != nil {
		t.Fatal(err)
	}
	m.rollback()
	m.ready()
	p.equal(p.source)
}

// One that is older than it says has snapshots and commands said in its words,
// and is refused what it has no equal for; a run that finds it a replica, which
// cannot be asked again, goes on by the same rules.
func TestOlderThanItSays(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-8.6", "redis-7.0")
	c := connect(t, p.source)
	do := func(args ...any) {
		t.Helper()
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	do("HSET", "visits", "a", 1, "b", 2)
	do("HEXPIRE", "visits", 1000, "FIELDS", 1, "a")
	config := p.config()
	p.posing(&config, "7.0.15", "8.6.15")
	made, err := migrate.MakePlan(t.Context(), config)
	if err != nil || !slices.Contains(codes(made.Blockers), "field-ttl") || !strings.HasPrefix(made.Target.Version, "Redis 8.6") {
		t.Fatalf("%s: %v, %v", made.Target.Version, made.Blockers, err)
	}
	config.Drop = []rdb.Feature{rdb.FeatureHashFieldTTL}
	made, err = migrate.MakePlan(t.Context(), config)
	if notes := codes(made.Notes); err != nil || made.Refused() || !slices.Contains(notes, "stream-commands") || !slices.Contains(notes, "snapshot-rewritten") {
		t.Fatalf("notes %v, %v", made.Notes, err)
	}
	do("HPERSIST", "visits", "FIELDS", 1, "a")
	m := start(t, config)
	m.ready()
	do("SET", "counter", 1)
	do("SET", "counter", 2, "IFEQ", 1)
	do("MSETEX", 2, "x", 1, "y", 2, "EX", 1000)
	do("XADD", "events", "1-1", "a", "b")
	do("XTRIM", "events", "MAXLEN", 0, "DELREF")
	p.equal(p.source)
	if err := m.stop(); err == nil {
		t.Error("stopped without an error")
	}
	do("SET", "counter", 3, "IFEQ", 2)
	m = start(t, config)
	m.ready()
	do("SET", "counter", 4, "IFEQ", 3)
	p.equal(p.source)
	if n := m.Status().Copy.FullResyncs; n > 1 {
		t.Errorf("%d full resyncs", n)
	}
	if log, err := p.target.Log(); err != nil || strings.Count(log, "Full resync from master") != 1 {
		t.Errorf("it was not gone on with: %v\n%s", err, log)
	}
	m.cutover()
	m.ready()
	p.equal(p.target)
}
