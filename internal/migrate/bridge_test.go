package migrate_test

import (
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/rdb"
)

// Servers that do not replicate natively: there and back under load.
func TestBetweenVersions(t *testing.T) {
	t.Parallel()
	for _, versions := range [][2]string{
		{"redis-8.0", "valkey-8.1"}, {"redis-8.6", "redis-7.0"}, {"valkey-9.1", "redis-8.0"},
		{"redis-8.0", "redict-7.3"}, {"redis-7.0", "redis-6.0"},
	} {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			t.Parallel()
			p := newPair(t, versions[0], versions[1])
			l := p.load()
			m := start(t, p.config())
			m.ready()
			m.cutover()
			m.ready()
			p.settled(l, p.target)
			l = p.load()
			m.rollback()
			m.ready()
			p.settled(l, p.source)
		})
	}
}

// What the target has no equal for stops the copy by name, or is left out knowingly.
func TestDropped(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-8.0", "valkey-8.1")
	c := connect(t, p.source)
	for _, line := range []string{"HSET visits a 1 b 2", "HEXPIRE visits 1000 FIELDS 1 a"} {
		var args []any
		for word := range strings.FieldsSeq(line) {
			args = append(args, word)
		}
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	config := p.config()
	m := start(t, config)
	if err := m.ended(); err == nil || !strings.Contains(err.Error(), "TTL on a field") {
		t.Errorf("ended with %v", err)
	}
	if err := m.stop(); err == nil {
		t.Error("no error")
	}
	config.Drop = []rdb.Feature{rdb.FeatureHashFieldTTL}
	m = start(t, config)
	m.until("following", func(s migrate.Status) bool { return s.Phase == migrate.Following })
	if n, err := connect(t, p.target).Do(t.Context(), "HLEN", "visits"); err != nil || n != int64(2) {
		t.Errorf("%v fields arrived: %v", n, err)
	}
}

// Redis 6.0 says EXEC without MULTI after a transaction whose only write is a
// PFCOUNT, and its replica counts that as a command it could not carry out.
func TestExecWithoutMulti(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"redis-6.0", "redis-7.0"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-6.0", target)
			c := connect(t, p.source)
			if _, err := c.Do(t.Context(), "PFADD", "visitors", "a", "b"); err != nil {
				t.Fatal(err)
			}
			config := p.config()
			m := start(t, config)
			m.ready()
			count := func() {
				t.Helper()
				if _, err := c.Do(t.Context(), "PFADD", "visitors", time.Now().String()); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Transaction(t.Context(), []any{"PFCOUNT", "visitors"}); err != nil {
					t.Fatal(err)
				}
			}
			count()
			p.equal(p.source)
			m.interrupted()
			count()
			m = start(t, config)
			m.ready()
			m.cutover()
			m.ready()
			p.equal(p.target)
			m.rollback()
			m.ready()
			count()
			p.equal(p.source)
			if errors := info(t, connect(t, p.target), "stats")["unexpected_error_replies"]; errors != "0" {
				t.Errorf("%s errors of the replica", errors)
			}
		})
	}
}
