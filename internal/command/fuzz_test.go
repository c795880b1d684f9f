package command_test

import (
	"bytes"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/resp"
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
