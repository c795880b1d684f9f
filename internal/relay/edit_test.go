package relay_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"godwit/internal/faultproxy"
	"godwit/internal/relay"
	"godwit/internal/server"
)

// dropper drops the keys that begin with drop:.
type dropper struct{}

func (dropper) Edit(dst []byte, args [][]byte, _ int) ([]byte, relay.Verdict, error) {
	if len(args) > 1 && bytes.HasPrefix(args[1], []byte("drop:")) {
		return dst, relay.Drop, nil
	}
	return dst, relay.Keep, nil
}

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

// What the target would swallow ends the link, and names the command and the key.
func TestGuardEndsTheLink(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{source: "redis-7.0", target: "redis-7.0", config: func(c *relay.Config) {
		c.Editor = relay.NewGuard([]string{"ping", "select", "replconf", "set", "incr"}, server.Version{Product: server.Redis, Major: 6}, 16)
	}})
	r.follow()
	r.do(r.from, "SET", "a", "1")
	r.caughtUp()
	r.do(r.from, "SET", "key", "1", "PXAT", "99999999999999")
	err := <-r.ended
	if err == nil || !strings.Contains(err.Error(), `SET … PXAT of key "key": Redis 6.0.0 does not know it`) {
		t.Errorf("ended with %v", err)
	}
	if got := r.do(r.to, "EXISTS", "key"); got != int64(0) {
		t.Errorf("the command was passed on")
	}
}

func TestGuard(t *testing.T) {
	old := server.Version{Product: server.Redis, Major: 6}
	valkey := server.Version{Product: server.Valkey, Major: 8, Minor: 1}
	newer := server.Version{Product: server.Redis, Major: 8, Minor: 4}
	commands := []string{"SET", "select", "Ping", "XADD", "ZADD", "LPOP", "XGROUP", "GEOADD", "XSETID", "XTRIM"}
	tests := []struct {
		target  server.Version
		command string
		missing int // arguments that lie beyond what the guard is shown
		refused string
	}{
		{old, "SET k v", 0, ""},
		{old, "set k v px 100 NX KEEPTTL", 0, ""},
		{old, "SET k v PXAT 100", 0, "SET … PXAT"},
		{old, "SET PXAT PXAT", 0, ""},
		{valkey, "SET k v PXAT 100", 0, ""},
		{valkey, "SET k v IFEQ x", 0, "SET … IFEQ"},
		{old, "SET k", 1, ""},
		{old, "SET k", 3, "SET … an option behind a value too large"},
		{old, "SELECT 15", 0, ""},
		{old, "SELECT 16", 0, "SELECT … db"},
		{old, "HPEXPIREAT k 100 FIELDS 1 f", 0, "HPEXPIREAT of key"},
		{old, "FCALL f", 0, "FCALL of key"},
		{old, strings.Repeat("X", 100) + " k", 0, "XXX"},
		{old, "PING", 0, ""},
		{old, "XADD k NOMKSTREAM 1-1 a b", 0, "XADD … NOMKSTREAM"},
		{valkey, "XADD k NOMKSTREAM 1-1 a b", 0, ""},
		{old, "XADD k MINID 1-1 1-2 a b", 0, "XADD … MINID"},
		{old, "XADD k MAXLEN = 10 1-1 MINID KEEPREF", 0, ""}, // a field of that name
		{valkey, "XADD k MAXLEN ~ 10 LIMIT 5 1-1 KEEPREF GT", 0, ""},
		{valkey, "XADD k KEEPREF MAXLEN 10 1-1 a b", 0, "XADD … KEEPREF"},
		{newer, "XADD k KEEPREF MAXLEN 10 1-1 a b", 0, ""},
		{newer, "XADD k IDMPAUTO p 1-1 a b", 0, "XADD … IDMPAUTO"},
		{old, "XTRIM k MAXLEN = 10", 0, ""},
		{valkey, "XTRIM k MAXLEN = 10 ACKED", 0, "XTRIM … ACKED"},
		{old, "ZADD k GT 1 m", 0, "ZADD … GT"},
		{old, "ZADD k 1 GT -inf LT", 0, ""}, // members of that name
		{old, "ZADD k NX CH 1 m", 0, ""},
		{old, "GEOADD k CH 1 2 m", 0, "GEOADD … CH"},
		{old, "GEOADD k 1 2 CH", 0, ""},
		{old, "XGROUP CREATE k g 0 MKSTREAM ENTRIESREAD 1", 0, "XGROUP … ENTRIESREAD"},
		{old, "XGROUP CREATE k g 0 MKSTREAM", 0, ""},
		{old, "XSETID k 1-1", 0, ""},
		{old, "XSETID k 1-1 ENTRIESADDED 5", 0, "XSETID … ENTRIESADDED"},
		{old, "LPOP k 2", 0, "LPOP … count"},
		{old, "LPOP k", 0, ""},
	}
	for _, tt := range tests {
		g := relay.NewGuard(commands, tt.target, 16)
		var args [][]byte
		for word := range strings.FieldsSeq(tt.command) {
			args = append(args, []byte(word))
		}
		_, verdict, err := g.Edit(nil, args, len(args)+tt.missing)
		if verdict != relay.Keep || (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%v: %s: %v, %v; want %q", tt.target, tt.command, verdict, err, tt.refused)
		}
	}
}
