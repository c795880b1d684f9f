package persist_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/persist"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// snapshotOf is a small snapshot.
func snapshotOf(t testing.TB, aux ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := rdb.NewWriter(&out, rdb.Format{Version: 9}, rdb.WriterOptions{})
	var err error
	for i := 0; i < len(aux); i += 2 {
		err = errors.Join(err, w.Aux(aux[i], aux[i+1]))
	}
	none := rdb.Attributes{ExpireAt: rdb.None, Idle: rdb.None, Freq: rdb.None}
	value := &rdb.Value{Kind: rdb.StringValue, Elements: []rdb.Element{{Value: []byte("value")}}}
	if err := errors.Join(err, w.SelectDB(0), w.Value([]byte("key"), none, value), w.End()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// setCommand is what an append only file may hold.
const setCommand = "*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"

// files makes a directory with these files.
func files(t *testing.T, named map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range named {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenRefuses(t *testing.T) {
	snapshot := string(snapshotOf(t))
	const manifest = "file b seq 1 type b\nfile i seq 1 type i\n"
	for _, tt := range []struct {
		name      string
		files     map[string]string
		open      string // within the directory
		err, hint string // parts of what is said
	}{
		{"no such file", nil, "dump.rdb", "dump.rdb: no such file", "check the path"},
		{"an empty file", map[string]string{"f": ""}, "f", "the file is empty", "backup cut short"},
		{"something else", map[string]string{"f": "hello world, hello"}, "f", `neither an RDB file nor an append only file: it begins with "hello world, hel"`, "begins with REDIS or VALKEY"},
		{"compressed", map[string]string{"f": "\x1f\x8b\x08\x00"}, "f", "neither", "gunzip"},
		{"zeros", map[string]string{"f": "\x00\x00\x00"}, "f", "neither", "full of zeros"},
		{"a manifest with another name", map[string]string{"f": manifest}, "f", "neither", ".manifest"},
		{"an unknown version", map[string]string{"f": "REDIS0099\xff"}, "f", "unknown format", "newer than any"},
		{"cut in its magic", map[string]string{"f": "REDIS00"}, "f", "byte 7: the file ends within its snapshot", "it was cut"},
		{"a directory without a manifest", map[string]string{"f": snapshot}, ".", "no file in this directory ends in .manifest", "name an RDB file"},
		{"two manifests", map[string]string{"a.manifest": manifest, "b.manifest": manifest}, ".", "several append only files", "name the one"},
		{"a bad manifest", map[string]string{"a.manifest": "file b seq 1 type q\n"}, ".", `a.manifest: line 1: type "q"`, "no server loads it"},
		{"a part that is missing", map[string]string{"a.manifest": manifest, "b": snapshot}, "a.manifest", "i: no such file", "the manifest"},
		{"only empty parts", map[string]string{"a.manifest": manifest, "b": "", "i": ""}, ".", "all files are empty", "copy cut short"},
		{"a snapshot in the wrong place", map[string]string{"a.manifest": manifest, "b": setCommand, "i": snapshot}, ".", "i: an RDB file among those that hold commands only", "first file"},
		{"a directory as a part", map[string]string{"a.manifest": manifest, "b/x": "", "i": snapshot}, ".", "b: not a file", "a manifest names files"},
		{"one part of several", map[string]string{"a.manifest": manifest, "b": snapshot, "i": setCommand}, "b", "b: only a part of an append only file of 2 files", "a.manifest instead"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := persist.Open(filepath.Join(files(t, tt.files), tt.open))
			if err == nil {
				t.Fatalf("opened: %s", errors.Join(s.Close()))
			}
			mustSay(t, err, tt.err, tt.hint)
		})
	}
}

// mustSay looks at what an error tells the user.
func mustSay(t *testing.T, err error, text, hint string) {
	t.Helper()
	var e *persist.Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), text) || !strings.Contains(e.HintText(), hint) {
		t.Errorf("%v, want %q", err, text)
		if e != nil {
			t.Errorf("hint: %s, want %q", e.HintText(), hint)
		}
	}
}

func TestReadingFails(t *testing.T) {
	snapshot := string(snapshotOf(t))
	preamble := string(snapshotOf(t, "aof-preamble", "1"))
	damaged := snapshot[:len(snapshot)-1] + "\x00"
	for _, tt := range []struct {
		name, text, err, hint string
	}{
		{"an RDB file that is cut", snapshot[:30], "byte 30: the file ends within its snapshot", "it was cut"},
		{"a checksum", damaged, "checksum is", "redis-check-rdb"},
		{"something after the end", snapshot + "x", "the file goes on after the end of its snapshot", fmt.Sprintf("cut it off: head -c %d", len(snapshot))},
		{"commands after a snapshot that has none", snapshot + setCommand, "the file goes on after", fmt.Sprintf("head -c %d", len(snapshot))},
		{"a preamble that is cut", preamble[:40], "byte 40: the file ends within its snapshot", "it was cut"},
		{"no command after a preamble", preamble + "\r\n", fmt.Sprintf(`byte %d: expected a command, found "\r\n"`, len(preamble)), "redis-check-aof"},
		{"zeros at the end", setCommand + "\x00\x00", `byte 50: expected a command, found "\x00\x00"`, "redis-check-aof"},
		{"a length", "*1\r\n$x\r\n", `byte 4: expected a length, found "$x\r\n"`, "redis-check-aof"},
		{"an argument that is longer than it says", "*1\r\n$1\r\nab\r\n*1\r\n$1\r\na\r\n", `byte 9: expected the end of an argument, found "b\r\n*1`, "redis-check-aof"},
		{"a command of nothing", "*0\r\n" + setCommand, "byte 0: expected a command of one argument or more", "redis-check-aof"},
		{"a length beyond all bounds", "*1\r\n$99999999999999999999\r\n", "byte 4: expected a length", "redis-check-aof"},
		{"SELECT of nothing", "*2\r\n$6\r\nSELECT\r\n$1\r\nx\r\n", "byte 0: a SELECT without the number of a db", "redis-check-aof"},
		{"an annotation without an end", "#" + strings.Repeat("x", 2000), "byte 0: expected an annotation that ends", "redis-check-aof"},
		{"damage within a transaction", "*1\r\n$5\r\nMULTI\r\n" + setCommand + "bad", "byte 65: expected a command", "redis-check-aof"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, writeFile(t, "file", []byte(tt.text)))
			err := writeAnew(io.Discard, s)
			if err == nil {
				t.Fatal("read to the end")
			}
			mustSay(t, err, tt.err, tt.hint)
		})
	}
}

// Next again tells the error that it told before.
func TestErrorsAreFinal(t *testing.T) {
	s := open(t, writeFile(t, "f", []byte(setCommand+"x")))
	for range 2 {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	_, first := s.Next()
	_, second := s.Next()
	if first == nil || !errors.Is(second, first) {
		t.Errorf("%v, then %v", first, second)
	}
}

// The snapshot has to be read before what comes after it.
func TestCommandsBeforeTheirSnapshot(t *testing.T) {
	s := open(t, writeFile(t, "f", append(snapshotOf(t, "aof-preamble", "1"), setCommand...)))
	_, err := s.Next()
	mustSay(t, err, "before the snapshot had been read", "")
}

// A file that a server writes to while it is read is no source.
func TestChangedWhileRead(t *testing.T) {
	path := writeFile(t, "f", []byte(setCommand))
	s := open(t, path)
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(setCommand); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	mustSay(t, writeAnew(io.Discard, s), "has changed while it was read", "copy its files first")
}

func TestDescribe(t *testing.T) {
	snapshot := string(snapshotOf(t, "valkey-ver", "9.1.2", "ctime", "1700000000", "used-mem", "77"))
	dir := files(t, map[string]string{
		"a.manifest":      "file b seq 3 type b\nfile old seq 2 type h\nfile i1 seq 5 type i\nfile i2 seq 6 type i\n",
		"temp-a.manifest": "file x seq 1 type b\n",
		"b":               snapshot,
		"i1":              "#TS:1700000100\r\n" + setCommand,
		"i2":              "",
	})
	d := open(t, dir).Describe()
	if d.Kind != persist.MultiPartAOF || d.Bytes != int64(len(snapshot)+16+50) || filepath.Base(d.Path) != "a.manifest" {
		t.Errorf("%+v", d)
	}
	if want := []persist.Content{persist.Snapshot, persist.Commands, persist.Nothing}; !slices.Equal(contents(d), want) {
		t.Errorf("contents %v, want %v", contents(d), want)
	}
	if want := (server.Version{Product: server.Valkey, Major: 9, Minor: 1, Patch: 2}); d.Version() != want {
		t.Errorf("version %v, want %v", d.Version(), want)
	}
	base, incr := d.Parts[0], d.Parts[1]
	if !base.Base || base.Seq != 3 || base.Format != "REDIS0009" || base.Created.Unix() != 1700000000 || base.Aux["used-mem"] != "77" || time.Since(base.Modified) > time.Minute {
		t.Errorf("%+v", base)
	}
	if incr.Base || incr.Seq != 5 || incr.Timestamp.Unix() != 1700000100 {
		t.Errorf("%+v", incr)
	}
}

func TestCommandsSayWhereTheyAre(t *testing.T) {
	preamble := string(snapshotOf(t, "aof-preamble", "1", "redis-ver", "6.0.16"))
	dir := files(t, map[string]string{
		"a.manifest": "file b seq 1 type b\nfile i seq 1 type i\n",
		"b":          preamble + setCommand,
		"i":          "*1\r\n$4\r\nPING\r\n#TS:1700000100\r\n" + setCommand + "*1\r\n$4\r\nEXEC\r\n",
	})
	s := open(t, dir)
	if got, err := io.ReadAll(s.Snapshot()); err != nil || int64(len(got)) != s.Describe().Parts[0].Bytes-50 {
		t.Fatalf("snapshot of %d bytes, %v", len(got), err)
	}
	before := int64(len(preamble))
	for _, want := range []persist.Command{
		{DB: 0, Size: 23, Offset: before + 23, Position: persist.Position{Path: filepath.Join(dir, "b"), Offset: before}},
		{DB: 5, Size: 27, Offset: before + 50, Position: persist.Position{Path: filepath.Join(dir, "b"), Offset: before + 23}},
		{DB: 0, Size: 14, Offset: before + 64, Position: persist.Position{Path: filepath.Join(dir, "i"), Offset: 0}},
		{DB: 0, Size: 23, Offset: before + 103, Position: persist.Position{Path: filepath.Join(dir, "i"), Offset: 30}},
		{DB: 5, Size: 27, Offset: before + 130, Position: persist.Position{Path: filepath.Join(dir, "i"), Offset: 53}},
	} {
		got, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		timed := !s.Timestamp().IsZero()
		if timed != (want.Position.Offset == 30 || want.Position.Offset == 53 && want.DB == 5 && want.Offset > before+100) {
			t.Errorf("%s: timestamp %v", got.Position, s.Timestamp())
		}
		got.Args = nil
		if got.Args = nil; got.DB != want.DB || got.Size != want.Size || got.Offset != want.Offset || got.Position != want.Position {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if left := s.LeftOut(); left.Strays != 1 || left.FirstStray != (persist.Position{Path: filepath.Join(dir, "i"), Offset: 80}) || left.TailBytes != 0 {
		t.Errorf("left out: %+v", left)
	}
}

// pipe gives the path of a pipe that somebody writes to.
func pipe(t *testing.T, text []byte) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = w.Write(text) // the reader may have gone
		_ = w.Close()
	}()
	t.Cleanup(func() {
		_ = r.Close()
		<-done
	})
	return "/dev/fd/" + strconv.Itoa(int(r.Fd()))
}

func TestPipe(t *testing.T) {
	snapshot := snapshotOf(t, "redis-ver", "7.0.15")
	s := open(t, pipe(t, snapshot))
	if d := s.Describe(); d.Kind != persist.RDB || d.Bytes != -1 || d.Version().Major != 7 {
		t.Errorf("%+v", d)
	}
	if got, err := io.ReadAll(s.Snapshot()); err != nil || !bytes.Equal(got, snapshot) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(snapshot))
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the snapshot: %v", err)
	}
	for text, want := range map[string]string{
		"":             "it ended before anything came",
		setCommand:     "an append only file cannot be read from a pipe",
		"-ERR refused": "neither an RDB file nor",
		string(snapshotOf(t, "aof-preamble", "1")): "an append only file cannot be read from a pipe",
	} {
		_, err := persist.Open(pipe(t, []byte(text)))
		mustSay(t, err, want, "")
	}
	cut := open(t, pipe(t, snapshot[:40]))
	_, err := io.ReadAll(cut.Snapshot())
	mustSay(t, err, "byte 40: the file ends within its snapshot", "it was cut")
}

// What redis-cli --rdb writes is read from a pipe, and dump.rdb from a file: the same
// keys, of every family.
func TestRDBFilesOfServers(t *testing.T) {
	for _, name := range append(versions(), "valkey-8.0", "redict-7.3") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{})
			c := sandboxtest.Client(t, s)
			for _, command := range [][]any{{"SET", "k", "v"}, {"RPUSH", "list", "a", "b"}, {"SAVE"}} {
				if _, err := c.Do(t.Context(), command...); err != nil {
					t.Fatal(err)
				}
			}
			source := open(t, filepath.Join(s.Dir(), "dump.rdb"))
			version, err := s.Binary().Version(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			d := source.Describe()
			if d.Kind != persist.RDB || d.Version() != version || time.Since(d.Parts[0].Created) > time.Minute {
				t.Errorf("%+v of %v", d, version)
			}
			scanner := rdb.NewScanner(source.Snapshot(), rdb.ScannerOptions{NoChecksum: true})
			for err == nil {
				_, err = scanner.Next()
			}
			if !errors.Is(err, io.EOF) || scanner.Keys() != 2 {
				t.Errorf("%d keys, %v", scanner.Keys(), err)
			}
			if _, err := source.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the snapshot: %v", err)
			}
		})
	}
}

// A command takes the memory that it needs, and gives it back.
func TestLargeCommand(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
	var text []byte
	for range 2 {
		text = resp.AppendCommand(text, "MULTI")
		text = resp.AppendArgs(text, []byte("SET"), []byte("large"), large)
		text = resp.AppendCommand(text, "EXEC")
		text = resp.AppendCommand(text, "SET", "small", "v")
	}
	path := writeFile(t, "f", text)
	s := open(t, path)
	var sizes []int
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(c.Args[len(c.Args)-1]))
		if len(c.Args) == 3 && len(c.Args[2]) == len(large) && !bytes.Equal(c.Args[2], large) {
			t.Error("the value is another one")
		}
	}
	if want := []int{5, len(large), 4, 1, 5, len(large), 4, 1}; !slices.Equal(sizes, want) {
		t.Errorf("sizes %v, want %v", sizes, want)
	}
	// Cut within the transaction of a large command, what is left out is not held.
	if err := os.Truncate(path, int64(len(text)-60)); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if err := writeAnew(io.Discard, s); err != nil {
		t.Fatal(err)
	}
	if left := s.LeftOut(); left.TailBytes < int64(len(large)) {
		t.Errorf("left out: %+v", left)
	}
}
