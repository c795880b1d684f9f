package rdb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// TestAttributes reads what the servers say of a key beside its value.
func TestAttributes(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-8.6", "valkey-9.1"} {
		for _, policy := range []string{"allkeys-lru", "allkeys-lfu"} {
			server := sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--maxmemory-policy " + policy}})
			client := sandboxtest.Client(t, server)
			expireAt := time.Now().Add(time.Hour).UnixMilli()
			for _, command := range [][]any{{"SET", "key", "value"}, {"GET", "key"}, {"PEXPIREAT", "key", expireAt}} {
				if _, err := client.Do(t.Context(), command...); err != nil {
					t.Fatal(err)
				}
			}
			snapshot := saved(t, server)
			s := rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{Single: rdb.AllCodes()})
			keys, aux := 0, make(map[string]string)
			scan(t, s, func(span *rdb.Span) {
				switch {
				case span.Kind == rdb.KindKey:
					keys++
					a := span.Attributes
					if a.ExpireAt != expireAt || a.Metadata || (a.Idle == rdb.None) != (policy == "allkeys-lfu") || (a.Freq == rdb.None) != (policy == "allkeys-lru") {
						t.Errorf("%s, %s: %+v", name, policy, a)
					}
				case span.Kind == rdb.KindOpcode && span.Opcode == rdb.OpcodeAux:
					field, value, err := span.Aux()
					if err != nil {
						t.Fatal(err)
					}
					aux[string(field)] = string(value)
				}
			})
			if keys != 1 {
				t.Errorf("%s: %d keys", name, keys)
			}
			if age, err := strconv.ParseInt(aux["ctime"], 10, 64); err != nil || age > time.Now().Unix() || aux["redis-bits"] != "64" {
				t.Errorf("%s: aux fields %v", name, aux)
			}
			// A format that lacks these attributes does without.
			var converted bytes.Buffer
			if err := rdb.NewConverter(&converted, bytes.NewReader(snapshot), rdb.ConverterOptions{To: rdb.Format{Version: 8}}).Run(); err != nil {
				t.Fatal(err)
			}
			scan(t, rdb.NewScanner(&converted, rdb.ScannerOptions{Single: rdb.AllCodes()}), func(span *rdb.Span) {
				if span.Kind == rdb.KindKey && (span.Attributes != rdb.Attributes{ExpireAt: expireAt, Idle: rdb.None, Freq: rdb.None}) {
					t.Errorf("%s, %s, converted: %+v", name, policy, span.Attributes)
				}
			})
		}
	}
}

// TestClusterSnapshot reads and converts what servers say of a cluster's slots.
func TestClusterSnapshot(t *testing.T) {
	for _, subject := range subjects() {
		t.Run(subject.name, func(t *testing.T) {
			t.Parallel()
			server := sandboxtest.Start(t, subject.name, sandbox.Options{Args: []string{"--cluster-enabled yes"}})
			client := sandboxtest.Client(t, server)
			addSlots := []any{"CLUSTER", "ADDSLOTS"}
			for slot := range 16384 {
				addSlots = append(addSlots, slot)
			}
			if _, err := client.Do(t.Context(), addSlots...); err != nil {
				t.Fatal(err)
			}
			const keys = 100
			for deadline := time.Now().Add(20 * time.Second); ; {
				info, err := client.Text(t.Context(), "CLUSTER", "INFO")
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(info, "cluster_state:ok") {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(info)
				}
				time.Sleep(10 * time.Millisecond)
			}
			for i := range keys {
				if _, err := client.Do(t.Context(), "SET", fmt.Sprintf("key:%d", i), i); err != nil {
					t.Fatal(err)
				}
			}
			snapshot := saved(t, server)
			s := rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{Single: rdb.AllCodes()})
			slots := 0
			scan(t, s, func(span *rdb.Span) {
				if span.Opcode == rdb.OpcodeSlotInfo {
					slots++
				}
			})
			if s.Keys() != keys || (slots > 0) != (subject.format.HasOpcode(rdb.OpcodeSlotInfo, subject.format) && subject.format.Family != rdb.Valkey) {
				t.Errorf("%d keys, %d slots", s.Keys(), slots)
			}
			var converted bytes.Buffer
			to := rdb.Format{Version: 9}
			if err := rdb.NewConverter(&converted, bytes.NewReader(snapshot), rdb.ConverterOptions{To: to}).Run(); err != nil {
				t.Fatal(err)
			}
			s = rdb.NewScanner(&converted, rdb.ScannerOptions{Single: rdb.AllCodes()})
			scan(t, s, func(span *rdb.Span) {
				if span.Opcode == rdb.OpcodeSlotInfo {
					t.Error("a slot's sizes in a format without")
				}
			})
			if s.Keys() != keys || s.Format() != to {
				t.Errorf("converted: %d keys in %s", s.Keys(), s.Format())
			}
		})
	}
}

// snapshotOf puts elements between a header and the end mark.
func snapshotOf(t *testing.T, f rdb.Format, elements ...string) []byte {
	t.Helper()
	var snapshot bytes.Buffer
	w := rdb.NewWriter(&snapshot, f, rdb.WriterOptions{})
	if _, err := w.Write([]byte(strings.Join(elements, ""))); err != nil {
		t.Fatal(err)
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return snapshot.Bytes()
}

// Elements that no server at hand writes, as rdb.c and keymeta.c say they are.
const (
	plainKey    = "\x00\x03key\x05value"
	moduleID    = "\x81\x00\x00\x00\x00\x00\x00\x04\x01" // AAAAAAAAB, version 1
	moduleItems = "\x02\x07" + "\x01\x40\x80" + "\x03\x00\x00\x80\x3f" + "\x04\x00\x00\x00\x00\x00\x00\xf0\x3f" + "\x05\x03abc" + "\x05\xc3\x04\x06\x00a\x60\x00" + "\x00"
	moduleKey   = "\x07\x06module" + moduleID + moduleItems
	moduleAux   = "\xf7" + moduleID + "\x02\x01" + moduleItems
	keyMeta     = "\xf3\x01\x01\x02\x03\x04" + moduleItems
	slotImport  = "\xf3\x03job\x02\x01\x05\x40\x64\x40\xc8"
)

func TestRareElements(t *testing.T) {
	redis13, valkey80, redis9 := rdb.Format{Version: 13}, rdb.Format{Family: rdb.Valkey, Version: 80}, rdb.Format{Version: 9}
	hasModule := func(id rdb.ModuleID) bool { return id.Name() == "AAAAAAAAB" && id.Version() == 1 }
	for _, test := range []struct {
		name     string
		from, to rdb.Format
		elements string
		module   func(rdb.ModuleID) bool
		what     rdb.Feature // that it lacks; empty if it passes
		kept     string      // when that is dropped, or the whole when it passes
	}{
		{name: "key metadata", from: redis13, to: redis9, elements: keyMeta + plainKey, what: rdb.FeatureKeyMetadata, kept: plainKey},
		{name: "key metadata to the same", from: redis13, to: redis13, elements: keyMeta + plainKey, kept: keyMeta + plainKey},
		{name: "key metadata of a module's value", from: redis13, to: redis13, elements: keyMeta + moduleKey, module: hasModule, kept: keyMeta + moduleKey},
		{name: "slot import", from: valkey80, to: redis9, elements: slotImport + plainKey, what: rdb.FeatureSlotImport, kept: plainKey},
		{name: "slot import to the same", from: valkey80, to: valkey80, elements: slotImport + plainKey, kept: slotImport + plainKey},
		{name: "module", from: redis9, to: redis9, elements: moduleKey + plainKey, what: rdb.FeatureModule, kept: plainKey},
		{name: "module that both have", from: redis9, to: redis13, elements: moduleKey + plainKey, module: hasModule, kept: moduleKey + plainKey},
		{name: "module aux", from: redis9, to: redis9, elements: moduleAux + plainKey, what: rdb.FeatureModule, kept: plainKey},
		{name: "module aux that both have", from: redis9, to: valkey80, elements: moduleAux + plainKey, module: hasModule, kept: moduleAux + plainKey},
		{name: "expiry in seconds", from: redis9, to: valkey80, elements: "\xfd\x00\x00\x00\x70" + plainKey, kept: "\xfd\x00\x00\x00\x70" + plainKey},
	} {
		t.Run(test.name, func(t *testing.T) {
			snapshot := snapshotOf(t, test.from, test.elements)
			for _, single := range []rdb.Set{{}, rdb.AllCodes()} {
				for _, buffer := range []int{0, 1} {
					s := rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{Single: single, BufferSize: buffer})
					if got := scan(t, s, nil); !bytes.Equal(got, snapshot) {
						t.Error("the spans are not the snapshot")
					}
				}
			}
			convert := func(drop ...rdb.Feature) ([]byte, error) {
				var converted bytes.Buffer
				err := rdb.NewConverter(&converted, bytes.NewReader(snapshot), rdb.ConverterOptions{
					To: test.to, Transcoder: rdb.TranscoderOptions{Drop: drop, Module: test.module},
				}).Run()
				return converted.Bytes(), err
			}
			var noEqual *rdb.NoEqualError
			if _, err := convert(); (test.what == "") != (err == nil) || err != nil && (!errors.As(err, &noEqual) || noEqual.What != test.what) {
				t.Errorf("error %v, want %s", err, test.what)
			}
			converted, err := convert(test.what)
			if err != nil {
				t.Fatal(err)
			}
			if want := snapshotOf(t, test.to, test.kept); !bytes.Equal(converted, want) {
				t.Errorf("converted to\n%q, want\n%q", converted, want)
			}
		})
	}
	// Codes mean something else on the other side.
	for _, snapshot := range [][]byte{snapshotOf(t, valkey80, keyMeta+plainKey), snapshotOf(t, redis13, slotImport+plainKey)} {
		s := rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{NoChecksum: true})
		var err error
		for err == nil {
			_, err = s.Next()
		}
		if errors.Is(err, io.EOF) {
			t.Error("an opcode of the other family passes")
		}
	}
}

// TestOldEncodings decodes values that only old servers wrote, and compares them
// with what a server makes of them.
func TestOldEncodings(t *testing.T) {
	crc := rdb.NewCRC64()
	const ziplist = "\x17\x00\x00\x00\x12\x00\x00\x00\x04\x00\x00\x01a\x03\xf2\x02\x01b\x03\xc0\xe8\x03\xff"
	const at = "\xff\x1f\x4a\xa9\xd1\x01\x00\x00" // 1999999999999
	const listpackEx = "\x24\x00\x00\x00\x09\x00\x81b\x02\x02\x01\xf4" + at + "\x09\x81a\x02\x01\x01\x00\x01\x81c\x02\x03\x01\x00\x01\xff"
	for _, test := range []struct {
		server string
		format rdb.Format
		typ    rdb.Type
		value  string
		want   []rdb.Element
	}{
		{"redis-6.0", rdb.Format{Version: 6}, rdb.TypeHashZipmap, "\x1a\x02\x03foo\x03\x02bar..\x05hello\x05\x00world\xff", []rdb.Element{
			{Field: []byte("foo"), Value: []byte("bar"), ExpireAt: rdb.None},
			{Field: []byte("hello"), Value: []byte("world"), ExpireAt: rdb.None},
		}},
		{"redis-7.0", rdb.Format{Version: 6}, rdb.TypeListZiplist, "\x17" + ziplist, []rdb.Element{
			{Value: []byte("a"), ExpireAt: rdb.None}, {Value: []byte("1"), ExpireAt: rdb.None},
			{Value: []byte("b"), ExpireAt: rdb.None}, {Value: []byte("1000"), ExpireAt: rdb.None},
		}},
		{"valkey-8.1", rdb.Format{Version: 6}, rdb.TypeZsetZiplist, "\x17" + ziplist, []rdb.Element{
			{Value: []byte("a"), Score: 1, ExpireAt: rdb.None}, {Value: []byte("b"), Score: 1000, ExpireAt: rdb.None},
		}},
		{"valkey-9.1", rdb.Format{Version: 6}, rdb.TypeZset, "\x03\x01a\x040.25\x01b\xfe\x01c\xff", []rdb.Element{
			{Value: []byte("a"), Score: 0.25, ExpireAt: rdb.None}, {Value: []byte("b"), Score: math.Inf(1), ExpireAt: rdb.None},
			{Value: []byte("c"), Score: math.Inf(-1), ExpireAt: rdb.None},
		}},
		{"redis-8.0", rdb.Format{Version: 12}, rdb.TypeHashMetadataPreGA, "\x02\x81\x00\x00\x01\xd1\xa9\x4a\x1f\xff\x01a\xc0\x01\x00\x01b\xc0\x02", []rdb.Element{
			{Field: []byte("a"), Value: []byte("1"), ExpireAt: 1999999999999}, {Field: []byte("b"), Value: []byte("2"), ExpireAt: rdb.None},
		}},
		{"redis-8.6", rdb.Format{Version: 12}, rdb.TypeHashListpackExPreGA, "\x24" + listpackEx, []rdb.Element{
			{Field: []byte("b"), Value: []byte("2"), ExpireAt: 1999999999999},
			{Field: []byte("a"), Value: []byte("1"), ExpireAt: rdb.None}, {Field: []byte("c"), Value: []byte("3"), ExpireAt: rdb.None},
		}},
	} {
		t.Run(test.typ.String(), func(t *testing.T) {
			decoded, err := rdb.DecodeValue(test.format, test.typ, []byte(test.value))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(decoded.Elements, test.want) {
				t.Errorf("decoded %+v, want %+v", decoded.Elements, test.want)
			}
			payload := rdb.AppendDumpFooter(append([]byte{byte(test.typ)}, test.value...), 0, test.format, crc)
			client := sandboxtest.Client(t, sandboxtest.Start(t, test.server, sandbox.Options{}))
			if _, err := client.Do(t.Context(), "RESTORE", "key", 0, payload); err != nil {
				t.Fatal(err)
			}
			again, err := client.Text(t.Context(), "DUMP", "key")
			if err != nil {
				t.Fatal(err)
			}
			format, body, err := rdb.OpenDump([]byte(again), crc)
			if err != nil {
				t.Fatal(err)
			}
			server, err := rdb.DecodeValue(format, rdb.Type(body[0]), body[1:])
			if err != nil {
				t.Fatal(err)
			}
			if got, want := describe(server), describe(decoded); got != want {
				t.Errorf("the server has %s, we %s", got, want)
			}
			for _, to := range []rdb.Format{{Version: 11}, {Family: rdb.Valkey, Version: 80}} {
				tc := rdb.NewTranscoder(test.format, to, rdb.TranscoderOptions{Drop: mayDrop()})
				newType, changed, err := tc.AppendValue(nil, test.typ, []byte(test.value))
				if err != nil {
					t.Fatal(err)
				}
				value, err := rdb.DecodeValue(to, newType, changed)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := describe(value), describe(decoded); got != want && len(tc.Dropped()) == 0 {
					t.Errorf("in %s it is %s, want %s", to, got, want)
				}
			}
		})
	}
}

// TestFunction reads a library's source from a snapshot and from FUNCTION DUMP.
func TestFunction(t *testing.T) {
	const source = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)"
	server := sandboxtest.Start(t, "valkey-9.1", sandbox.Options{})
	client := sandboxtest.Client(t, server)
	if _, err := client.Do(t.Context(), "FUNCTION", "LOAD", source); err != nil {
		t.Fatal(err)
	}
	var found []string
	s := rdb.NewScanner(bytes.NewReader(saved(t, server)), rdb.ScannerOptions{Single: rdb.AllCodes()})
	scan(t, s, func(span *rdb.Span) {
		if span.Opcode == rdb.OpcodeFunction2 {
			text, err := span.Function()
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, string(text))
		}
	})
	if len(found) != 1 || found[0] != source {
		t.Errorf("found %q", found)
	}
	var copied bytes.Buffer
	w := rdb.NewWriter(&copied, rdb.Format{Version: 11}, rdb.WriterOptions{})
	if err := errors.Join(w.Aux("redis-ver", "7.2.0"), w.Function([]byte(found[0])), w.SelectDB(0), w.ResizeDB(1, 0), w.End()); err != nil {
		t.Fatal(err)
	}
	list, err := sandboxtest.Client(t, loaded(t, "redict-7.3", copied.Bytes())).Do(t.Context(), "FUNCTION", "LIST", "WITHCODE")
	if err != nil || !strings.Contains(fmt.Sprint(list), source) {
		t.Errorf("the server that loaded it has %v, %v", list, err)
	}
}

// TestVectorSet carries a vector set between servers that have them, but not to
// an older one.
func TestVectorSet(t *testing.T) {
	crc := rdb.NewCRC64()
	isVectorSet := func(id rdb.ModuleID) bool { return id.Name() == "vectorset" }
	redis12, redis13 := rdb.Format{Version: 12}, rdb.Format{Version: 13}
	for _, pair := range []struct {
		from, to         string
		oldForm, newForm rdb.Format
	}{{"redis-8.0", "redis-8.6", redis12, redis13}, {"redis-8.6", "redis-8.6", redis13, redis13}, {"redis-8.0", "redis-8.0", redis12, redis12}} {
		source := sandboxtest.Client(t, sandboxtest.Start(t, pair.from, sandbox.Options{}))
		target := sandboxtest.Client(t, sandboxtest.Start(t, pair.to, sandbox.Options{}))
		for i := range 50 {
			if _, err := source.Do(t.Context(), "VADD", "key", "VALUES", 3, i, i*i, 1, fmt.Sprint(i), "SETATTR", fmt.Sprintf(`{"n":%d}`, i)); err != nil {
				t.Fatal(err)
			}
		}
		payload, err := source.Text(t.Context(), "DUMP", "key")
		if err != nil {
			t.Fatal(err)
		}
		tc := rdb.NewTranscoder(pair.oldForm, pair.newForm, rdb.TranscoderOptions{Module: isVectorSet})
		changed, err := tc.Dump(nil, []byte(payload), crc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Do(t.Context(), "RESTORE", "key", 0, changed); err != nil {
			t.Fatalf("from %s to %s: %v", pair.from, pair.to, err)
		}
		for _, command := range [][]any{{"VCARD", "key"}, {"VEMB", "key", "7"}, {"VGETATTR", "key", "9"}, {"VSIM", "key", "ELE", "3", "WITHSCORES"}} {
			a, errA := source.Do(t.Context(), command...)
			b, errB := target.Do(t.Context(), command...)
			if err := errors.Join(errA, errB); err != nil || !reflect.DeepEqual(a, b) {
				t.Errorf("from %s to %s: %v: %v, then %v (%v)", pair.from, pair.to, command, a, b, err)
			}
		}
	}
}

func TestVectorSetToAnOlderServer(t *testing.T) {
	crc := rdb.NewCRC64()
	client := sandboxtest.Client(t, sandboxtest.Start(t, "redis-8.6", sandbox.Options{}))
	if _, err := client.Do(t.Context(), "VADD", "key", "VALUES", 3, 1, 2, 3, "element"); err != nil {
		t.Fatal(err)
	}
	payload, err := client.Text(t.Context(), "DUMP", "key")
	if err != nil {
		t.Fatal(err)
	}
	tc := rdb.NewTranscoder(rdb.Format{Version: 13}, rdb.Format{Version: 12}, rdb.TranscoderOptions{
		Module: func(rdb.ModuleID) bool { return true },
	})
	var noEqual *rdb.NoEqualError
	if _, err := tc.Dump(nil, []byte(payload), crc); !errors.As(err, &noEqual) || noEqual.What != rdb.FeatureVectorSet {
		t.Errorf("error %v", err)
	}
	// It is right to refuse it: the older server does.
	_, body, err := rdb.OpenDump([]byte(payload), crc)
	if err != nil {
		t.Fatal(err)
	}
	older := sandboxtest.Client(t, sandboxtest.Start(t, "redis-8.0", sandbox.Options{}))
	asOlder := rdb.AppendDumpFooter(bytes.Clone(body), 0, rdb.Format{Version: 12}, crc)
	if _, err := older.Do(t.Context(), "RESTORE", "key", 0, asOlder); err == nil {
		t.Error("Redis 8.0 takes a vector set of 8.6 now: the rule may go")
	}
}

// TestStreamIDMP carries what a stream remembers of its producers.
func TestStreamIDMP(t *testing.T) {
	crc := rdb.NewCRC64()
	client := sandboxtest.Client(t, sandboxtest.Start(t, "redis-8.6", sandbox.Options{}))
	add := []any{"XADD", "key", "IDMP", "producer", "id", "5-1", "a", "b"}
	if _, err := client.Do(t.Context(), append(append([]any{}, add[:5]...), "*", "a", "b")...); err != nil {
		t.Fatal(err)
	}
	payload, err := client.Text(t.Context(), "DUMP", "key")
	if err != nil {
		t.Fatal(err)
	}
	format, body, err := rdb.OpenDump([]byte(payload), crc)
	if err != nil {
		t.Fatal(err)
	}
	value, err := rdb.DecodeValue(format, rdb.Type(body[0]), body[1:])
	if err != nil {
		t.Fatal(err)
	}
	m := value.Stream.IDMP
	if m == nil || len(m.Producers) != 1 || string(m.Producers[0].Name) != "producer" || len(m.Producers[0].IDs) != 1 ||
		string(m.Producers[0].IDs[0].ID) != "id" || m.Producers[0].IDs[0].Entry != value.Stream.LastID || m.Added != 1 || m.Duration != 100 {
		t.Fatalf("decoded %+v", m)
	}
	m.Duration, m.MaxSize, m.Duplicates = 1000, 77, 5
	newType, encoded, err := format.AppendValue([]byte{0}, value)
	if err != nil {
		t.Fatal(err)
	}
	encoded[0] = byte(newType)
	if _, err := client.Do(t.Context(), "RESTORE", "copy", 0, rdb.AppendDumpFooter(encoded, 0, format, crc)); err != nil {
		t.Fatal(err)
	}
	info, err := client.Do(t.Context(), "XINFO", "STREAM", "copy")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"idmp-duration 1000", "idmp-maxsize 77", "pids-tracked 1", "iids-tracked 1", "iids-added 1", "iids-duplicates 5"} {
		if !strings.Contains(fmt.Sprint(info), want) {
			t.Errorf("%s is missing in %v", want, info)
		}
	}
}

// describe prints a value without the order that its kind does not have.
func describe(v *rdb.Value) string {
	lines := make([]string, 0, len(v.Elements))
	for _, e := range v.Elements {
		lines = append(lines, fmt.Sprintf("%q %q %d %x", e.Field, e.Value, e.ExpireAt, e.Score))
	}
	if v.Kind != rdb.ListValue {
		slices.Sort(lines)
	}
	return fmt.Sprint(v.Kind, lines)
}
