package verify

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/semaphore"

	"godwit/internal/dataset"
	"godwit/internal/digest"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// readerOf reads from a server, in pieces what is larger than large.
func readerOf(t *testing.T, s *sandbox.Server, o digest.Options, large, piece int64) *reader {
	t.Helper()
	side := newSide("source", Side{Name: s.Address(), Shards: []server.Endpoint{s.Endpoint()}})
	r := newReader(&shared{
		side: side, filter: &filter{all: true}, digest: o, memory: semaphore.NewWeighted(inFlight), large: large, piece: piece,
	})
	t.Cleanup(r.close)
	return r
}

// A value leads to the same numbers whether it is dumped or read in pieces, however
// small they are.
func TestPiecesAreTheWhole(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-7.0", "redis-8.6", "valkey-8.1", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			if err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: 1500}); err != nil {
				t.Fatal(err)
			}
			client := sandboxtest.Client(t, s)
			plantLarge(t, client)
			o := digest.Options{Seed: 1, NoEmptyConsumers: true}
			whole, pieces := readerOf(t, s, o, 1<<40, 1), readerOf(t, s, o, 0, 300)
			scanner := readerOf(t, s, o, 0, 1)
			c, err := scanner.conn(t.Context(), scanner.conns, 0)
			if err != nil {
				t.Fatal(err)
			}
			byType := make(map[string]int)
			for cursor := uint64(0); ; {
				next, keys, err := c.Scan(t.Context(), 0, cursor, "", 1000)
				if err != nil {
					t.Fatal(err)
				}
				sizes, err := whole.sizes(t.Context(), 0, keys)
				if err != nil {
					t.Fatal(err)
				}
				want, err := whole.look(t.Context(), 0, keys, sizes)
				if err != nil {
					t.Fatal(err)
				}
				got, err := pieces.look(t.Context(), 0, keys, sizes)
				if err != nil {
					t.Fatal(err)
				}
				for i, key := range keys {
					byType[want[i].Type]++
					if got[i] != want[i] {
						t.Errorf("%q: in pieces %+v, as a whole %+v", key, got[i], want[i])
					}
				}
				if cursor = next; next == 0 {
					break
				}
			}
			if len(byType) < 6 {
				t.Errorf("only %v were read", byType)
			}
			t.Log(byType)
		})
	}
}

// plantLarge writes values of many pieces.
func plantLarge(t *testing.T, c *server.Client) {
	t.Helper()
	do := func(args ...any) {
		t.Helper()
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	do("SET", "large:string", strings.Repeat("0123456789abcdef", 10_000)+"end")
	set, hash, list, zset := []any{"SADD", "large:set"}, []any{"HSET", "large:hash"}, []any{"RPUSH", "large:list"}, []any{"ZADD", "large:zset"}
	for i := range 5000 {
		name := fmt.Sprintf("element %d", i)
		set, list = append(set, name), append(list, name)
		hash, zset = append(hash, name, i), append(zset, float64(i)/3, name)
	}
	for _, command := range [][]any{set, hash, list, zset} {
		do(command...)
	}
	for i := range 1000 {
		do("XADD", "large:stream", fmt.Sprintf("%d-%d", i/10+1, i%10), "field", i)
	}
	do("XGROUP", "CREATE", "large:stream", "group", "0")
	do("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 700, "STREAMS", "large:stream", ">")
	do("XACK", "large:stream", "group", "7-5")
	do("XDEL", "large:stream", "8-8", "100-9")
}
