package command_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// write is one line of testdata/writes.txt.
type write struct {
	text   string
	title  string // of the part that begins with it, empty within one
	blocks bool   // on a connection of its own
	store  bool   // its reply is what $@ stands for from here on
	words  []string
}

// writes reads testdata/writes.txt.
func writes(t testing.TB) []write {
	t.Helper()
	text, err := os.ReadFile("testdata/writes.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []write
	title := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			title = heading
		}
		if line == "" || line[0] == '#' {
			continue
		}
		w := write{text: line, title: title}
		title = ""
		command, ok := strings.CutPrefix(line, "& ")
		w.blocks = ok
		command, w.store = strings.CutPrefix(command, "@ ")
		if w.words, err = words(command); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, w)
	}
	return all
}

// words splits a line at its spaces, but for those in quotation marks.
func words(line string) ([]string, error) {
	var all []string
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			all, line = append(all, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, err
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		all, line = append(all, word), line[len(quoted):]
	}
	return all, nil
}

// moment is {+seconds} or {+secondsms}, a time from now on.
var moment = regexp.MustCompile(`^\{\+(\d+)(ms)?\}$`)

// args are the arguments with what is only known now.
func (w write) args(stored string) []any {
	args := make([]any, len(w.words))
	for i, word := range w.words {
		if word == "$@" {
			word = stored
		}
		if m := moment.FindStringSubmatch(word); m != nil {
			seconds, _ := strconv.Atoi(m[1]) // digits only
			at := time.Now().Add(time.Duration(seconds) * time.Second)
			word = fmt.Sprint(at.Unix())
			if m[2] != "" {
				word = fmt.Sprint(at.UnixMilli())
			}
		}
		args[i] = word
	}
	return args
}
