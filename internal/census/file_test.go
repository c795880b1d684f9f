package census

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// TestExactFromAFile has clients send calls whose effects are known, and finds exactly
// these in the recorded output of MONITOR, without asking the server anything.
func TestExactFromAFile(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, name string) {
		s := sandboxtest.Start(t, name, sandbox.Options{})
		monitor, control := record(t, s), sandboxtest.Client(t, s)
		from := apps(t, s)
		monitor.until(control, "begin")
		wanted := traffic(t, from, 400)
		lines := monitor.until(control, "end")
		var text strings.Builder
		text.WriteString("OK\n")
		for _, line := range lines {
			text.Write(line)
			text.WriteByte('\n')
		}
		r, err := ReadFile(t.Context(), strings.NewReader(text.String()), "test")
		if err != nil {
			t.Fatal(err)
		}
		for effect, n := range wanted {
			if r.Effects[effect].Calls != n {
				t.Errorf("%s: %d calls, want %d", effect, r.Effects[effect].Calls, n)
			}
		}
		if r.Seen != r.Calls || r.Margin != 0 || r.Counted || r.LeftOut != (LeftOut{}) || r.Seconds <= 0 {
			t.Errorf("%+v", r)
		}
		checkTraffic(t, r)
	})
}

// apps are a few connections of two names.
func apps(t *testing.T, s *sandbox.Server) []*redis.Conn {
	t.Helper()
	conns := make([]*redis.Conn, 3)
	for i := range conns {
		conns[i] = sandboxtest.Client(t, s).Redis().Conn()
		t.Cleanup(func() { _ = conns[i].Close() })
		if err := conns[i].ClientSetName(t.Context(), fmt.Sprintf("app-%d", i%2)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}

// traffic sends n rounds of calls, each from one of the connections, and returns how
// many calls there were of each effect.
func traffic(t *testing.T, conns []*redis.Conn, n int) map[Effect]int64 {
	t.Helper()
	type round struct {
		commands []string
		effects  map[Effect]int64
	}
	rounds := []round{
		{[]string{"GET user:%d:cart", "SET user:%d:cart x", "INCR user:%d:visits"}, map[Effect]int64{Works: 3}},
		{[]string{"MGET {user:%d}:a {user:%d}:b"}, map[Effect]int64{Works: 1}},
		{[]string{"MGET user:%d:cart product:%d:stock"}, map[Effect]int64{Splits: 1}},
		{[]string{"SINTER user:%d:likes user:%d:blocks"}, map[Effect]int64{Breaks: 1}},
		{[]string{"MULTI", "INCR user:%d:visits", "LPUSH user:%d:log x", "EXEC"}, map[Effect]int64{Breaks: 4}},
		{[]string{"MULTI", "INCR {user:%d}:n", "LPUSH {user:%d}:log x", "EXEC"}, map[Effect]int64{Works: 4}},
		{[]string{"EVAL return_redis.call('get',ARGV[1]) 1 user:%d:x user:%d:y"}, map[Effect]int64{Breaks: 1}},
		{[]string{"DBSIZE"}, map[Effect]int64{OneShard: 1}},
	}
	sum := make(map[Effect]int64)
	random := rand.New(rand.NewPCG(3, 4))
	for range n {
		r := rounds[random.IntN(len(rounds))]
		conn := conns[random.IntN(len(conns))]
		id := fmt.Sprint(1000 + random.IntN(500))
		for _, command := range r.commands {
			var args []any
			for _, w := range words(strings.ReplaceAll(command, "%d", id)) {
				args = append(args, w)
			}
			if err := conn.Do(t.Context(), args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
				t.Error(err)
			}
		}
		for effect, calls := range r.effects {
			sum[effect] += calls
		}
	}
	return sum
}

// checkTraffic looks for what traffic is made of.
func checkTraffic(t *testing.T, r *Report) {
	t.Helper()
	found := make(map[string]bool)
	for _, f := range r.Findings {
		found[f.Command+" "+string(f.Reason)] = true
		if len(f.Samples) == 0 && f.Reason != SeesOneShard || len(f.Clients) == 0 || f.Calls == 0 {
			t.Errorf("%+v", f)
		}
	}
	for _, want := range []string{"MGET cross-slot", "SINTER cross-slot", "MULTI … EXEC transaction", "EVAL undeclared-keys", "DBSIZE sees-one-shard"} {
		if !found[want] {
			t.Errorf("no %s in %v", want, found)
		}
	}
	var tags []string
	for _, p := range r.HashTags.Proposals {
		for _, k := range p.Keys {
			tags = append(tags, k.As)
		}
		checkOneSlot(t, p)
	}
	if r.HashTags.Breaks < 0.999 || r.HashTags.Splits < 0.999 || !strings.Contains(strings.Join(tags, " "), "{*}:likes") && !strings.Contains(strings.Join(tags, " "), "{user:*}:likes") {
		t.Errorf("hash tags mend %.3f and %.3f: %v", r.HashTags.Breaks, r.HashTags.Splits, tags)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"": "test: it is empty", "OK\n\n": "test: it is empty",
		"a,b\nc,d\n": "test: no line is one of MONITOR's output: line 1, column 1: no time and no [ after it",
	} {
		_, err := ReadFile(t.Context(), strings.NewReader(text), "test")
		var empty *EmptyError
		if !errors.As(err, &empty) || err.Error() != want || empty.HintText() == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
	r, err := ReadFile(t.Context(), strings.NewReader("1.000000 [0 a:1] \"get\" \"k\"\nError: Server closed the connection\n1.5000"), "test")
	if err != nil || r.LeftOut.NotUnderstood != 2 || r.FirstBad != "line 2, column 1: no time and no [ after it" || r.Calls != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err = ReadFile(ctx, strings.NewReader(strings.Repeat("1.000000 [0 a:1] \"get\" \"k\"\n", 1000)), "test")
	if err != nil || !r.Interrupted || r.Calls != 0 {
		t.Errorf("%v", err)
	}
}

// TestNoPasswords holds that what could be a password gets nowhere into a report.
func TestNoPasswords(t *testing.T) {
	var lines [][]byte
	for _, command := range []string{
		`"auth" "secret"`, `"AUTH" "user" "secret"`, `"hello" "3" "auth" "default" "secret"`, `"config" "set" "requirepass" "secret"`,
		`"acl" "setuser" "x" ">secret"`, `"migrate" "h" "1" "k" "0" "10" "AUTH" "secret"`, `"migrate" "h" "1" "" "0" "10" "AUTH2" "u" "secret" "KEYS" "a" "b"`,
		`"set" "k" "secret"`, `"mset" "a" "secret" "b" "secret"`, `"renamedauth" "secret"`, `"secret"`, `"fcall" "f" "0" "secret"`,
		`"eval" "return 'secret'" "0"`, `"evalsha" "secret" "0"`, `"select" "secret"`, `"publish" "c" "secret"`, `"echo" "secret"`,
		`"pubsub" "secret"`, `"script" "secret"`, `"replicaof" "h" "1" "secret"`, `"eval" "x" "secret" "secret"`, `"sort" "k" "by" "secret*"`,
		`"xgroup" "create"`, `"object" "help"`, `"msetex" "secret" "secret"`, `"client" "setinfo" "other" "secret"`,
	} {
		lines = append(lines, []byte(`1.000000 [0 a:1] `+command), []byte(`1.000000 [2 b:1] `+command))
	}
	r := counted(t, tables(), lines)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	// A name of a command is shown, so the second last of them is there once.
	if n := strings.Count(strings.ToLower(string(text)), "secret"); n != strings.Count(strings.ToLower(string(text)), `"command":"secret"`) {
		t.Errorf("%s", text)
	}
}

// TestMemoryIsBounded gives more names, connections, findings and keys than are kept.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	c := New(tables())
	var p Parser
	add := func(format string, args ...any) {
		l, err := p.Parse(fmt.Appendf(nil, "1.000000 [0 "+format, args...), false)
		if err != nil {
			t.Fatal(err)
		}
		c.Add(l)
	}
	const n = maxConnections + 5000
	for i := range n {
		add(`10.0.%d.%d:%d] "sinter" "a%d" "b%d"`, i>>16, i>>8&255, i&255, i, i)
		if i < 2*maxCommands {
			add(`a:1] "made-up-%d" "k"`, i)
			add(`a:1] "fcall" "f%d" "2" "x" "y"`, i)
		}
	}
	add(`a:1] "multi"`)
	for i := range maxCalls + 1000 {
		add(`a:1] "set" "k%d" "v"`, i)
	}
	add(`a:1] "exec"`)
	if len(c.names) > maxCommands+1 || len(c.conns) > maxConnections || len(c.rows) > maxRows+8 || len(c.groups.breaking.kept) > groupsKept {
		t.Errorf("%d names, %d connections, %d rows, %d groups", len(c.names), len(c.conns), len(c.rows), len(c.groups.breaking.kept))
	}
	var r Report
	c.report(&r, nil)
	if r.LeftOut.Connections == 0 || r.LeftOut.Rows == 0 || r.LeftOut.Clients == 0 {
		t.Errorf("%+v", r.LeftOut)
	}
	var sum int64
	for _, s := range r.Effects {
		sum += s.Calls
	}
	if want := int64(n + 4*maxCommands + 2 + maxCalls + 1000); r.Calls != want || sum != want {
		t.Errorf("%d calls and %d by effect, want %d", r.Calls, sum, want)
	}
}

// TestWatchedKeys follows WATCH until what ends it.
func TestWatchedKeys(t *testing.T) {
	for commands, want := range map[string]Reason{
		`watch foo;multi;incr foo;exec`:                       "",
		`watch foo;multi;incr bar;exec`:                       Watched,
		`watch foo;watch bar;multi;incr foo;exec`:             Watched,
		`watch foo;unwatch;multi;incr bar;exec`:               "",
		`watch foo;multi;unwatch;incr bar;exec`:               Watched,
		`watch foo;multi;discard;multi;incr bar;exec`:         "",
		`watch foo;reset;multi;incr bar;exec`:                 "",
		`watch foo;multi;incr foo;exec;multi;incr bar;exec`:   "",
		`multi;incr foo;unwatch;incr bar;exec`:                Transaction,
		`multi;select 0;incr foo;exec;incr bar;multi;exec`:    "",
		`multi;incr foo;reset;incr bar;multi;incr foo;exec`:   "",
		`multi;eval x 1 foo;[lua];get bar;exec;get hello`:     Transaction,
		`eval x 1 foo;[lua];get foo;get bar;multi;get x;exec`: "",
	} {
		var lines [][]byte
		from := "a:1"
		for command := range strings.SplitSeq(commands, ";") {
			if command == "[lua]" {
				from = "lua"
				continue
			}
			lines = append(lines, []byte(`1.000000 [0 `+from+`] "`+strings.ReplaceAll(command, " ", `" "`)+`"`))
			from = "a:1"
		}
		r := counted(t, tables(), lines)
		got := Reason("")
		if len(r.Findings) > 0 {
			got = r.Findings[0].Reason
		}
		if got != want {
			t.Errorf("%s: found %q, want %q", commands, got, want)
		}
	}
}

// TestTransactionsOfUnixSockets are not mixed up, as all clients have one address.
func TestTransactionsOfUnixSockets(t *testing.T) {
	var lines [][]byte
	for _, command := range []string{`"multi"`, `"multi"`, `"set" "foo" "1"`, `"exec"`, `"set" "bar" "1"`, `"exec"`} {
		lines = append(lines, []byte(`1.000000 [0 unix:/s] `+command))
	}
	r := counted(t, tables(), lines)
	if !r.Fits() || r.LeftOut.UnixTransactions != 2 || r.Calls != 6 {
		t.Errorf("%+v", r)
	}
	r = counted(t, tables(), [][]byte{[]byte(`1.000000 [0 a:1] "set" "foo" "1"`), []byte(`1.000000 [0 a:1] "exec"`)})
	if !r.Fits() || r.LeftOut.CutTransactions != 1 {
		t.Errorf("%+v", r)
	}
}
