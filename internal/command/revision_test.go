package command_test

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"os"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/rdb"
)

// TestRevision holds that no command becomes something else without another
// Revision: a link goes on from the checkpoint of an earlier godwit as long as the
// two have the same. testdata/revision.txt has a hash for each command, over what it
// becomes between each two servers.
func TestRevision(t *testing.T) {
	const path = "testdata/revision.txt"
	now, order := results(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	title, rest, _ := strings.Cut(string(data), "\n")
	of := 0
	if _, err := fmt.Sscanf(title, "revision %d", &of); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if of == command.Revision {
		for line := range strings.Lines(rest) {
			was, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if is, ok := now[text]; ok && is != was {
				t.Errorf("%s: becomes something else than before: raise command.Revision, then go test -run TestRevision -update", text)
			}
		}
	}
	if t.Failed() {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d\n", command.Revision)
	for _, text := range order {
		fmt.Fprintf(&b, "%s %s\n", now[text], text)
	}
	golden(t, path, b.String())
}

// results are the hashes by command, and the commands in order: those that
// testdata/propagated.txt has, from whichever server propagates them so.
func results(t *testing.T) (hashes map[string]string, order []string) {
	t.Helper()
	digests := make(map[string]hash.Hash)
	rewriters := pairsOfRewriters()
	eachPropagated(t, func(from subject, text string) {
		d, known := digests[text]
		if !known {
			d = sha256.New()
			digests[text], order = d, append(order, text)
		}
		list := instance(t, text, from)
		for _, r := range rewriters[from.name] {
			r.Reset(3)
			out, verdict, err := r.Rewrite(nil, list)
			fmt.Fprintf(d, "%d %t %q\n", verdict, err != nil, out)
		}
	})
	hashes = make(map[string]string)
	for text, d := range digests {
		hashes[text] = fmt.Sprintf("%.8x", d.Sum(nil))
	}
	return hashes, order
}

// eachPropagated goes through the commands of testdata/propagated.txt and the
// servers that propagate them.
func eachPropagated(t *testing.T, each func(from subject, text string)) {
	t.Helper()
	data, err := os.ReadFile("testdata/propagated.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		form, names, _ := strings.Cut(strings.TrimSuffix(line, "]\n"), "   [")
		form, ok := strings.CutPrefix(form, "    ")
		if !ok || form == "-" {
			continue
		}
		for _, from := range subjects() {
			if names != "all" && !strings.Contains(names, from.name) {
				continue
			}
			for text := range strings.SplitSeq(form, " ; ") {
				each(from, text)
			}
		}
	}
}

// pairsOfRewriters are, by the name of the source, those for each target, without
// and with what may be dropped.
func pairsOfRewriters() map[string][]*command.Rewriter {
	all := make(map[string][]*command.Rewriter)
	for _, from := range subjects() {
		for _, to := range subjects() {
			for _, drop := range [][]rdb.Feature{nil, features()} {
				o := command.Options{Drop: drop, Now: func() int64 { return clock }}
				all[from.name] = append(all[from.name], command.NewRewriter(from.capabilities(), to.capabilities(), o))
			}
		}
	}
	return all
}

// instance is a command of propagated.txt with something in its gaps.
func instance(t *testing.T, text string, from subject) [][]byte {
	t.Helper()
	value := "\x00\x01v" // a string
	if strings.HasPrefix(strings.ToUpper(text), "FUNCTION") {
		value = "" // no library
	}
	gaps := strings.NewReplacer("{ms}", "1800000000000", "{s}", "1800000000", "{n}", "0", "{random}", "m",
		"{code}", "#!lua name=l\nserver.call('PING')",
		"{payload}", string(rdb.AppendDumpFooter([]byte(value), 0, from.format, rdb.NewCRC64())))
	list := args(t, text)
	for i, arg := range list {
		list[i] = []byte(gaps.Replace(string(arg)))
	}
	return list
}
