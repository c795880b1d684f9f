package dataset

import (
	"fmt"
	"strings"
)

// boundaryKinds are values at the sizes where a server takes another encoding,
// and of every width that an integer or a length has in it (listpack.c,
// ziplist.c, intset.c, and the *-max-listpack-* settings).
func boundaryKinds() []kind {
	sized := func(command string, element func(k *key, i int) []any, counts ...int) func(*key) {
		return func(k *key) {
			k.many(command, counts[k.IntN(len(counts))], func(i int) []any { return element(k, i) })
		}
	}
	integers := func(_ *key, i int) []any { return []any{boundaryIntegers()[i%len(boundaryIntegers())]} }
	counted := func(_ *key, i int) []any { return []any{i} }
	element := func(k *key, i int) []any { return k.element(i) }
	field := func(k *key, i int) []any { return k.field(i) }
	scored := func(k *key, i int) []any { return k.scored(i) }
	return []kind{
		{"string integer at a limit", 5, func(k *key) { k.do("SET", k.name, integers(k, k.IntN(100))[0]) }},
		{"string like an integer", 3, func(k *key) { k.do("SET", k.name, likeIntegers()[k.IntN(len(likeIntegers()))]) }},
		{"string of a limit", 3, func(k *key) { k.do("SET", k.name, k.text(boundaryLengths()[k.IntN(len(boundaryLengths()))])) }},
		{"list of integers at limits", 2, sized("RPUSH", integers, len(boundaryIntegers()))},
		{"list of lengths at limits", 2, func(k *key) { k.many("RPUSH", len(boundaryLengths()), k.lengthAtLimit) }},
		{"list of empty elements", 2, func(k *key) { k.many("RPUSH", 5, func(int) []any { return []any{""} }) }},
		{"list of a node", 1, sized("RPUSH", func(k *key, _ int) []any { return []any{k.text(1000)} }, 7, 8, 9)},
		{"set of integers at limits", 2, sized("SADD", integers, len(boundaryIntegers()))},
		{"set of mixed", 2, func(k *key) {
			k.do("SADD", k.name, "", "9223372036854775807", "00", k.bytes(20), k.text(64), k.text(65))
		}},
		{"set intset at its limit", 1, sized("SADD", counted, 512, 513)},
		{"set listpack at its limit", 1, sized("SADD", element, 128, 129)},
		{"hash at its limit", 1, sized("HSET", field, 128, 129, 512, 513)},
		{"hash of lengths at limits", 1, func(k *key) {
			k.many("HSET", len(boundaryLengths()), func(i int) []any { return []any{fmt.Sprint(i), k.lengthAtLimit(i)[0]} })
		}},
		{"hash of values at limits", 2, func(k *key) {
			k.do("HSET", k.name, "", "", "empty", "", "\x00\xff", k.bytes(64), k.text(64), k.text(64), "9223372036854775807", "-9223372036854775808")
		}},
		{"hash with a long value", 1, func(k *key) { k.do("HSET", k.name, "a", 1, "long", k.text(65)) }},
		{"zset at its limit", 1, sized("ZADD", scored, 128, 129)},
		{"zset of odd members", 2, func(k *key) { k.do("ZADD", k.name, 1, "", 1, k.bytes(64), 1, "9223372036854775807", "-inf", "12") }},
		{"zset skiplist of odd scores", 1, func(k *key) {
			k.do("ZADD", k.name, 1, k.text(65))
			k.many("ZADD", len(oddScores()), oddlyScored)
		}},
		{"stream at a node's limit", 1, func(k *key) { k.addEntries(99 + k.IntN(3)) }},
		{"stream of large entries", 1, writeLargeEntries},
		{"stream trimmed", 2, writeTrimmedStream},
		{"stream of IDs at limits", 2, writeStreamOfLimits},
	}
}

// boundaryIntegers are the first and the last of every width, and of what is
// kept in an entry's first byte.
func boundaryIntegers() []string {
	return []string{
		"0", "1", "12", "13", "-1", "127", "128", "-128", "-129", "4095", "4096", "-4096", "-4097", "32767", "32768", "-32768", "-32769",
		"8388607", "8388608", "-8388608", "-8388609", "2147483647", "2147483648", "-2147483648", "-2147483649",
		"9223372036854775806", "9223372036854775807", "-9223372036854775807", "-9223372036854775808",
	}
}

// likeIntegers must stay the text that they are.
func likeIntegers() []string {
	return []string{"9223372036854775808", "-9223372036854775809", "-0", "00", "+1", " 1", "1 ", "1.0", "1e3", "0x10", strings.Repeat("9", 40)}
}

// boundaryLengths are those where a length takes one more byte.
func boundaryLengths() []int {
	return []int{0, 1, 20, 44, 45, 63, 64, 65, 253, 254, 255, 4095, 4096, 16383, 16384}
}

func (k *key) lengthAtLimit(i int) []any { return []any{k.text(boundaryLengths()[i])} }
