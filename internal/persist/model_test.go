package persist_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"godwit/internal/persist"
	"godwit/internal/resp"
)

// model loads commands as aof.c loadSingleAppendOnlyFile does, line by line, with
// aof-load-truncated yes. It holds everything in memory and looks ahead at nothing.
type model struct {
	text     []byte
	at       int
	executed [][][]byte // what was run, EXEC and MULTI included
	queued   [][][]byte // since MULTI
	within   bool
}

var errFormat = errors.New("bad file format")

// gets reads a line with its newline, or what is left; nil at the end.
func (m *model) gets() []byte {
	rest := m.text[m.at:]
	if len(rest) == 0 {
		return nil
	}
	end := bytes.IndexByte(rest, '\n') + 1
	if end == 0 {
		end = len(rest)
	}
	m.at += end
	return rest[:end]
}

// number is what atoi makes of a line after its first byte, but that it takes digits
// only: godwit refuses what else atoi takes.
func number(line []byte) (int, bool) {
	text, ended := bytes.CutSuffix(line[1:], []byte("\r\n"))
	n, err := strconv.ParseUint(string(text), 10, 40)
	return int(n), ended && err == nil
}

// run returns whether the end is cut, and errFormat if no server loads the file.
func (m *model) run() (cut bool, err error) {
	for {
		line := m.gets()
		switch {
		case line == nil:
			return m.within, nil
		case line[0] == '#':
			if len(line) > 1024 {
				return false, errFormat
			}
			continue
		case line[0] != '*':
			return false, errFormat
		}
		argc, ok := number(line)
		if !ok || argc < 1 {
			return m.beginning(line, ok)
		}
		var args [][]byte
		for range argc {
			line := m.gets()
			if line == nil {
				return true, nil
			}
			if line[0] != '$' {
				return false, errFormat
			}
			size, ok := number(line)
			if !ok {
				return m.beginning(line, ok)
			}
			if len(m.text)-m.at < size+2 {
				return true, nil
			}
			args = append(args, m.text[m.at:m.at+size])
			if string(m.text[m.at+size:m.at+size+2]) != "\r\n" {
				m.at = len(m.text) // godwit sees it once it has the command
				return false, errFormat
			}
			m.at += size + 2
		}
		if !m.take(args) {
			return false, errFormat
		}
	}
}

// beginning judges a line that is not right: at the end of the file it may be the
// beginning of one that is.
func (m *model) beginning(line []byte, number bool) (bool, error) {
	text := strings.TrimSuffix(string(line[1:]), "\r")
	digits := strings.Trim(text, "0123456789") == "" && len(text) < 13
	if number || m.at < len(m.text) || !digits || len(text) == 0 && len(line) > 1 {
		return false, errFormat
	}
	return true, nil
}

// take runs or queues a command.
func (m *model) take(args [][]byte) bool {
	name := strings.ToUpper(string(args[0]))
	if name == "SELECT" {
		if len(args) != 2 {
			return false
		}
		if _, err := strconv.ParseUint(string(args[1]), 10, 31); err != nil {
			return false
		}
	}
	switch {
	case name == "MULTI" && m.within, name == "EXEC" && !m.within: // the server answers an error, and goes on
	case name == "MULTI":
		m.within, m.queued = true, [][][]byte{args}
	case name == "EXEC":
		m.executed = append(append(m.executed, m.queued...), args)
		m.within, m.queued = false, nil
	case m.within:
		m.queued = append(m.queued, args)
	default:
		m.executed = append(m.executed, args)
	}
	return true
}

// writeFile puts a file into a directory of its own.
func writeFile(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// compareWithModel reads a file of commands and has the model load it.
func compareWithModel(t *testing.T, path string, text []byte) {
	t.Helper()
	m := model{text: text}
	cut, modelErr := m.run()
	s, err := persist.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	i := 0
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if modelErr == nil {
				t.Fatalf("%v, and the model loads %d commands, cut: %v", err, len(m.executed), cut)
			}
			return
		}
		if modelErr == nil && i >= len(m.executed) {
			t.Fatalf("command %d %q at %s: the model has %d", i, c.Args, c.Position, len(m.executed))
		}
		if i < len(m.executed) && !slices.EqualFunc(c.Args, m.executed[i], bytes.Equal) {
			t.Fatalf("command %d: %q, the model has %q", i, c.Args, m.executed[i])
		}
		there := text[c.Position.Offset : c.Position.Offset+c.Size]
		if e, err := resp.Scan(there, nil); err != nil || e.Size != len(there) || !slices.EqualFunc(c.Args, e.Args, bytes.Equal) {
			t.Fatalf("command %d is %q in the file at %s", i, there, c.Position)
		}
		i++
	}
	if modelErr != nil {
		t.Fatalf("read to the end, and the model: %v", modelErr)
	}
	if i != len(m.executed) {
		t.Fatalf("%d commands, the model has %d", i, len(m.executed))
	}
	if left := s.LeftOut(); (left.TailBytes > 0) != cut {
		t.Fatalf("left out: %+v; in the model it is cut: %v", left, cut)
	}
}

// someCommands makes an append only file of small and large commands, transactions,
// stray MULTI and EXEC, and annotations.
func someCommands(rng *rand.Rand, commands int) []byte {
	var text []byte
	say := func(args ...string) { text = resp.AppendCommand(text, args...) }
	for range commands {
		switch rng.IntN(12) {
		case 0:
			say("MULTI")
		case 1, 2:
			say("exec")
		case 3:
			text = fmt.Appendf(text, "#TS:%d\r\n", 1700000000+rng.IntN(1000))
		case 4:
			say("SELECT", strconv.Itoa(rng.IntN(16)))
		case 5:
			say("SET", "large", strings.Repeat("v", rng.IntN(1000)))
		case 6:
			say(strings.Split("RPUSH list"+strings.Repeat(" e", 1+rng.IntN(40)), " ")...)
		default:
			say("SET", strconv.Itoa(rng.IntN(1000)), "*1\r\n$4\r\nEXEC\r\n")
		}
	}
	return text
}

// Wherever a file ends, it is read as the model loads it.
func TestEveryCut(t *testing.T) {
	for seed := range uint64(2) {
		text := someCommands(rand.New(rand.NewPCG(seed, 0)), 40)
		path := writeFile(t, "appendonly.aof", text)
		for end := len(text); end > 0; end-- {
			if err := os.Truncate(path, int64(end)); err != nil {
				t.Fatal(err)
			}
			compareWithModel(t, path, text[:end])
			if t.Failed() {
				t.Fatalf("seed %d, cut at %d: %.200q", seed, end, text[max(0, end-100):end])
			}
		}
	}
}

// A changed byte is an error, or read as the model loads it.
func TestAnyByteChanged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	text := someCommands(rng, 15)
	path := writeFile(t, "appendonly.aof", text)
	for at := 1; at < len(text); at++ {
		changed := bytes.Clone(text)
		changed[at] = "*$0129\r\n#x\x00"[rng.IntN(11)]
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		compareWithModel(t, path, changed)
		if t.Failed() {
			t.Fatalf("byte %d: %.200q", at, changed[max(0, at-50):])
		}
	}
}

func FuzzCommands(f *testing.F) {
	for seed := range uint64(5) {
		f.Add(someCommands(rand.New(rand.NewPCG(seed, 0)), 8))
	}
	f.Add([]byte("*1\r\n$4\r\nEXEC\r\n*"))
	f.Add([]byte("*1\r\n$5\r\nMULTI\r\n#TS:1"))
	f.Add([]byte("*01\r\n$99999999999\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) == 0 || text[0] != '*' && text[0] != '#' {
			return
		}
		compareWithModel(t, writeFile(t, "appendonly.aof", text), text)
	})
}
