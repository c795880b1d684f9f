package relay_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"godwit/internal/faultproxy"
	"godwit/internal/rdb"
	"godwit/internal/relay"
)

// dropper drops the keys that begin with drop:.
type dropper struct{}

func (dropper) Edit(dst []byte, args [][]byte, _ int) ([]byte, relay.Verdict, error) {
	if len(args) > 1 && bytes.HasPrefix(args[1], []byte("drop:")) {
		return dst, relay.Drop, nil
	}
	return dst, relay.Keep, nil
}

func (dropper) Reset(int) {}

func (dropper) DB() int { return 0 }

func (dropper) LeftOut() []rdb.LeftOut { return nil }

func editing(c *relay.Config) { c.Editor = dropper{} }

// keptEqual compares what was not dropped. The DELs are dropped too.
func (r *rig) keptEqual() {
	r.t.Helper()
	if keys := r.do(r.to, "KEYS", "drop:*").([]any); len(keys) > 0 {
		r.t.Errorf("%d keys that were to be dropped, such as %v", len(keys), keys[0])
	}
	for _, key := range r.do(r.from, "KEYS", "drop:*").([]any) {
		r.do(r.from, "DEL", key)
	}
	r.caughtUp()
	r.equal()
}

// A dropped command becomes no-ops of its own length: the target stands at the
// source's very offset, at once, whatever the length.
func TestEditorDrops(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-7.0", "redis-8.0", "valkey-8.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{source: name, target: name, config: editing})
			r.follow()
			pipe := r.from.Redis().Pipeline()
			for i := range 5000 {
				pipe.Set(t.Context(), fmt.Sprint("drop:", i%100), strings.Repeat("x", i%300), 0)
				pipe.Incr(t.Context(), "kept")
			}
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			// In a transaction, and from a script.
			if _, err := r.from.Transaction(t.Context(), []any{"SET", "kept2", "1"}, []any{"SET", "drop:2", "1"}, []any{"INCR", "kept"}, []any{"DEL", "drop:2"}); err != nil {
				t.Fatal(err)
			}
			r.do(r.from, "EVAL", "redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 1)", 2, "drop:3", "kept3")
			r.caughtUp()
			if got := r.do(r.to, "GET", "kept"); got != "5001" {
				t.Errorf("kept is %v", got)
			}
			r.keptEqual()
			r.syncs(1, 0)
		})
	}
}

// Commands larger than what is held back for a verdict, the connections cut in
// the middle of them: the verdict goes on with the rest.
func TestEditorWithLargeCommandsOverCuts(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{proxies: true, config: editing})
	r.follow()
	r.poll()
	const size = 3 << 20
	cuts := []int64{100, relay.HeadSize - 10, relay.HeadSize + 100, 1 << 20, size - 5}
	for i, cut := range cuts {
		for k, key := range []string{"drop:large", "kept:large"} {
			p := []*faultproxy.Proxy{r.sourceProxy, r.targetProxy}[(i+k)%2]
			before := p.Accepted()
			p.CutAfter(faultproxy.ToClient, cut)
			r.do(r.from, "SET", key, strings.Repeat(string(rune('a'+i)), size))
			r.do(r.from, "RPUSH", key+":list", strings.Repeat("x", size/2), "y", strings.Repeat("z", size/2))
			r.until("cut", func() bool { return p.Accepted() > before })
			p.Heal()
			r.caughtUp()
		}
	}
	if n := r.do(r.to, "LLEN", "kept:large:list"); n != int64(3*len(cuts)) {
		t.Errorf("%v elements", n)
	}
	r.keptEqual()
	if n := r.link.Snapshot().FullResyncs; n != 1 {
		t.Errorf("%d full resyncs\n%s", n, r.told())
	}
}

// refuser finds no equal for SET … PXAT.
type refuser struct{ dropper }

func (refuser) Edit(dst []byte, args [][]byte, _ int) ([]byte, relay.Verdict, error) {
	if len(args) > 3 && string(args[3]) == "PXAT" {
		return dst, relay.Keep, fmt.Errorf("%s of key %q", args[0], args[1])
	}
	return dst, relay.Keep, nil
}

// What an editor refuses ends the link, and does not arrive.
func TestEditorEndsTheLink(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{config: func(c *relay.Config) { c.Editor = refuser{} }})
	r.follow()
	r.do(r.from, "SET", "a", "1")
	r.caughtUp()
	r.do(r.from, "SET", "key", "1", "PXAT", "99999999999999")
	var fatal *relay.FatalError
	if err := <-r.ended; !errors.As(err, &fatal) || !strings.Contains(err.Error(), `SET of key "key"`) {
		t.Errorf("ended with %v", err)
	}
	if got := r.do(r.to, "EXISTS", "key"); got != int64(0) {
		t.Errorf("the command was passed on")
	}
}
