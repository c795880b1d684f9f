package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"godwit/internal/server"
	"godwit/internal/verify"
)

// plant is one difference.
type plant struct {
	name  string
	setup [][]any     // on both sides; KEY stands for the key's name
	plant [][]any     // on the target alone
	want  verify.Kind // "" for a key that means the same
}

// key is the name under which a plant is found.
func (p plant) key() string { return "plant:" + p.name }

// plants are differences that every server can have.
func plants() []plant {
	one := func(args ...any) [][]any { return [][]any{args} }
	expiring := [][]any{{"SET", "KEY", "v"}, {"PEXPIREAT", "KEY", year2100}}
	stream := [][]any{
		{"XADD", "KEY", "1-1", "f", "v"},
		{"XADD", "KEY", "2-1", "f", "v"},
		{"XADD", "KEY", "3-1", "f", "v"},
		{"XGROUP", "CREATE", "KEY", "g", "2-1"},
		{"XCLAIM", "KEY", "g", "c", 0, "1-1", "TIME", 1000, "RETRYCOUNT", 2, "FORCE"},
		{"XCLAIM", "KEY", "g", "c", 0, "2-1", "TIME", 1000, "RETRYCOUNT", 2, "FORCE"},
	}
	list, many := []any{"RPUSH", "KEY"}, []any{"RPUSH", "KEY"}
	for i := range 1000 {
		list, many = append(list, i), append(many, fmt.Sprintf("element %d", i))
	}
	return []plant{
		{"missing", one("SET", "KEY", "v"), one("DEL", "KEY"), verify.Missing},
		{"extra", nil, one("SET", "KEY", "v"), verify.Extra},
		{"extra and nearly empty", nil, one("SET", "KEY", ""), verify.Extra},
		{"type", one("SET", "KEY", "v"), [][]any{{"DEL", "KEY"}, {"RPUSH", "KEY", "v"}}, verify.Type},
		{"ttl lost", expiring, one("PERSIST", "KEY"), verify.TTL},
		{"ttl gained", one("SET", "KEY", "v"), one("PEXPIREAT", "KEY", year2100), verify.TTL},
		{"ttl later by a millisecond", expiring, one("PEXPIREAT", "KEY", year2100+1), verify.TTL},
		{"ttl earlier by a millisecond", expiring, one("PEXPIREAT", "KEY", year2100-1), verify.TTL},
		{"string", one("SET", "KEY", "v"), one("SET", "KEY", "w"), verify.Changed},
		{"string longer", one("SET", "KEY", "v"), one("APPEND", "KEY", "\x00"), verify.Changed},
		{"string byte", one("SET", "KEY", strings.Repeat("0123456789", 1_000_000)), one("SETRANGE", "KEY", 9_999_998, "y"), verify.Changed},
		{"bit", one("SETBIT", "KEY", 77, 1), one("SETBIT", "KEY", 76, 1), verify.Changed},
		{"integer", one("SET", "KEY", 12345), one("INCR", "KEY"), verify.Changed},
		{"same integer", one("SET", "KEY", 12345), [][]any{{"SET", "KEY", 1234}, {"APPEND", "KEY", 5}}, ""},
		{"list order", [][]any{list}, [][]any{{"LSET", "KEY", 500, 501}, {"LSET", "KEY", 501, 500}}, verify.Changed},
		{"list ends", [][]any{list}, one("RPOPLPUSH", "KEY", "KEY"), verify.Changed},
		{"list doubled", one("RPUSH", "KEY", "a", "b"), one("RPUSH", "KEY", "a", "b"), verify.Changed},
		{"list element", [][]any{many}, one("LSET", "KEY", 999, "element 99"), verify.Changed},
		{"list made otherwise", [][]any{many}, [][]any{{"RPOP", "KEY"}, {"RPUSH", "KEY", "element 999"}}, ""},
		{"set member", one("SADD", "KEY", "a", "b"), [][]any{{"SREM", "KEY", "a"}, {"SADD", "KEY", "c"}}, verify.Changed},
		{"set smaller", one("SADD", "KEY", 1, 2), one("SREM", "KEY", 1), verify.Changed},
		{"set of another encoding", one("SADD", "KEY", 1, 2), [][]any{{"SADD", "KEY", "x"}, {"SREM", "KEY", "x"}}, ""},
		{"hash value", one("HSET", "KEY", "f", "v", "g", "w"), one("HSET", "KEY", "g", "x"), verify.Changed},
		{"hash swapped", one("HSET", "KEY", "f", "v", "g", "w"), one("HSET", "KEY", "f", "w", "g", "v"), verify.Changed},
		{"hash field", one("HSET", "KEY", "f", "v"), one("HSET", "KEY", "g", "w"), verify.Changed},
		{"hash of another order", one("HSET", "KEY", "f", "v", "g", "w"), [][]any{{"HDEL", "KEY", "f"}, {"HSET", "KEY", "f", "v"}}, ""},
		{"score by an ulp", one("ZADD", "KEY", 0.1, "m"), one("ZADD", "KEY", "0.10000000000000002", "m"), verify.Changed},
		{"zset member", one("ZADD", "KEY", 1, "m", 2, "n"), [][]any{{"ZREM", "KEY", "n"}, {"ZADD", "KEY", 2, "o"}}, verify.Changed},
		{"scores swapped", one("ZADD", "KEY", 1, "m", 2, "n"), one("ZADD", "KEY", 2, "m", 1, "n"), verify.Changed},
		{"hyperloglog", one("PFADD", "KEY", "a"), one("PFADD", "KEY", "b"), verify.Changed},
		{"hyperloglog counted", one("PFADD", "KEY", "a"), one("PFCOUNT", "KEY"), ""},
		{"stream entry", stream, one("XDEL", "KEY", "2-1"), verify.Changed},
		{"stream entry more", stream, one("XADD", "KEY", "4-1", "f", "v"), verify.Changed},
		{"stream field", one("XADD", "KEY", "1-1", "f", "v"), [][]any{{"DEL", "KEY"}, {"XADD", "KEY", "1-1", "f", "w"}}, verify.Changed},
		{"stream last ID", stream, one("XSETID", "KEY", "9-9"), verify.Changed},
		{"stream group gone", stream, one("XGROUP", "DESTROY", "KEY", "g"), verify.Changed},
		{"stream group position", stream, one("XGROUP", "SETID", "KEY", "g", "1-1"), verify.Changed},
		{"stream pending acknowledged", stream, one("XACK", "KEY", "g", "1-1"), verify.Changed},
		{"stream pending claimed", stream, one("XCLAIM", "KEY", "g", "d", 0, "1-1", "TIME", 1000, "RETRYCOUNT", 2), verify.Changed},
		{"stream deliveries", stream, one("XCLAIM", "KEY", "g", "c", 0, "1-1", "TIME", 1000, "RETRYCOUNT", 3), verify.Changed},
		{"stream consumer without entries", stream, one("XREADGROUP", "GROUP", "g", "e", "STREAMS", "KEY", "0"), ""},
	}
}

// fieldTTLPlants are for servers of which hash fields can expire.
func fieldTTLPlants() []plant {
	return []plant{
		{"field ttl", [][]any{{"HSET", "KEY", "f", "v", "g", "w"}, {"HPEXPIREAT", "KEY", year2100, "FIELDS", 1, "f"}},
			[][]any{{"HPEXPIREAT", "KEY", year2100 + 1, "FIELDS", 1, "f"}}, verify.TTL},
		{"field ttl lost", [][]any{{"HSET", "KEY", "f", "v", "g", "w"}, {"HPEXPIREAT", "KEY", year2100, "FIELDS", 1, "g"}},
			[][]any{{"HPERSIST", "KEY", "FIELDS", 1, "g"}}, verify.TTL},
		{"field ttl of another", [][]any{{"HSET", "KEY", "f", "v", "g", "w"}, {"HPEXPIREAT", "KEY", year2100, "FIELDS", 1, "g"}},
			[][]any{{"HPERSIST", "KEY", "FIELDS", 1, "g"}, {"HPEXPIREAT", "KEY", year2100, "FIELDS", 1, "f"}}, verify.TTL},
	}
}

// sow sets all of them up at both servers, and plants them at the target. It returns
// what a comparison must find.
func sow(t *testing.T, source, target *server.Client, plants []plant) (want []string) {
	t.Helper()
	return sown(t, source, target, plants, []*server.Client{source, target})
}

// sowFollowing is sow for a target that follows the source.
func sowFollowing(t *testing.T, source, target *server.Client, plants []plant) (want []string) {
	t.Helper()
	return sown(t, source, target, plants, []*server.Client{source})
}

func sown(t *testing.T, source, target *server.Client, plants []plant, setup []*server.Client) (want []string) {
	t.Helper()
	for _, c := range setup {
		for _, p := range plants {
			send(t, c, p, p.setup)
		}
	}
	if len(setup) == 1 {
		if n := do(t, source, "WAIT", 1, 10_000); n != int64(1) {
			t.Fatalf("%v replicas have what is planted", n)
		}
	}
	info, err := source.Info(t.Context(), "server")
	if err != nil {
		t.Fatal(err)
	}
	// Where a server is of before 7.0 a key may live a little longer on one side.
	stretched := !info.Version().AtLeast(7, 0)
	for _, p := range plants {
		send(t, target, p, p.plant)
		if p.want != "" && (!stretched || !strings.HasSuffix(p.name, "by a millisecond")) {
			want = append(want, fmt.Sprintf("%s 0 %s", p.want, p.key()))
		}
	}
	return want
}

// send runs commands for a plant, with its key's name.
func send(t *testing.T, c *server.Client, p plant, commands [][]any) {
	t.Helper()
	for _, args := range commands {
		named := make([]any, len(args))
		for i, arg := range args {
			if named[i] = arg; arg == "KEY" {
				named[i] = p.key()
			}
		}
		do(t, c, named...)
	}
}
