package command_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/slot"
)

// FuzzRewrite rewrites any arguments for any pair of versions. What takes their
// place must be whole commands that the target knows.
func FuzzRewrite(f *testing.F) {
	versions := []command.Capabilities{onRedis(6, 0), onRedis(7, 0), onRedis(7, 4), onRedis(8, 0), onRedis(8, 6), onValkey(8, 0), onValkey(8, 1), onValkey(9, 1)}
	n := 0
	for _, w := range writes(f) {
		f.Add(byte(n), byte(n/3), n%2 == 0, []byte(strings.Join(w.words, "\x00")))
		n++
	}
	crc := rdb.NewCRC64()
	payload := rdb.AppendDumpFooter([]byte("\x00\x01v"), 0, rdb.Format{Version: 13}, crc)
	f.Add(byte(4), byte(0), true, append([]byte("RESTORE\x00k\x005\x00"), payload...))
	vector := rdb.AppendDumpFooter([]byte("\x07\x81\xbd\xea\x9c\xb6\xc5\xb1\xf4\x00\x00\x00"), 0, rdb.Format{Version: 13}, crc)
	f.Add(byte(4), byte(0), true, append([]byte("RESTORE\x00k\x005\x00"), vector...))
	f.Fuzz(func(t *testing.T, from, to byte, drop bool, line []byte) {
		source, target := versions[int(from)%len(versions)], versions[int(to)%len(versions)]
		o := command.Options{Now: func() int64 { return clock }}
		if drop {
			o.Drop = features()
		}
		r := command.NewRewriter(source, target, o)
		args := bytes.Split(line, []byte{0})
		before := bytes.Clone(bytes.Join(args, []byte{0}))
		r.PassesHead(args[:(len(args)+1)/2], len(args))
		for range 2 { // the second time, it may be within a transaction
			prefix := []byte("prefix")
			out, verdict, err := r.Rewrite(prefix, args)
			if !bytes.HasPrefix(out, prefix) {
				t.Fatalf("what was there is gone: %q", out)
			}
			if (verdict == command.Pass || err != nil) && len(out) != len(prefix) {
				t.Fatalf("%q and %v, with %q", verdict, err, out)
			}
			if err == nil && verdict == command.Replace {
				check(t, out[len(prefix):], &target, r.InTransaction())
			}
		}
		if !bytes.Equal(before, bytes.Join(args, []byte{0})) {
			t.Fatal("the arguments have changed")
		}
	})
}

// check takes a stream apart. Several commands are one transaction.
func check(t *testing.T, out []byte, target *command.Capabilities, inner bool) {
	t.Helper()
	var names []string
	for len(out) > 0 {
		e, err := resp.Scan(out, nil)
		if err != nil || len(e.Args) == 0 {
			t.Fatalf("%q: %v", out, err)
		}
		name := strings.ToUpper(string(e.Args[0]))
		if !target.Has(command.Option(name)) {
			t.Fatalf("%s does not know %q", target.Version, e.Args)
		}
		names = append(names, name)
		out = out[e.Size:]
	}
	if len(names) > 1 && !inner && (names[0] != "MULTI" || names[len(names)-1] != "EXEC") {
		t.Fatalf("%v are no transaction", names)
	}
}

// FuzzPlace places any arguments. Whatever they are, nothing panics, the keys that
// are written and read are keys of the command, and its parts have together exactly
// the keys of the whole, each part those of its slot.
func FuzzPlace(f *testing.F) {
	for _, w := range writes(f) {
		f.Add([]byte(strings.Join(w.words, "\x00")))
	}
	f.Add([]byte("MSETEX\x009223372036854775807\x00a\x00b"))
	f.Add([]byte("CLUSTER\x00FLUSHSLOT\x0016384"))
	f.Add([]byte("CLUSTER\x00SYNCSLOTS\x00CONF\x00ASM-TASK\x00t:s:d:import:connecting:1-2 5-9"))
	f.Add([]byte("CLUSTER\x00SYNCSLOTS\x00ESTABLISH\x00SOURCE\x00s\x00NAME\x00t\x00SLOTSRANGE\x001\x002"))
	p := command.NewPlacer(onRedis(8, 6))
	f.Fuzz(func(t *testing.T, line []byte) {
		args := bytes.Split(line, []byte{0})
		placing, of, err := p.Place(args)
		positions, err1 := p.AppendKeyPositions(nil, args)
		written, err2 := p.AppendWritten(nil, args)
		read, err3 := p.AppendRead(nil, args)
		overwrites := p.Overwrites(args)
		beyond, err4 := p.Beyond(args)
		if _, err := p.Move(args); err == nil && placing != command.Moving {
			t.Fatalf("%q is placed %v, and moves slots", args, placing)
		}
		parts := keysOfParts(t, p, args)
		if err != nil {
			if overwrites {
				t.Fatalf("%q overwrites, and has no placing: %v", args, err)
			}
			return
		}
		if err1 != nil || err2 != nil || err3 != nil || err4 == nil && placing != command.Dbs {
			t.Fatalf("%q is placed %v: %v, %v, %v, %+v", args, placing, err1, err2, err3, beyond)
		}
		var keys []string
		for _, i := range positions {
			keys = append(keys, string(args[i]))
			if placing == command.OneSlot && slot.Of(args[i]) != of {
				t.Fatalf("%q is of slot %d, and key %q is not", args, of, args[i])
			}
		}
		for _, key := range append(written, read...) {
			if !slices.Contains(keys, string(key)) {
				t.Fatalf("%q: %q is no key of it", args, key)
			}
		}
		if overwrites && (len(written) == 0 || slices.ContainsFunc(written, func(w []byte) bool {
			return slices.ContainsFunc(read, func(r []byte) bool { return bytes.Equal(w, r) })
		})) {
			t.Fatalf("%q overwrites, writes %q and reads %q", args, written, read)
		}
		slices.Sort(keys)
		if placing == command.Parts && !slices.Equal(keys, parts) {
			t.Fatalf("%q has keys %q, and its parts %q", args, keys, parts)
		}
	})
}

// keysOfParts are sorted; nil for what cannot be taken apart.
func keysOfParts(t *testing.T, p *command.Placer, args [][]byte) []string {
	t.Helper()
	var keys []string
	_ = p.Split(args, func(of uint16, part [][]byte) error {
		placing, is, err := p.Place(part)
		positions, err2 := p.AppendKeyPositions(nil, part)
		if placing != command.OneSlot || is != of || err != nil || err2 != nil {
			t.Fatalf("%q of slot %d is %v of %d, %v, %v", part, of, placing, is, err, err2)
		}
		for _, i := range positions {
			keys = append(keys, string(part[i]))
		}
		return nil
	})
	slices.Sort(keys)
	return keys
}
