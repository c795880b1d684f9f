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

// number is what atoi makes of a line after its first byte, but that it takes only
// digits, and no more than package resp does: godwit refuses what else atoi takes.
func number(line []byte) (int, bool) {
	text, ended := bytes.CutSuffix(line[1:], []byte("\r\n"))
	return digits(line[0], string(text)), ended && digits(line[0], string(text)) >= 0
}

// digits is the number that follows '*' or '$', -1 if there is none.
func digits(kind byte, text string) int {
	limit := map[byte]uint64{'*': resp.MaxStreamArgs, '$': resp.MaxStreamArg}[kind]
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || len(text) > 19 || n > limit {
		return -1
	}
	return int(n)
}

// run returns whether the end is cut, and errFormat if no server loads the file.
func (m *model) run() (cut bool, err error) {
	for {
		line := m.gets()
		switch {
		case line == nil:
			return m.within, nil
		case line[0] == '#':
			if len(line) > 1023 { // fgets into 1024 bytes
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
		damaged := false
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
				damaged = true // godwit looks at it once it has the command, the server never
			}
			m.at += size + 2
		}
		if damaged || !m.take(args) {
			return false, errFormat
		}
	}
}

// beginning judges a line that is not right: at the end of the file it may be the
// beginning of one that is.
func (m *model) beginning(line []byte, complete bool) (bool, error) {
	text := strings.TrimSuffix(string(line[1:]), "\r")
	isDigits := digits(line[0], text) >= 0 && (line[0] == '$' || text[0] != '0')
	if complete || m.at < len(m.text) || !isDigits && len(line) > 1 {
		return false, errFormat
	}
	return true, nil
}

// take runs or queues a command.
func (m *model) take(args [][]byte) bool {
	switch name := strings.ToUpper(string(args[0])); {
	case name == "MULTI" && m.within, name == "EXEC" && !m.within: // the server answers an error, and goes on
		return true
	case name == "MULTI":
		m.within, m.queued = true, [][][]byte{args}
		return true
	case m.within && name != "EXEC":
		m.queued = append(m.queued, args)
		return true
	default:
		run := append(m.queued, args)
		m.within, m.queued = false, nil
		m.executed = append(m.executed, run...)
		return !slices.ContainsFunc(run, badSelect)
	}
}

// badSelect tells whether a command is a SELECT that no server writes.
func badSelect(args [][]byte) bool {
	if !strings.EqualFold(string(args[0]), "SELECT") {
		return false
	}
	if len(args) != 2 {
		return true
	}
	_, err := strconv.ParseUint(string(args[1]), 10, 31)
	return err != nil
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

// readFile is persist.ReadCommands of a file.
func readFile(t *testing.T, path string) (r persist.Read) {
	t.Helper()
	s, err := persist.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			r.Cut = s.LeftOut().TailBytes > 0
			return r
		}
		if err != nil {
			r.Err = err
			return r
		}
		c.Args = slices.Clone(c.Args)
		for i, arg := range c.Args {
			c.Args[i] = bytes.Clone(arg)
		}
		r.Commands = append(r.Commands, c)
	}
}

// compareWithModel compares what was read of a text with what the model loads.
func compareWithModel(t *testing.T, r persist.Read, text []byte) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("... %q", text[max(0, len(text)-300):])
		}
	}()
	m := model{text: text}
	cut, err := m.run()
	switch {
	case (r.Err == nil) != (err == nil):
		t.Fatalf("error %v, the model has %v", r.Err, err)
	case err == nil && (len(r.Commands) != len(m.executed) || r.Cut != cut):
		t.Fatalf("%d commands, cut: %v; the model has %d, cut: %v", len(r.Commands), r.Cut, len(m.executed), cut)
	}
	for i, c := range r.Commands {
		if i < len(m.executed) && !slices.EqualFunc(c.Args, m.executed[i], bytes.Equal) {
			t.Fatalf("command %d: %q, the model has %q", i, c.Args, m.executed[i])
		}
		there := text[c.Position.Offset : c.Position.Offset+c.Size]
		if e, err := resp.Scan(there, nil); err != nil || e.Size != len(there) || !slices.EqualFunc(c.Args, e.Args, bytes.Equal) {
			t.Fatalf("command %d is %q in the file at %s", i, there, c.Position)
		}
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
			compareWithModel(t, readFile(t, path), text[:end])
		}
	}
}

// A changed byte is an error, or read as the model loads it.
func TestAnyByteChanged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	text := someCommands(rng, 40)
	for at := 1; at < len(text); at++ {
		changed := bytes.Clone(text)
		changed[at] = "*$0129\r\n#x\x00"[rng.IntN(11)]
		compareWithModel(t, persist.ReadCommands(changed), changed)
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
		compareWithModel(t, persist.ReadCommands(text), text)
	})
}
