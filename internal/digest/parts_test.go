package digest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// subjects are the servers, with the format that each writes.
func subjects() map[string]rdb.Format {
	return map[string]rdb.Format{
		"redis-6.0":  {Version: 9},
		"redis-7.0":  {Version: 10},
		"redis-8.0":  {Version: 12},
		"redis-8.6":  {Version: 13},
		"valkey-8.0": {Family: rdb.Valkey, Version: 11},
		"valkey-8.1": {Family: rdb.Valkey, Version: 11},
		"valkey-9.1": {Family: rdb.Valkey, Version: 80},
		"redict-7.3": {Family: rdb.Redict, Version: 12},
	}
}

// What a snapshot holds, what DUMP gives, that taken apart by a decoder, and what
// the commands that read a value piece by piece return: all have the same digest.
func TestAllWaysLeadToTheSame(t *testing.T) {
	for name, format := range subjects() {
		t.Run(name, func(t *testing.T) {
			s := filled(t, name, dataset.Options{Keys: 1500, Seed: 9, VectorSets: true})
			o := digest.Options{Seed: seed, Formats: []rdb.Format{format}}
			snapshot := saved(t, s)
			entries := digested(t, bytes.NewReader(snapshot), o)
			inPieces := digest.NewSmallSnapshot(bytes.NewReader(snapshot), o, 200)
			c := sandboxtest.Client(t, s)
			payloads, summer := digest.NewPayloads(o), digest.NewSummer(o)
			for {
				e, err := inPieces.Next()
				if err != nil {
					break
				}
				key := string(e.Key)
				want := entries[nameOf(e.DB, key)]
				if e.Value != want.Value {
					t.Errorf("%.60q in pieces is %+v, want %+v", key, e.Value, want.Value)
				}
				if e.DB < 0 {
					continue
				}
				payload, _ := do(t, c, "DUMP", key).(string)
				got, err := payloads.Sum([]byte(payload))
				if err != nil || got != want.Value {
					t.Errorf("DUMP of %.60q is %+v (%v), want %+v", key, got, err, want.Value)
				}
				if got := decoded(t, summer, format, payload); got != want.Value {
					t.Errorf("%.60q taken apart is %+v, want %+v", key, got, want.Value)
				}
				if got, ok := asked(t, c, summer, key, want.Type); ok && got != want.Value {
					t.Errorf("%.60q asked for is %+v, want %+v", key, got, want.Value)
				}
			}
			if len(entries) < 1500 || inPieces.Offset() != int64(len(snapshot)) {
				t.Errorf("%d entries, %d of %d bytes in pieces", len(entries), inPieces.Offset(), len(snapshot))
			}
		})
	}
}

func nameOf(db int, key string) string { return strconv.Itoa(db) + " " + key }

// decoded sums up what a decoder finds.
func decoded(t *testing.T, s *digest.Summer, f rdb.Format, payload string) digest.Value {
	t.Helper()
	_, body, err := rdb.OpenDump([]byte(payload), rdb.NewCRC64())
	if err != nil {
		t.Fatal(err)
	}
	s.Begin(rdb.Type(body[0]).Kind())
	if err := new(rdb.Decoder).Decode(f, rdb.Type(body[0]), body[1:], s); err != nil {
		t.Fatal(err)
	}
	return s.Value()
}

// asked sums up what commands return that read a value piece by piece, ok false
// if there are none.
func asked(t *testing.T, c *server.Client, s *digest.Summer, key, typ string) (v digest.Value, ok bool) {
	t.Helper()
	switch typ {
	case "string":
		s.Begin(rdb.StringValue)
		const step = 777
		for at := 0; ; at += step {
			piece, _ := do(t, c, "GETRANGE", key, at, at+step-1).(string)
			s.StringPart([]byte(piece))
			if len(piece) < step {
				return s.Value(), true
			}
		}
	case "list":
		s.Begin(rdb.ListValue)
		const step = 50
		for at := 0; ; at += step {
			elements := array(do(t, c, "LRANGE", key, at, at+step-1))
			for _, e := range elements {
				must(t, s.Element(rdb.Element{Value: []byte(e.(string)), ExpireAt: rdb.None}))
			}
			if len(elements) < step {
				return s.Value(), true
			}
		}
	case "set":
		s.Begin(rdb.SetValue)
		scanned(t, c, "SSCAN", key, 1, func(member []string) {
			must(t, s.Element(rdb.Element{Value: []byte(member[0]), ExpireAt: rdb.None}))
		})
	case "zset":
		s.Begin(rdb.ZsetValue)
		scanned(t, c, "ZSCAN", key, 2, func(member []string) {
			score, err := strconv.ParseFloat(member[1], 64)
			must(t, err)
			must(t, s.Element(rdb.Element{Value: []byte(member[0]), Score: score, ExpireAt: rdb.None}))
		})
	case "hash":
		s.Begin(rdb.HashValue)
		hasTTLs := true
		scanned(t, c, "HSCAN", key, 2, func(field []string) {
			e := rdb.Element{Field: []byte(field[0]), Value: []byte(field[1]), ExpireAt: rdb.None}
			if hasTTLs {
				reply, err := c.Do(t.Context(), "HPEXPIRETIME", key, "FIELDS", 1, field[0])
				hasTTLs = err == nil // else the server has no such command
				if at := array(reply); len(at) == 1 {
					e.ExpireAt = max(rdb.None, at[0].(int64))
				}
			}
			must(t, s.Element(e))
		})
	case "stream":
		s.Begin(rdb.StreamValue)
		askStream(t, c, s, key)
	default:
		return v, false
	}
	return s.Value(), true
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func array(reply any) []any { list, _ := reply.([]any); return list }

// scanned calls f once for each element that one of the SCAN commands returns, of
// that many parts.
func scanned(t *testing.T, c *server.Client, scan, key string, parts int, f func([]string)) {
	t.Helper()
	seen := make(map[string]bool)
	for cursor := "0"; ; {
		reply := array(do(t, c, scan, key, cursor, "COUNT", 40))
		for list := array(reply[1]); len(list) > 0; list = list[parts:] {
			var element []string
			for _, part := range list[:parts] {
				element = append(element, part.(string))
			}
			if !seen[element[0]] {
				f(element)
			}
			seen[element[0]] = true
		}
		if cursor = reply[0].(string); cursor == "0" {
			return
		}
	}
}

func fieldsOf(reply any) map[string]any {
	fields := make(map[string]any)
	for list := array(reply); len(list) > 1; list = list[2:] {
		fields[list[0].(string)] = list[1]
	}
	return fields
}

func streamID(t *testing.T, text any) (id rdb.StreamID) {
	t.Helper()
	_, err := fmt.Sscanf(text.(string), "%d-%d", &id.Ms, &id.Seq)
	must(t, err)
	return id
}

func askStream(t *testing.T, c *server.Client, s *digest.Summer, key string) {
	t.Helper()
	for from := "-"; ; {
		const step = 30
		entries := array(do(t, c, "XRANGE", key, from, "+", "COUNT", step))
		for _, entry := range entries {
			e := rdb.StreamEntry{ID: streamID(t, array(entry)[0])}
			for _, field := range array(array(entry)[1]) {
				e.Fields = append(e.Fields, []byte(field.(string)))
			}
			must(t, s.Entry(e))
			next := e.ID
			if next.Seq++; next.Seq == 0 {
				next.Ms++
			}
			from = fmt.Sprintf("%d-%d", next.Ms, next.Seq)
		}
		if len(entries) < step {
			break
		}
	}
	info := fieldsOf(do(t, c, "XINFO", "STREAM", key, "FULL", "COUNT", 0))
	v := rdb.Stream{Length: uint64(info["length"].(int64)), LastID: streamID(t, info["last-generated-id"])}
	if added, ok := info["entries-added"].(int64); ok {
		v.EntriesAdded, v.MaxDeletedID = uint64(added), streamID(t, info["max-deleted-entry-id"])
	}
	if duration, ok := info["idmp-duration"].(int64); ok {
		v.IDMP = &rdb.StreamIDMP{Duration: uint64(duration), MaxSize: uint64(info["idmp-maxsize"].(int64))}
	}
	for _, reply := range array(info["groups"]) {
		v.Groups = append(v.Groups, askedGroup(t, fieldsOf(reply)))
	}
	must(t, s.Stream(&v))
}

func askedGroup(t *testing.T, info map[string]any) rdb.StreamGroup {
	t.Helper()
	g := rdb.StreamGroup{
		Name: []byte(info["name"].(string)), LastID: streamID(t, info["last-delivered-id"]), EntriesRead: rdb.None,
	}
	if read, ok := info["entries-read"].(int64); ok {
		g.EntriesRead = read
	}
	for _, p := range array(info["pending"]) {
		p := array(p)
		g.Pending = append(g.Pending, rdb.PendingEntry{ID: streamID(t, p[0]), DeliveredAt: p[2].(int64), Deliveries: uint64(p[3].(int64))})
	}
	for _, reply := range array(info["consumers"]) {
		info := fieldsOf(reply)
		consumer := rdb.StreamConsumer{Name: []byte(info["name"].(string))}
		for _, p := range array(info["pending"]) {
			consumer.Pending = append(consumer.Pending, streamID(t, array(p)[0]))
		}
		g.Consumers = append(g.Consumers, consumer)
	}
	return g
}

// With other limits servers choose other encodings for nearly every value.
func TestEncodingLimitsDoNotCount(t *testing.T) {
	none := "--hash-max-ziplist-entries 0 --zset-max-ziplist-entries 0 --set-max-intset-entries 0 --list-max-ziplist-size 1 --stream-node-max-entries 2 --hll-sparse-max-bytes 0 --rdbcompression no"
	most := "--hash-max-ziplist-entries 100000 --hash-max-ziplist-value 100000 --zset-max-ziplist-entries 100000 --zset-max-ziplist-value 100000 --set-max-intset-entries 100000 --list-max-ziplist-size 10000 --list-compress-depth 1 --stream-node-max-entries 1000 --hll-sparse-max-bytes 15000"
	for _, name := range []string{"redis-6.0", "redis-7.0", "redis-8.6", "valkey-8.1", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			o := dataset.Options{Keys: 1500, Seed: 2, Now: time.Now()}
			want := digested(t, bytes.NewReader(saved(t, filled(t, name, o))), digest.Options{})
			for _, args := range []string{none, most} {
				mustBeEqual(t, digested(t, bytes.NewReader(saved(t, filled(t, name, o, args))), digest.Options{}), want)
			}
		})
	}
}

// A payload or a snapshot that was damaged on its way is an error.
func TestDamage(t *testing.T) {
	s := filled(t, "redis-7.0", dataset.Options{Keys: 200, Seed: 3})
	snapshot := saved(t, s)
	for _, at := range []int{0, 5, 100, len(snapshot) / 2, len(snapshot) - 1} {
		damaged := bytes.Clone(snapshot)
		damaged[at] ^= 0x10
		if _, _, err := total(digest.NewSnapshot(bytes.NewReader(damaged), digest.Options{}), digest.Options{}); err == nil || strings.Contains(err.Error(), "EOF") && at < len(snapshot)/4 {
			t.Errorf("byte %d: error %v", at, err)
		}
	}
	_, _, err := total(digest.NewSnapshot(bytes.NewReader(snapshot[:len(snapshot)/2]), digest.Options{}), digest.Options{})
	if read := new(rdb.ReadError); !errors.As(err, &read) {
		t.Errorf("cut short: error %v", err)
	}
	payload, _ := do(t, sandboxtest.Client(t, s), "DUMP", "key:0").(string)
	damaged := []byte(payload)
	damaged[1] ^= 1
	if _, err := digest.NewPayloads(digest.Options{}).Sum(damaged); err == nil {
		t.Error("a damaged payload has a digest")
	}
}
