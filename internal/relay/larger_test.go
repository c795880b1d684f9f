package relay_test

import (
	"strings"
	"testing"

	"godwit/internal/relay"
)

// A command, or a transaction, that is larger than the whole spool: the target
// acknowledges nothing of it before its end.
func TestCommandLargerThanTheSpool(t *testing.T) {
	for name, editor := range map[string]relay.Editor{"as it is": nil, "rewritten": splitter{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{config: func(c *relay.Config) {
				c.Spool.MemoryLimit, c.Spool.DiskLimit = 2<<20, 1<<20
				c.Editor, c.OwnReplID = editor, editor != nil
			}})
			r.follow()
			r.poll()
			value := strings.Repeat("v", 5<<20)
			r.do(r.from, "SET", "large", value, "EX", "1000")
			if _, err := r.from.Transaction(t.Context(), []any{"SET", "a", value[:2<<20]}, []any{"SET", "b", value[:2<<20], "EX", "1000"}); err != nil {
				t.Fatal(err)
			}
			r.do(r.from, "SET", "last", "1")
			r.caughtUp()
			r.acked()
			r.equal()
			r.syncs(1, 0)
		})
	}
}
