package migrate_test

import (
	"testing"
	"time"
)

// TTLs that Redis 6.0 sends relative become points in time of its own clock,
// however wrong the one is of the machine that godwit runs on.
func TestOurClockIsWrong(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"behind": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-6.0", "redis-7.0")
			p.ttlTolerance = time.Second
			config := p.config()
			config.Now = func() time.Time { return time.Now().Add(off) }
			m := start(t, config)
			m.ready()
			c := connect(t, p.source)
			for _, args := range [][]any{{"SETEX", "session:1", 600, "v"}, {"SET", "session:2", "v"}, {"EXPIRE", "session:2", 600}} {
				if _, err := c.Do(t.Context(), args...); err != nil {
					t.Fatal(err)
				}
			}
			p.equal(p.source)
		})
	}
}
