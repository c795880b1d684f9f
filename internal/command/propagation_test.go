package command_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the files of testdata anew")

// TestPropagation sees what each server propagates of each write, and compares it
// with testdata/propagated.txt: that is what the rewriting rests on.
func TestPropagation(t *testing.T) {
	all := writes(t)
	began := time.Now()
	results := make([][]done, len(subjects()))
	for i, s := range subjects() {
		results[i] = record(t, start(t, s)).play(all)
	}
	var b strings.Builder
	b.WriteString("# Written by TestPropagation: each line of writes.txt, and below it what the servers\n" +
		"# propagate of it. {ms} is a time in milliseconds, {s} in seconds,\n" +
		"# {random} a choice of the server, {payload} of DUMP. A dash stands\n" +
		"# for nothing. Servers that do not know the command, or the option, are left out.\n")
	all = append(all, write{text: "expiry", title: "what has expired meanwhile"})
	for line, w := range all {
		if w.title != "" {
			fmt.Fprintf(&b, "\n## %s\n", w.title)
		}
		fmt.Fprintf(&b, "%s\n", w.text)
		var forms []string
		servers := make(map[string][]string)
		for i, s := range subjects() {
			d := results[i][line]
			if d.err != nil && len(d.propagated) == 0 {
				continue
			}
			form := normal(d, began)
			if servers[form] == nil {
				forms = append(forms, form)
			}
			servers[form] = append(servers[form], s.name)
		}
		for _, form := range forms {
			names := strings.Join(servers[form], ", ")
			if len(servers[form]) == len(subjects()) {
				names = "all"
			}
			fmt.Fprintf(&b, "    %s   [%s]\n", form, names)
		}
	}
	golden(t, "testdata/propagated.txt", b.String())
}

// golden compares a text with a file, or writes it.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == text {
		return
	}
	old, now := strings.Split(string(want), "\n"), strings.Split(text, "\n")
	for i := range min(len(old), len(now)) {
		if old[i] != now[i] {
			t.Errorf("%s:%d: is now\n%s\nand was\n%s", path, i+1, now[i], old[i])
			return
		}
	}
	t.Errorf("%s has %d lines, and had %d", path, len(now), len(old))
}

var generatedID = regexp.MustCompile(`^(\d{13})-(\d+)$`)

// normal is what was propagated, without what is different each time.
func normal(d done, began time.Time) string {
	var all []string
	for _, p := range d.propagated {
		var words []string
		random := strings.HasPrefix(d.text, "SPOP sadd:1") || strings.HasPrefix(d.text, "SPOP spop:3") || d.text == "EXEC"
		for i, arg := range p.args {
			word := string(arg)
			name := strings.ToUpper(string(p.args[0]))
			switch {
			case random && name == "SREM" && i >= 2:
				if i > 2 {
					continue
				}
				word = "{random}"
			case strings.HasPrefix(name, "RESTORE") && i == 3, name == "FUNCTION" && i == 2 && string(p.args[1]) == "RESTORE":
				word = "{payload}"
			case name == "FUNCTION" && strings.HasPrefix(word, "#!"):
				word = "{code}"
			case generatedID.MatchString(word):
				word = "{ms}-{n}" // n counts within a millisecond
			default:
				word = normalTime(word, began)
			}
			if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r > '~' }) {
				word = strconv.Quote(word)
			}
			words = append(words, word)
		}
		all = append(all, strings.Join(words, " "))
	}
	if len(all) == 0 {
		return "-"
	}
	if d.text == "expiry" {
		slices.Sort(all)
	}
	if len(all) > 3 { // SPOP and XREADGROUP of many
		all = slices.CompactFunc(all, func(a, b string) bool { return a == b })
	}
	return strings.Join(all, " ; ")
}

func normalTime(word string, began time.Time) string {
	n, err := strconv.ParseInt(word, 10, 64)
	const near = 100 * 24 * 3600
	switch now := began.Unix(); {
	case err != nil:
		return word
	case n/1000 > now-near && n/1000 < now+near:
		return "{ms}"
	case n > now-near && n < now+near:
		return "{s}"
	}
	return word
}
