package rdb_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// subject is a server whose data the tests read and write.
type subject struct {
	name   string
	format rdb.Format
}

// subjects lists the real servers that the tests run on.
func subjects() []subject {
	return []subject{
		{"redis-6.0", rdb.Format{Family: rdb.Redis, Version: 9}},
		{"redis-7.0", rdb.Format{Family: rdb.Redis, Version: 10}},
		{"redis-8.0", rdb.Format{Family: rdb.Redis, Version: 12}},
		{"redis-8.6", rdb.Format{Family: rdb.Redis, Version: 13}},
		{"valkey-8.0", rdb.Format{Family: rdb.Valkey, Version: 11}},
		{"valkey-8.1", rdb.Format{Family: rdb.Valkey, Version: 11}},
		{"valkey-9.1", rdb.Format{Family: rdb.Valkey, Version: 80}},
		{"redict-7.3", rdb.Format{Family: rdb.Redict, Version: 12}},
	}
}

// filled starts a server with keys of every type and encoding that it has.
func filled(tb testing.TB, name string, o dataset.Options) *sandbox.Server {
	tb.Helper()
	s := sandboxtest.Start(tb, name, sandbox.Options{})
	if err := dataset.Fill(tb.Context(), s.Endpoint(), o); err != nil {
		tb.Fatal(err)
	}
	return s
}

// saved is the snapshot that a server makes of its data.
func saved(tb testing.TB, s *sandbox.Server) []byte {
	tb.Helper()
	if _, err := sandboxtest.Client(tb, s).Do(tb.Context(), "SAVE"); err != nil {
		tb.Fatal(err)
	}
	snapshot, err := os.ReadFile(filepath.Join(s.Dir(), "dump.rdb"))
	if err != nil {
		tb.Fatal(err)
	}
	return snapshot
}

// fillBoundaries writes values at the limits of encodings, in db 0.
func fillBoundaries(tb testing.TB, c *server.Client) {
	tb.Helper()
	commands := &restorer{tb: tb, client: c}
	defer commands.flush()
	do := commands.do
	rng := rand.New(rand.NewPCG(7, 7))
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}

	do("SET", "", "the empty key")
	do("SET", "\x00\xff\xfe", "a binary key")
	do("SET", strings.Repeat("long key ", 3000), "a compressible key")
	do("SET", random(20_000), "an incompressible key")
	do("SET", "-128", "a key that is an integer")
	do("SET", "expiring", "soon", "PX", int64(time.Hour/time.Millisecond))

	sizes := []int{0, 1, 5, 20, 21, 63, 64, 65, 127, 128, 253, 254, 255, 4095, 4096, 16383, 16384, 65535, 65536, 70_000}
	for _, n := range sizes {
		do("SET", fmt.Sprintf("string:random:%d", n), random(n))
		do("SET", fmt.Sprintf("string:zeros:%d", n), strings.Repeat("0", n))
		do("RPUSH", fmt.Sprintf("list:one:%d", n), random(n))
		do("RPUSH", "list:sizes", random(n), strings.Repeat("a", n))
		do("XADD", "stream:sizes", fmt.Sprintf("%d-1", n+1), "field", random(n), random(n), "0")
		if n > 1<<14 {
			continue // what follows has no more encodings, and those of strings
		}
		do("HSET", "hash:sizes", fmt.Sprintf("field:%d", n), random(n))
		do("HSET", fmt.Sprintf("hash:one:%d", n), random(n), strings.Repeat("v", n))
		do("ZADD", fmt.Sprintf("zset:one:%d", n), n, random(n))
		do("SADD", fmt.Sprintf("set:one:%d", n), random(n))
	}
	var integers []any
	for shift := range 64 {
		for _, delta := range []int64{-1, 0, 1} {
			integers = append(integers, int64(1)<<shift+delta, -(int64(1)<<shift)+delta)
		}
	}
	integers = append(integers, int64(math.MaxInt64), int64(math.MinInt64), "9223372036854775808", "-9223372036854775809",
		"-0", "00", "+1", " 1", "1 ", "", "-", "18446744073709551616")
	for i, n := range integers {
		do("SET", fmt.Sprintf("integer:%d", i), n)
	}
	for from := 0; from < len(integers); from += 60 {
		part := integers[from:min(from+60, len(integers))]
		do(append([]any{"RPUSH", fmt.Sprintf("list:integers:%d", from)}, part...)...)
		do(append([]any{"SADD", fmt.Sprintf("set:integers:%d", from)}, part...)...)
		hash, zset, stream := []any{"HSET", fmt.Sprintf("hash:integers:%d", from)}, []any{"ZADD", fmt.Sprintf("zset:integers:%d", from)}, []any{"XADD", "stream:integers", "*"}
		for i, n := range part {
			hash = append(hash, n, part[len(part)-1-i])
			zset = append(zset, i, n)
			stream = append(stream, n, n)
		}
		do(hash...)
		do(zset...)
		do(stream...)
	}
	scores := []any{"inf", "-inf", "0", "-0.0", "0.1", "1e-310", "-1.7976931348623157e308", "4.9406564584124654e-324",
		"9007199254740993", "123456789012345680", "0.30000000000000004", "1e100", "3.0000000000000004"}
	zset, large := []any{"ZADD", "zset:scores"}, []any{"ZADD", "zset:scores:large"}
	for i, s := range scores {
		zset = append(zset, s, fmt.Sprintf("member:%d", i))
		large = append(large, s, fmt.Sprintf("member:%d:%s", i, strings.Repeat("x", 100)))
	}
	do(zset...)
	do(large...)

	do("XADD", "stream:ids", "0-1", "a", "b")
	do("XADD", "stream:ids", "0-18446744073709551615", "a", "b", "c", "d")
	do("XADD", "stream:ids", "18446744073709551614-5", "a", "b")
	do("XADD", "stream:ids", "18446744073709551615-18446744073709551615", "a", "-0")
	do("XDEL", "stream:ids", "0-18446744073709551615")
	do("XGROUP", "CREATE", "stream:ids", random(100), "18446744073709551614-5")
	do("XGROUP", "CREATE", "stream:new", "$", "0-0", "MKSTREAM")
	do("XREADGROUP", "GROUP", "$", "never got any", "STREAMS", "stream:new", ">")
}

// dbSize is how many keys INFO keyspace says a db has.
func dbSize(info server.Info, db int) int64 {
	var keys int64
	_, _ = fmt.Sscanf(info[fmt.Sprintf("db%d", db)], "keys=%d", &keys) // 0 if there is no such db
	return keys
}
