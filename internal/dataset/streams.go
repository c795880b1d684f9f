package dataset

import "fmt"

// entryID gives the i-th entry's ID, a fixed one: "*" would be the time.
func entryID(i int) string { return fmt.Sprintf("%d-%d", 1_700_000_000_000+i/3, i%3+1) }

// addEntries appends n entries, most with the same fields, which the server
// then stores once per node (t_stream.c, master entry).
func (k *key) addEntries(n int) {
	for i := range n {
		if i%5 == 4 {
			k.do("XADD", k.name, entryID(i), k.text(6), k.text(20), "extra", i)
			continue
		}
		k.do("XADD", k.name, entryID(i), "sensor", i, "value", k.text(8))
	}
}

// writeStreamWithGroups makes deleted entries, groups that have read some or
// all, consumers with and without pending entries, and a pending entry that is
// no longer in the stream. XCLAIM is what sets a fixed delivery time.
func writeStreamWithGroups(k *key) {
	const entries = 8
	k.addEntries(entries)
	k.do("XGROUP", "CREATE", k.name, "fresh", "0")
	k.do("XGROUP", "CREATE", k.name, "done", "$")
	k.do("XGROUP", "CREATE", k.name, "busy", entryID(5))
	delivered := k.now.UnixMilli()
	for i := range 6 {
		consumer := fmt.Sprintf("consumer:%d", i%2)
		k.do("XCLAIM", k.name, "busy", consumer, 0, entryID(i),
			"TIME", delivered-int64(k.IntN(1_000_000)), "RETRYCOUNT", 1+k.IntN(4), "FORCE")
	}
	k.do("XCLAIM", k.name, "busy", "idle", 0, entryID(0), "TIME", delivered, "RETRYCOUNT", 1, "FORCE")
	k.do("XACK", k.name, "busy", entryID(0)) // leaves the consumer "idle" without any
	k.do("XDEL", k.name, entryID(2), entryID(6))
}

// writeEmptiedStream leaves a stream without entries that still knows its last ID.
func writeEmptiedStream(k *key) {
	k.addEntries(2)
	k.do("XGROUP", "CREATE", k.name, "group", "0")
	k.do("XDEL", k.name, entryID(0), entryID(1))
}

// writeLargeEntries makes nodes of one entry each (stream-node-max-bytes).
func writeLargeEntries(k *key) {
	for i := range 4 {
		k.do("XADD", k.name, entryID(i), "", "", "field", k.text(5000), "\x00\xff", k.bytes(30), "9223372036854775807", "-9223372036854775808")
	}
}

// writeTrimmedStream leaves a first node with deleted entries, and a group
// whose consumers have pending entries that are gone.
func writeTrimmedStream(k *key) {
	k.addEntries(150)
	k.do("XGROUP", "CREATE", k.name, "\x00group\xff", "0")
	for i := range 40 {
		k.do("XCLAIM", k.name, "\x00group\xff", fmt.Sprintf("consumer:%d", i%7), 0, entryID(i*3),
			"TIME", k.now.UnixMilli()-int64(i), "RETRYCOUNT", i, "FORCE", "JUSTID")
	}
	k.do("XTRIM", k.name, "MAXLEN", 70)
	k.do("XDEL", k.name, entryID(149), entryID(100), entryID(101))
}

// writeStreamOfLimits has the first and the last ID there can be.
func writeStreamOfLimits(k *key) {
	for _, id := range []string{"0-1", "1-0", "1-18446744073709551615", "9223372036854775808-0", "18446744073709551615-18446744073709551615"} {
		k.do("XADD", k.name, id, "id", id)
	}
	k.do("XGROUP", "CREATE", k.name, "last", "$")
	k.do("XGROUP", "CREATE", k.name, "first", "0-1")
}
