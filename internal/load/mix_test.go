package load_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/load"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestEveryWriteOfAMixIsFound(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"redis-6.0", "redis-8.6", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{})
			l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Mix: load.AnySlots, Rate: 8000})
			await(t, l, 6000)
			const kinds = 49
			for deadline := time.Now().Add(20 * time.Second); len(l.Snapshot().AckedByKind) < kinds && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
			report := audit(t, l, s.Endpoint())
			mustBeClean(t, report)
			stats := l.Snapshot()
			if report.Found != report.Acked || len(stats.AckedByKind) != kinds {
				t.Errorf("without failures: %v, %d kinds %v, errors %v", report, len(stats.AckedByKind), stats.AckedByKind, stats.Errors)
			}
		})
	}
}

// What the audit of a mix must find: each line changes one value of the first writer,
// or of all.
func TestPlantedDifferencesInAMixAreFound(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, s)
	l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Mix: load.AnySlots, Writers: 1, Prefix: "p:"})
	await(t, l, 6000)
	for l.Snapshot().AckedByKind["PEXPIRE"] < 20 {
		time.Sleep(10 * time.Millisecond)
	}
	mustBeClean(t, audit(t, l, s.Endpoint()))
	backup := dump(t, client)
	one := func(pattern string) string {
		keys, _ := do(t, client, "KEYS", "p:*"+pattern).([]any)
		if len(keys) == 0 {
			keys, _ = do(t, client, "KEYS", "{p:*"+pattern).([]any)
		}
		if len(keys) == 0 {
			t.Fatalf("no key %s", pattern)
		}
		return fmt.Sprint(keys[0])
	}
	token := func(n int) string { return fmt.Sprintf("0.%d;", n) }
	text := fmt.Sprint(do(t, client, "GET", one(":text:0")))
	entries := do(t, client, "XRANGE", one(":stream:0"), "-", "+").([]any)
	entry := fmt.Sprint(entries[3].([]any)[0])
	var rename, list string // finished scenarios
	for i := range 20 {
		if key := one(fmt.Sprintf(":play0:%d:c", 17*i)); do(t, client, "TYPE", key) == "string" {
			rename = key
			break
		}
	}
	if list = one(":play0:12:a"); do(t, client, "TYPE", list) != "list" {
		t.Fatalf("%s is no list", list)
	}
	// One of the two lists may have given all it had to the other.
	ring := strings.TrimSuffix(strings.TrimSuffix(one(":ring:*"), "one"), "two")
	var living string
	for _, key := range do(t, client, "KEYS", "p:*:life:*").([]any) {
		living = key.(string)
	}
	for name, plant := range map[string][]any{
		"append lost":           {"SET", one(":text:0"), strings.Replace(text, token(7), "", 1)},
		"append doubled":        {"APPEND", one(":text:0"), token(7)},
		"append never done":     {"APPEND", one(":text:0"), "0.99999999;"},
		"append reordered":      {"SET", one(":text:0"), token(8) + strings.Replace(text, token(8), "", 1)},
		"append broken":         {"SETRANGE", one(":text:0"), 0, "x"},
		"entry lost":            {"XDEL", one(":stream:0"), entry},
		"entry doubled":         {"XADD", one(":stream:0"), "*", "0", "3"},
		"field ahead":           {"HINCRBY", one(":fields"), "all", 1},
		"field behind":          {"HINCRBY", one(":fields"), "0", -1},
		"float ahead":           {"HINCRBYFLOAT", one(":fields"), "0:float", "0.5"},
		"float behind":          {"HINCRBYFLOAT", one(":fields"), "all:float", "-0.5"},
		"score ahead":           {"ZINCRBY", one(":scores"), 1, "all"},
		"score behind":          {"ZINCRBY", one(":scores"), "-0.5", "0"},
		"piece old":             {"SETRANGE", one(":pieces"), 0, fmt.Sprintf("%012d", 0)},
		"piece new":             {"SETRANGE", one(":pieces"), 0, fmt.Sprintf("%012d", 32*100000)},
		"piece gone":            {"SETRANGE", one(":pieces"), 0, strings.Repeat("\x00", 12)},
		"pair: one more":        {"INCR", one(":pair:one")},
		"pair: the other less":  {"DECR", one(":pair:two")},
		"token doubled":         {"RPUSH", ring + "one", 0},
		"token lost":            {"DEL", ring + "one", ring + "two"},
		"token never pushed":    {"RPUSH", ring + "one", "x"},
		"life over":             {"DEL", living},
		"life without end":      {"SET", living, "mortal", "PX", 5000},
		"death did not come":    {"SET", strings.TrimRight(living, "0123456789") + "1", "mortal"},
		"scenario gone":         {"DEL", rename},
		"scenario undone":       {"RENAME", rename, strings.TrimSuffix(rename, "c") + "b"},
		"scenario twice":        {"RPUSH", list, 3},
		"scenario with a TTL":   {"PEXPIRE", rename, 100000},
		"scenario of old value": {"SET", rename, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, client, plant...)
			report := audit(t, l, s.Endpoint())
			if report.Clean() || len(report.Samples) == 0 {
				t.Errorf("%v is not found: %v", plant, report)
			}
			restore(t, client, backup)
		})
	}
	mustBeClean(t, audit(t, l, s.Endpoint()))
}

// dump is every key with its DUMP and its TTL, as arguments of RESTORE.
func dump(t *testing.T, c *server.Client) [][]any {
	t.Helper()
	var all [][]any
	for _, key := range do(t, c, "KEYS", "*").([]any) {
		at := do(t, c, "PEXPIRETIME", key).(int64)
		all = append(all, []any{"RESTORE", key, max(at, 0), do(t, c, "DUMP", key), "ABSTTL"})
	}
	return all
}

func restore(t *testing.T, c *server.Client, keys [][]any) {
	t.Helper()
	pipe := c.Redis().Pipeline()
	pipe.FlushAll(t.Context())
	for _, args := range keys {
		pipe.Do(t.Context(), args...)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}
