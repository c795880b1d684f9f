package persist_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"godwit/internal/persist"
	"godwit/internal/resp"
)

// readAll reads a source to its end, and counts its commands.
func readAll(tb testing.TB, s *persist.Source) (commands int) {
	if snapshot := s.Snapshot(); snapshot != nil {
		if _, err := io.Copy(io.Discard, snapshot); err != nil {
			tb.Fatal(err)
		}
	}
	for {
		if _, err := s.Next(); err != nil {
			if !errors.Is(err, io.EOF) {
				tb.Fatal(err)
			}
			return commands
		}
		commands++
	}
}

// mixed is an append only file of small commands, of which so many in a hundred are
// transactions of four.
func mixed(commands, transactions int) []byte {
	var text []byte
	for i := range commands {
		within := i%100 < transactions
		if within {
			text = resp.AppendCommand(text, "MULTI")
		}
		for range 2 {
			text = resp.AppendCommand(text, "SET", fmt.Sprintf("user:%d:name", i), "value of it")
			text = resp.AppendCommand(text, "HSET", fmt.Sprintf("user:%d", i), "name", "somebody", "age", "33")
		}
		if within {
			text = resp.AppendCommand(text, "EXEC")
		}
	}
	return text
}

func BenchmarkNext(b *testing.B) {
	large := resp.AppendCommand(nil, "SET", "large", strings.Repeat("x", 100<<10))
	for _, data := range []struct {
		name string
		text []byte
	}{
		{"small", mixed(100_000, 0)},
		{"transactions", mixed(100_000, 100)},
		{"values of 100 KiB", []byte(strings.Repeat(string(large), 400))},
	} {
		b.Run(data.name, func(b *testing.B) {
			path := writeFile(b, "appendonly.aof", data.text)
			b.SetBytes(int64(len(data.text)))
			b.ReportAllocs()
			commands := 0
			for b.Loop() {
				s, err := persist.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				commands = readAll(b, s)
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(commands), "ns/command")
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	snapshot := snapshotOf(b)
	var text []byte
	key := snapshot[11 : len(snapshot)-9] // the one key, which is as good as many
	text = append(text, snapshot[:11]...)
	for len(text) < 50<<20 {
		text = append(text, key...)
	}
	text = append(text, 0xff, 0, 0, 0, 0, 0, 0, 0, 0)
	path := writeFile(b, "dump.rdb", text)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s, err := persist.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		readAll(b, s)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// No command costs memory of its own.
func TestNextDoesNotAllocate(t *testing.T) {
	s := open(t, writeFile(t, "appendonly.aof", mixed(20_000, 30)))
	for range 1000 { // buffers are made
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	allocs := testing.AllocsPerRun(50_000, func() {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for each command", allocs)
	}
}
