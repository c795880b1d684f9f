package persist_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/audit"
	"godwit/internal/persist"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

func TestParseManifest(t *testing.T) {
	long := strings.Repeat("n", 1010)
	for _, tt := range []struct {
		name, text string
		want       []string
		err        string // part of it; empty for none
	}{
		{name: "as a server writes it", text: "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
			want: []string{"appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"}},
		{name: "history is ignored, wherever it is", text: "file h1 seq 1 type h\nfile i1 seq 4 type i\nfile h2 seq 2 type h\nfile i2 seq 7 type i\nfile b seq 2 type b\n",
			want: []string{"b", "i1", "i2"}},
		{name: "no base", text: "file i seq 3 type i\n", want: []string{"i"}},
		{name: "quoted", text: `file "a b'\"\x41\n.aof" seq 1 type b` + "\n" + `file 'c \'d"' seq 1 type i` + "\n",
			want: []string{"a b'\"A\n.aof", `c 'd"`}},
		{name: "comments, spaces, other keys, any case", text: "# a comment\r\n  SEQ 1\tType b  FILE x startoffset 77 \r\n", want: []string{"x"}},
		{name: "empty", text: "", err: "the manifest is empty"},
		{name: "comments only", text: "# nothing\n", err: "names no base file and no incr file"},
		{name: "history only", text: "file h seq 1 type h\n", err: "names no base file and no incr file"},
		{name: "an empty line", text: "\nfile b seq 1 type b\n", err: "line 1: 0 words"},
		{name: "cut", text: "file b seq 1 type b", err: "line 1: the line does not end"},
		{name: "too long", text: "file " + long + " seq 1 type b\n", err: "line 1: a line of 1028 bytes"},
		{name: "a path", text: "file ../b seq 1 type b\n", err: `file "../b": expected a name without a path`},
		{name: "a path of Windows", text: `file "a\\b" seq 1 type b` + "\n", err: "expected a name without a path"},
		{name: "no number", text: "file b seq x type b\n", err: `seq "x": expected a number`},
		{name: "zero", text: "file b seq 0 type b\n", err: `seq "0": expected a number`},
		{name: "another type", text: "file b seq 1 type x\n", err: `type "x": expected b, i or h`},
		{name: "too few words", text: "file b seq 1\n", err: "4 words"},
		{name: "an odd word", text: "file b seq 1 type b more\n", err: "7 words"},
		{name: "the same key thrice", text: "file b file b file b\n", err: "expected file NAME seq NUMBER type TYPE"},
		{name: "two bases", text: "file b seq 1 type b\nfile c seq 2 type b\n", err: `line 2: a second base file, after "b"`},
		{name: "wrong order", text: "file a seq 2 type i\nfile b seq 2 type i\n", err: "line 2: seq 2 after seq 2"},
		{name: "quotes that do not end", text: "file \"b seq 1 type b\n", err: "quotes that do not end"},
		{name: "quotes within a word", text: "file \"b\"c seq 1 type b\n", err: "no space follows"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			names, err := persist.ParseManifest([]byte(tt.text))
			switch {
			case tt.err == "" && (err != nil || !slices.Equal(names, tt.want)):
				t.Errorf("%q, %v; want %q", names, err, tt.want)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v; want %q", err, tt.err)
			}
		})
	}
}

// Servers name the files as the manifest has them quoted, and load them again.
func TestQuotedNames(t *testing.T) {
	for _, name := range []string{"redis-7.0", "redis-8.6", "valkey-9.1"} {
		for _, file := range []string{"with space.aof", `quo"te'.aof`, "tab\there.aof", "b\xc3\xa4r.aof"} {
			t.Run(name+"/"+file, func(t *testing.T) {
				t.Parallel()
				s := sandboxtest.Start(t, name, sandbox.Options{Args: append(persistence(name, "yes"), "--appendfilename", file)})
				c := sandboxtest.Client(t, s)
				if _, err := c.Do(t.Context(), "SET", "k", "v"); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Do(t.Context(), "BGREWRITEAOF"); err != nil {
					t.Fatal(err)
				}
				awaitRewrite(t, c)
				if _, err := c.Do(t.Context(), "SET", "k2", "v"); err != nil {
					t.Fatal(err)
				}
				_, path := copyAOF(t, s.Dir())
				source := open(t, path)
				if got, want := source.Describe().Parts[0].File, file+".2.base.rdb"; got != want {
					t.Errorf("base %q, want %q", got, want)
				}
				mustEqual(t, s, load(t, name, source), audit.Options{}, 2)
			})
		}
	}
}

// What the servers take for a manifest is taken here, and what they refuse is refused.
func TestManifestsAsServersTakeThem(t *testing.T) {
	for _, tt := range []struct {
		text string
		ok   bool
	}{
		{"file a seq 1 type i\n", true},
		{"# comment\nfile a seq 1 type i\n", true},
		{"FILE 'a' Seq 1 TYPE i else where\n", true},
		{`file "\x61" seq 1 type i` + "\n", true},
		{"file a seq 5 type i\nfile b seq 6 type i\n", true},
		{"file a seq 1 type h\nfile b seq 6 type i\n", true},
		{"file b seq 1 type b\nfile a seq 6 type i\n", true},
		{"file a seq 1 type i", false},
		{"\nfile a seq 1 type i\n", false},
		{"file a seq 2 type i\nfile b seq 1 type i\n", false},
		{"file a seq 1 type b\nfile b seq 1 type b\n", false},
		{"file ./a seq 1 type i\n", false},
		{"file a seq 0 type i\n", false},
		{"file a seq 1 type z\n", false},
		{"file 'a seq 1 type i\n", false},
		{"file a seq 1 type i odd\n", false},
		{"file c seq 1 type i\n", false}, // it is not there
	} {
		for _, name := range []string{"redis-7.0", "valkey-9.1"} {
			t.Run(fmt.Sprintf("%s/%q", name, tt.text), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				path := filepath.Join(dir, "appendonlydir")
				if err := os.Mkdir(path, 0o700); err != nil {
					t.Fatal(err)
				}
				command := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
				for file, text := range map[string]string{"a": command, "b": command, "appendonly.aof.manifest": tt.text} {
					if err := os.WriteFile(filepath.Join(path, file), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				s, err := persist.Open(path)
				if err == nil {
					defer s.Close()
				}
				if (err == nil) != tt.ok {
					t.Errorf("opened: %v", err)
				}
				started, err := sandbox.Start(context.WithoutCancel(t.Context()), sandboxtest.Binary(t, name), sandbox.Options{Dir: dir, Args: persistence(name, "yes")})
				if (err == nil) != tt.ok {
					t.Errorf("the server: %v", err)
				}
				if err == nil {
					defer started.Close()
				}
			})
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte("file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"))
	f.Add([]byte(`file "a \x41\"" seq 1 type b` + "\n# x\nfile 'b\\'' seq 2 type i startoffset 3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		names, err := persist.ParseManifest(text)
		if err != nil {
			return
		}
		if len(names) == 0 {
			t.Fatal("no files and no error")
		}
		var again strings.Builder
		for i, name := range names {
			if name == "" || strings.Contains(name, "/") {
				t.Fatalf("name %q", name)
			}
			fmt.Fprintf(&again, "file %s seq %d type i\n", repr(name), i+1)
		}
		if more, err := persist.ParseManifest([]byte(again.String())); again.Len() < 500 && (err != nil || !slices.Equal(more, names)) {
			t.Fatalf("%q: written as %q it is %q, %v", names, again.String(), more, err)
		}
	})
}

// repr quotes a name as sds.c sdscatrepr does.
func repr(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case c == '\\' || c == '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "\\x%02x", c)
		}
	}
	return `"` + b.String() + `"`
}
