package dataset

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"godwit/internal/server"
)

// kind is one way a value can be: a type in one of its encodings.
type kind struct {
	name   string
	weight int // how often it occurs beside the others
	write  func(k *key)
}

// key is one key being written.
type key struct {
	*rand.Rand
	name string
	now  time.Time
	do   func(args ...any) // adds a command to the pipeline
}

// expiry is an absolute time in milliseconds, between an hour and 30 days from now.
func (k *key) expiry() int64 {
	const earliest, latest = time.Hour, 30 * 24 * time.Hour
	return k.now.Add(earliest + time.Duration(k.Int64N(int64(latest-earliest)))).UnixMilli()
}

// text is n letters and digits, compressible when n is large.
func (k *key) text(n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		if i >= 64 && i%64 < 48 {
			b[i] = b[i-64]
			continue
		}
		b[i] = alphabet[k.IntN(len(alphabet))]
	}
	return string(b)
}

// bytes is n bytes of any value.
func (k *key) bytes(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(k.UintN(256))
	}
	return string(b)
}

// many sends one command with n more arguments or groups of them.
func (k *key) many(command string, n int, element func(i int) []any) {
	args := []any{command, k.name}
	for i := range n {
		args = append(args, element(i)...)
	}
	k.do(args...)
}

// kindsFor lists what the server can hold and the options want.
func kindsFor(v server.Version, o Options) []kind {
	kinds := []kind{
		{"string int", 200, func(k *key) { k.do("SET", k.name, k.Int64()-math.MaxInt64/2) }},
		{"string embstr", 250, func(k *key) { k.do("SET", k.name, k.text(1+k.IntN(44))) }},
		{"string raw", 100, func(k *key) { k.do("SET", k.name, k.text(45+k.IntN(800))) }},
		{"string bytes", 50, func(k *key) { k.do("SET", k.name, k.bytes(k.IntN(200))) }},
		{"string large", 1, func(k *key) { k.do("SET", k.name, k.text(64<<10)) }},
		{"string empty", 1, func(k *key) { k.do("SET", k.name, "") }},
		{"bitmap", 10, writeBitmap},
		{"hyperloglog sparse", 5, func(k *key) { k.many("PFADD", 1+k.IntN(20), k.element) }},
		{"hyperloglog dense", 1, func(k *key) { k.many("PFADD", 3000, k.element) }},
		{"list", 60, func(k *key) { k.many("RPUSH", 1+k.IntN(12), k.element) }},
		{"list large", 1, func(k *key) { k.many("RPUSH", 1500, k.element) }},
		{"list of large elements", 1, func(k *key) { k.many("RPUSH", 4, func(int) []any { return []any{k.text(9 << 10)} }) }},
		{"set intset", 30, func(k *key) { k.many("SADD", 1+k.IntN(20), k.integer) }},
		{"set listpack", 30, func(k *key) { k.many("SADD", 1+k.IntN(12), k.element) }},
		{"set hashtable", 1, func(k *key) { k.many("SADD", 700, k.element) }},
		{"set intset large", 1, func(k *key) { k.many("SADD", 600, k.integer) }},
		{"hash listpack", 100, func(k *key) { k.many("HSET", 1+k.IntN(10), k.field) }},
		{"hash hashtable", 1, func(k *key) { k.many("HSET", 700, k.field) }},
		{"hash of long values", 10, func(k *key) { k.many("HSET", 3, func(i int) []any { return []any{i, k.text(100)} }) }},
		{"zset listpack", 60, func(k *key) { k.many("ZADD", 1+k.IntN(10), k.scored) }},
		{"zset skiplist", 1, func(k *key) { k.many("ZADD", 400, k.scored) }},
		{"zset of odd scores", 5, func(k *key) { k.many("ZADD", len(oddScores()), oddlyScored) }},
		{"geo", 5, func(k *key) { k.many("GEOADD", 1+k.IntN(8), k.place) }},
		{"stream", 20, func(k *key) { k.addEntries(1 + k.IntN(6)) }},
		{"stream with groups", 5, writeStreamWithGroups},
		{"stream large", 1, func(k *key) { k.addEntries(500) }},
		{"stream emptied", 1, writeEmptiedStream},
	}
	kinds = append(kinds, boundaryKinds()...)
	if hasFieldTTLs(v) && !o.NoFieldTTLs {
		kinds = append(kinds,
			kind{"hash listpack with field TTLs", 10, func(k *key) { k.writeExpiringHash(8) }},
			kind{"hash hashtable with field TTLs", 1, func(k *key) { k.writeExpiringHash(700) }})
	}
	if v.Product == server.Redis && v.AtLeast(8, 0) && o.VectorSets {
		kinds = append(kinds, kind{"vector set", 2, writeVectorSet})
	}
	return kinds
}

// hasFieldTTLs tells whether the server has HPEXPIREAT.
func hasFieldTTLs(v server.Version) bool {
	switch v.Product {
	case server.Redis:
		return v.AtLeast(7, 4)
	case server.Valkey:
		return v.AtLeast(9, 0)
	default:
		return false
	}
}

func (k *key) element(int) []any { return []any{k.text(4 + k.IntN(20))} }

// integer is of 16, 32 or 64 bits: an intset has three widths.
func (k *key) integer(int) []any { return []any{k.Int64() >> (16 * (1 + k.IntN(3)))} }

func (k *key) field(i int) []any { return []any{fmt.Sprintf("field:%d", i), k.text(1 + k.IntN(30))} }

func (k *key) scored(i int) []any {
	return []any{float64(k.IntN(1_000_000)) / 64, fmt.Sprintf("member:%d", i)}
}

// oddScores are those that printing or parsing with too few digits changes.
func oddScores() []float64 {
	return []float64{
		math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0.1, 1.0 / 3, -1e-300,
		math.MaxFloat64, math.SmallestNonzeroFloat64, 1<<53 - 1, 1<<53 + 2, math.MaxInt64,
	}
}

func oddlyScored(i int) []any {
	return []any{oddScores()[i], fmt.Sprintf("odd:%d", i)}
}

func (k *key) place(i int) []any {
	return []any{k.Float64()*360 - 180, k.Float64()*170 - 85, fmt.Sprintf("place:%d", i)}
}

func writeBitmap(k *key) {
	for range 1 + k.IntN(6) {
		k.do("SETBIT", k.name, k.IntN(2000), 1)
	}
}

func (k *key) writeExpiringHash(fields int) {
	k.many("HSET", fields, k.field)
	for i := 0; i < fields; i += 3 {
		k.do("HPEXPIREAT", k.name, k.expiry(), "FIELDS", 1, fmt.Sprintf("field:%d", i))
	}
}

func writeVectorSet(k *key) {
	for i := range 2 + k.IntN(5) {
		k.do("VADD", k.name, "VALUES", 3, k.Float64(), k.Float64(), k.Float64(), fmt.Sprintf("vector:%d", i))
	}
}
