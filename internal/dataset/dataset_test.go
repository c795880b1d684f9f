package dataset_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wantEncodings are those that every server must end up with; the small
// collections are called ziplist before 7.0 and listpack since.
var wantEncodings = []string{
	"string/int", "string/embstr", "string/raw",
	"list/quicklist", "set/intset", "set/hashtable", "hash/small", "hash/hashtable",
	"zset/small", "zset/skiplist", "stream/stream",
}

func TestFillHasEveryEncoding(t *testing.T) {
	for _, name := range sandboxtest.Catalog(t).Names() {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			o := dataset.Options{Keys: 300, DBs: []int{0, 3, 15}, Seed: 1, VectorSets: true}
			if err := dataset.Fill(t.Context(), s.Endpoint(), o); err != nil {
				t.Fatal(err)
			}
			client := sandboxtest.Client(t, s)
			info, err := client.Info(t.Context(), "server", "keyspace")
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(wantEncodings)
			switch v := info.Version(); {
			case v.Product == server.Redis && v.AtLeast(8, 0):
				want = append(want, "hash/listpackex", "vectorset/raw", "list/listpack", "set/listpack")
			case v.AtLeast(7, 2):
				want = append(want, "list/listpack", "set/listpack")
			}
			if info.Version().AtLeast(7, 0) {
				libraries, err := client.Do(t.Context(), "FUNCTION", "LIST", "LIBRARYNAME", "godwit_dataset")
				if list, ok := libraries.([]any); !ok || len(list) != 1 {
					t.Errorf("FUNCTION LIST: %v, %v", libraries, err)
				}
			}
			for _, db := range o.DBs {
				if got := info[fmt.Sprintf("db%d", db)]; !strings.HasPrefix(got, "keys=100,expires=") || strings.Contains(got, "expires=0,") {
					t.Errorf("db %d: %s", db, got)
				}
				got := encodings(t, client, db)
				for _, encoding := range want {
					if !got[encoding] {
						t.Errorf("db %d: no %s among %v", db, encoding, got)
					}
				}
			}
		})
	}
}

func encodings(t *testing.T, client *server.Client, db int) map[string]bool {
	t.Helper()
	conn := client.Redis().Conn()
	defer conn.Close()
	if err := conn.Select(t.Context(), db).Err(); err != nil {
		t.Fatal(err)
	}
	keys, err := conn.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, key := range keys {
		typ := conn.Type(t.Context(), key).Val()
		encoding := conn.ObjectEncoding(t.Context(), key).Val()
		if encoding == "ziplist" || encoding == "listpack" && (typ == "hash" || typ == "zset") {
			encoding = "small"
		}
		found[typ+"/"+encoding] = true
	}
	return found
}

// A seed gives the same data on each run, whatever order the chunks go in.
func TestFillIsDeterministic(t *testing.T) {
	now := time.Now()
	var dumps [2]map[string]string
	for i := range dumps {
		s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
		o := dataset.Options{Keys: 3000, Seed: 7, Prefix: "p:", Now: now}
		if err := dataset.Fill(t.Context(), s.Endpoint(), o); err != nil {
			t.Fatal(err)
		}
		// Twice over gives the same again.
		if err := dataset.Fill(t.Context(), s.Endpoint(), o); err != nil {
			t.Fatal(err)
		}
		dumps[i] = contents(t, sandboxtest.Client(t, s).Redis())
		if len(dumps[i]) != o.Keys {
			t.Errorf("%d keys", len(dumps[i]))
		}
	}
	for key, value := range dumps[0] {
		if dumps[1][key] != value {
			t.Errorf("key %q: %q and %q", key, value, dumps[1][key])
		}
	}
}

// contents is each key's type, TTL and a digest of its value, without what
// depends on the clock or on the order in which a server walks its hash tables.
func contents(t *testing.T, client *redis.Client) map[string]string {
	t.Helper()
	const script = `
		local out = {}
		for i, key in ipairs(redis.call('KEYS', '*')) do
			local t = redis.call('TYPE', key).ok
			local v
			if t == 'string' then v = redis.call('GET', key)
			elseif t == 'list' then v = table.concat(redis.call('LRANGE', key, 0, -1), ' ')
			elseif t == 'set' then v = table.concat(redis.call('SORT', key, 'ALPHA'), ' ')
			elseif t == 'zset' then v = table.concat(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'), ' ')
			elseif t == 'hash' then local p = redis.call('HKEYS', key); table.sort(p)
				v = table.concat(p, ' ') .. table.concat(redis.call('HMGET', key, unpack(p)), ' ')
			elseif t == 'stream' then
				v = cjson.encode(redis.call('XRANGE', key, '-', '+'))
				for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
					v = v .. cjson.encode(group) .. cjson.encode(redis.call('XPENDING', key, group[2]))
				end
			end
			out[2 * i - 1] = key
			out[2 * i] = t .. redis.call('PEXPIRETIME', key) .. redis.sha1hex(v)
		end
		return out`
	pairs, err := client.Eval(t.Context(), script, nil).StringSlice()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		found[pairs[i]] = pairs[i+1]
	}
	return found
}

func TestFillSaysWhatFailed(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--databases 2"}})
	err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: 10, DBs: []int{5}})
	if err == nil || !strings.Contains(err.Error(), "db 5: SELECT: ERR") || !strings.Contains(err.Error(), s.Address()) {
		t.Errorf("got %v", err)
	}
}
