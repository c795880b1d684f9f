package census

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// Keys: a, b and c are of three slots, on three shards of sandboxtest.Cluster.
const (
	keyA = "foo"   // slot 12182
	keyB = "bar"   // slot 5061
	keyC = "hello" // slot 866
)

// scenario is what one connection sends, and what is to be found of it.
type scenario struct {
	commands []string // words are separated by spaces, and an underscore is a space within
	effect   Effect   // the worst
	reason   Reason
	from     server.Version // from which version of the product on; a Valkey's product is its own
	to       string         // the key whose node it is sent to; the first command's second word if empty
}

// scenarios are every statement that a census makes of a call.
func scenarios() []scenario {
	seven := server.Version{Major: 7}
	six2 := server.Version{Major: 6, Minor: 2}
	return []scenario{
		{commands: []string{"GET foo"}, effect: Works},
		{commands: []string{"MGET {t}a {t}b"}, effect: Works},
		{commands: []string{"MSET foo 1 bar 2"}, effect: Splits, reason: CrossSlot},
		{commands: []string{"MGET foo bar"}, effect: Splits, reason: CrossSlot},
		{commands: []string{"DEL foo bar"}, effect: Splits, reason: CrossSlot},
		{commands: []string{"UNLINK foo foo"}, effect: Works},
		{commands: []string{"EXISTS foo bar"}, effect: Splits, reason: CrossSlot},
		{commands: []string{"TOUCH foo bar"}, effect: Splits, reason: CrossSlot},
		{commands: []string{"XREAD COUNT 1 STREAMS foo bar 0 0"}, effect: Splits, reason: CrossSlot, to: keyA},
		{commands: []string{"XREAD BLOCK 1 STREAMS foo bar 0 0"}, effect: Breaks, reason: CrossSlot, to: keyA},
		{commands: []string{"XREAD BLOCK 1 STREAMS {t}a {t}b 0 0"}, effect: Works, to: "{t}"},
		{commands: []string{"BLPOP foo bar 0.01"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"MSETNX foo 1 bar 2"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"SET foo 1", "RENAME foo bar"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"SINTERSTORE foo bar hello"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"SUNION {t}a {t}b {t}c"}, effect: Works},
		{commands: []string{"ZUNIONSTORE foo 1 bar"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"ZUNION 2 foo bar"}, effect: Breaks, reason: CrossSlot, from: six2, to: keyA},
		{commands: []string{"SINTERCARD 2 foo bar"}, effect: Breaks, reason: CrossSlot, from: seven, to: keyA},
		{commands: []string{"LMPOP 2 foo bar LEFT"}, effect: Breaks, reason: CrossSlot, from: seven, to: keyA},
		{commands: []string{"BLMPOP 0.01 2 foo bar LEFT"}, effect: Breaks, reason: CrossSlot, from: seven, to: keyA},
		{commands: []string{"BITOP AND foo bar"}, effect: Breaks, reason: CrossSlot, to: keyA},
		{commands: []string{"PFCOUNT foo bar"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"SMOVE foo bar m"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"SORT foo BY nosort"}, effect: Works},
		{commands: []string{"SORT foo BY w_*"}, effect: Breaks, reason: ByOtherKeys},
		{commands: []string{"SORT foo GET v_*"}, effect: Breaks, reason: ByOtherKeys},
		{commands: []string{"SORT {t}a BY {t}w_* GET {t}v_* GET #"}, effect: Unknown, reason: ByTaggedKeys},
		{commands: []string{"SORT foo STORE bar"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"SELECT 0"}, effect: Works, to: keyA},
		{commands: []string{"SELECT 1", "GET foo"}, effect: Breaks, reason: DB, to: keyA},
		{commands: []string{"SWAPDB 0 1"}, effect: Breaks, reason: Refused, to: keyA},
		{commands: []string{"SET foo 1", "MOVE foo 1"}, effect: Breaks, reason: Refused},
		{commands: []string{"SET foo{t} 1", "COPY foo{t} bar{t} DB 1"}, effect: Breaks, reason: Refused, from: six2},
		{commands: []string{"SET foo{t} 1", "COPY foo{t} bar{t} REPLACE"}, effect: Works, from: six2},
		{commands: []string{"DBSIZE"}, effect: OneShard, reason: SeesOneShard, to: keyA},
		{commands: []string{"KEYS f*"}, effect: OneShard, reason: SeesOneShard, to: keyA},
		{commands: []string{"SCAN 0"}, effect: OneShard, reason: SeesOneShard, to: keyA},
		{commands: []string{"FLUSHALL"}, effect: OneShard, reason: OnEachShard, to: keyA},
		{commands: []string{"SCRIPT LOAD return_1"}, effect: OneShard, reason: OnEachShard, to: keyA},
		{commands: []string{"PUBLISH news x"}, effect: Works, to: keyA},
		{commands: []string{"MULTI", "SET foo 1", "INCR foo", "EXEC"}, effect: Works, to: keyA},
		{commands: []string{"MULTI", "SET foo 1", "SET bar 1", "EXEC"}, effect: Breaks, reason: Transaction, to: keyA},
		{commands: []string{"MULTI", "SET foo 1", "DISCARD", "GET foo"}, effect: Works, to: keyA},
		{commands: []string{"WATCH foo bar", "UNWATCH"}, effect: Breaks, reason: CrossSlot},
		{commands: []string{"WATCH foo", "MULTI", "INCR foo", "EXEC"}, effect: Works},
		{commands: []string{"WATCH foo", "MULTI", "INCR bar", "EXEC"}, effect: Breaks, reason: Watched},
		{commands: []string{"EVAL return_redis.call('get',KEYS[1]) 1 foo"}, effect: Works, to: keyA},
		{commands: []string{"EVAL return_redis.call('get',ARGV[1]) 0 foo"}, effect: Breaks, reason: UnboundedScript, to: keyB},
		{commands: []string{"EVAL return_redis.call('get',ARGV[1]) 1 foo bar"}, effect: Breaks, reason: Undeclared, to: keyA},
		{commands: []string{"EVAL return_redis.call('get','{foo}x') 1 foo"}, effect: Works, to: keyA},
		{commands: []string{"EVAL return_1 2 foo bar"}, effect: Breaks, reason: CrossSlot, to: keyA},
		{commands: []string{"EVAL return_1 0"}, effect: Works, to: keyA},
		{commands: []string{"EVAL return_redis.call('dbsize') 0"}, effect: OneShard, reason: WithinScript, to: keyA},
		{commands: []string{"EVAL #!lua_flags=no-cluster\nreturn_1 0"}, effect: Breaks, reason: NoCluster, from: seven, to: keyA},
		{commands: []string{"FCALL within 1 foo bar"}, effect: Breaks, reason: Undeclared, from: seven, to: keyA},
		{commands: []string{"FCALL within 1 foo {foo}2"}, effect: Works, from: seven, to: keyA},
		{commands: []string{"FCALL alone 0"}, effect: Breaks, reason: NoCluster, from: seven, to: keyA},
	}
}

const library = `#!lua name=l
redis.register_function('within', function(keys, args) return redis.call('get', args[1]) end)
redis.register_function{function_name='alone', callback=function() return 1 end, flags={'no-cluster'}}`

// TestVerdictsAreTheClusters sends every scenario to a standalone server, whose
// MONITOR is judged, and to a cluster of the same version, which refuses those that
// are to break and no others.
func TestVerdictsAreTheClusters(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, name string) {
		alone := sandboxtest.Start(t, name, sandbox.Options{})
		var cluster []*sandbox.Server
		if name != "redis-6.0" { // its cluster needs another way to get its slots
			cluster = sandboxtest.Cluster(t, name, sandbox.ClusterOptions{}).Nodes()
		}
		client := sandboxtest.Client(t, alone)
		info, err := client.Info(t.Context(), "server")
		if err != nil {
			t.Fatal(err)
		}
		version := info.Version()
		if version.AtLeast(7, 0) {
			for _, s := range append(cluster, alone) {
				if err := do(t.Context(), sandboxtest.Client(t, s), "FUNCTION", "LOAD", library); err != nil {
					t.Fatal(err)
				}
			}
		}
		options := known(t, alone)
		monitor := record(t, alone)
		for i, sc := range scenarios() {
			if !version.AtLeast(sc.from.Major, sc.from.Minor) {
				continue
			}
			for _, s := range append(cluster, alone) {
				run(t, s, []string{"FLUSHALL"})
			}
			monitor.until(client, "begin")
			for _, err := range run(t, alone, sc.commands) {
				t.Errorf("%q: %v", sc.commands, err)
			}
			r := counted(t, options, monitor.until(client, "end"))
			checkVerdict(t, sc, r)
			if cluster == nil {
				continue
			}
			to := sc.to
			if to == "" {
				to = words(sc.commands[0])[1]
			}
			refusals := run(t, cluster[int(slot.Of([]byte(to)))/(slot.Count/3+1)], sc.commands)
			wanted := sc.effect == Breaks || sc.effect == Splits
			if sc.effect != Unknown && wanted != (len(refusals) > 0) {
				t.Errorf("%d %q: found %s, and the cluster says %v", i, sc.commands, sc.effect, refusals)
			}
			for _, err := range refusals {
				if !isRefusal(err) {
					t.Errorf("%q: the cluster says %v, which is no refusal", sc.commands, err)
				}
			}
		}
	})
}

// checkVerdict looks for what is to be found, and that nothing worse is.
func checkVerdict(t *testing.T, sc scenario, r *Report) {
	t.Helper()
	worst, reason := Works, Reason("")
	if len(r.Findings) > 0 { // the worst first
		worst, reason = r.Findings[0].Effect, r.Findings[0].Reason
	}
	if worst != sc.effect || reason != sc.reason {
		t.Errorf("%q: found %s %s, want %s %s (%+v)", sc.commands, worst, reason, sc.effect, sc.reason, r.Findings)
	}
	if r.Fits() != (sc.effect == Works || sc.effect == Unknown) {
		t.Errorf("%q: fits: %t", sc.commands, r.Fits())
	}
}

func isRefusal(err error) bool {
	for _, text := range []string{
		"CROSSSLOT", "MOVED", "EXECABORT", "luster mode", "non local key", "same slot", "no-cluster", "DB index is out of range",
	} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

func words(command string) []string {
	list := strings.Split(command, " ")
	for i, w := range list {
		list[i] = strings.ReplaceAll(w, "_", " ")
		if strings.HasPrefix(w, "w_") || strings.HasPrefix(w, "v_") {
			list[i] = w
		}
	}
	return list
}

// run sends commands on a connection of their own and returns the error replies.
func run(t *testing.T, s *sandbox.Server, commands []string) []error {
	t.Helper()
	conn := sandboxtest.Client(t, s).Redis().Conn()
	defer conn.Close()
	var refusals []error
	for _, command := range commands {
		var args []any
		for _, w := range words(command) {
			args = append(args, w)
		}
		if err := conn.Do(t.Context(), args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
			refusals = append(refusals, err)
		}
	}
	return refusals
}
