package command_test

import (
	"slices"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// otherwise has the commands of which the Placer knows other than the servers' key
// specs say, and why.
func otherwise() map[string]string {
	return map[string]string{
		"COPY":           "without REPLACE it does nothing to a key that is there, and with DB it is another key",
		"RESTORE":        "without REPLACE it is refused where the key is there",
		"RESTORE-ASKING": "without REPLACE it is refused where the key is there",
		"RENAMENX":       "it does nothing to a key that is there",
		"SETNX":          "it does nothing to a key that is there",
		"MSETNX":         "it does nothing if one of the keys is there",
		"MSETEX":         "NX, XX and KEEPTTL depend on what is there",
		"SET":            "NX, XX, IFEQ and others depend on what is there, KEEPTTL on its TTL",
		"DELIFEQ":        "it depends on the value",
		"SINTERSTORE":    "Redis 7.0 says RW, all others OW; it replaces the destination or deletes it",
		"BITFIELD":       "with nothing but GET it writes nothing, and is not propagated",
	}
}

// neverPropagated are commands that write and have no placing.
func neverPropagated() map[string]string {
	return map[string]string{
		"MIGRATE":    "is propagated as DEL",
		"XREADGROUP": "is propagated as XCLAIM and XGROUP",
	}
}

// TestKeySpecs has each server tell which keys every write has and what it does
// with them, as clients send it (writes.txt) and as it is propagated
// (propagated.txt): that is what the Placer knows from its table, whichever server.
// Every command that COMMAND says may write has a placing.
func TestKeySpecs(t *testing.T) {
	propagated := make(map[string][][][]byte)
	eachPropagated(t, func(from subject, text string) {
		propagated[from.name] = append(propagated[from.name], instance(t, text, from))
	})
	explained := make(map[string]int)
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			k := keySpecs{
				T: t, client: sandboxtest.Client(t, start(t, s)), flags: s.version.AtLeast(7, 0),
				placer: command.NewPlacer(s.capabilities()), explained: explained,
			}
			lines := propagated[s.name]
			for _, line := range lines {
				if _, _, err := k.placer.Place(line); err != nil {
					t.Errorf("%q: %v", line, err)
				}
			}
			writing := k.writing()
			for _, w := range writes(t) {
				name := strings.ToUpper(w.words[0])
				// A script that names no key comes as what it does.
				if named := name != "EVAL" || !strings.HasSuffix(w.text, " 0"); named && writing[name] && neverPropagated()[name] == "" {
					var line [][]byte
					for _, arg := range w.args("payload") {
						line = append(line, []byte(arg.(string)))
					}
					lines = append(lines, line)
				}
			}
			for name := range writing {
				if _, _, err := k.placer.Place([][]byte{[]byte(name)}); err != nil && strings.Contains(err.Error(), "not known") && neverPropagated()[name] == "" {
					t.Error(err)
				}
			}
			for _, line := range lines {
				k.compare(line)
			}
			t.Logf("%d commands write, %d lines", len(writing), len(lines))
		})
	}
	for name, reason := range otherwise() {
		t.Logf("%s: %s (%d lines)", name, reason, explained[name])
		if explained[name] == 0 {
			t.Errorf("%s: no server says otherwise any more", name)
		}
	}
}

// keySpecs are those of a server.
type keySpecs struct {
	*testing.T
	client    *server.Client
	placer    *command.Placer
	flags     bool           // it tells what is done with keys: 7.0
	explained map[string]int // by otherwise
}

// writing are the commands that may write by COMMAND, containers for their
// subcommands, and those that are propagated without that.
func (k *keySpecs) writing() map[string]bool {
	k.Helper()
	reply, err := k.client.Do(k.Context(), "COMMAND")
	if err != nil {
		k.Fatal(err)
	}
	also := []string{"PFCOUNT", "PUBLISH", "SPUBLISH", "SCRIPT", "EVAL", "EVALSHA", "FCALL"}
	all := make(map[string]bool)
	var walk func(reply any)
	walk = func(reply any) {
		list, _ := reply.([]any)
		for _, element := range list {
			fields := element.([]any)
			name, _, _ := strings.Cut(strings.ToUpper(fields[0].(string)), "|")
			flags, _ := fields[2].([]any)
			if slices.Contains(flags, any("write")) || slices.Contains(also, name) {
				all[name] = true
			}
			if len(fields) > 9 {
				walk(fields[9])
			}
		}
	}
	walk(reply)
	return all
}

// ask has the server find the keys of a line, and say what is done with each: RO,
// RW, OW or RM; "" if it does not say, or if there are two that say otherwise.
func (k *keySpecs) ask(line [][]byte) (keys []string, does map[string]string, known bool) {
	k.Helper()
	question := []any{"COMMAND", "GETKEYS"}
	if k.flags {
		question[1] = "GETKEYSANDFLAGS"
	}
	for _, arg := range line {
		question = append(question, arg)
	}
	reply, err := k.client.Do(k.Context(), question...)
	does = make(map[string]string)
	if err != nil {
		if strings.Contains(err.Error(), "no key arguments") || len(line) == 1 {
			return nil, does, true
		}
		if !strings.Contains(err.Error(), "Invalid") { // an option or a command that it does not know
			k.Fatalf("%q: %v", line, err)
		}
		return nil, nil, false
	}
	for _, element := range reply.([]any) {
		fields, ok := element.([]any)
		if !ok {
			keys = append(keys, element.(string))
			continue
		}
		key := fields[0].(string)
		keys = append(keys, key)
		for _, flag := range fields[1].([]any) {
			if slices.Contains([]any{"RO", "RW", "OW", "RM"}, flag) {
				if was := does[key]; was != "" && was != flag {
					flag = ""
				}
				does[key] = flag.(string)
			}
		}
	}
	return keys, does, true
}

func (k *keySpecs) compare(line [][]byte) {
	k.Helper()
	theirs, does, known := k.ask(line)
	if !known {
		return
	}
	positions, err := k.placer.AppendKeyPositions(nil, line)
	if err != nil {
		k.Errorf("%q: %v", line, err)
		return
	}
	var ours []string
	for _, i := range positions {
		ours = append(ours, string(line[i]))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	if !slices.Equal(ours, theirs) {
		k.Errorf("%q: keys %q, the server has %q", line, ours, theirs)
	}
	written, err1 := k.placer.AppendWritten(nil, line)
	read, err2 := k.placer.AppendRead(nil, line)
	if err1 != nil || err2 != nil {
		k.Errorf("%q: %v, %v", line, err1, err2)
	}
	for key, want := range does {
		is := func(other []byte) bool { return string(other) == key }
		var does string
		switch w, r := slices.ContainsFunc(written, is), slices.ContainsFunc(read, is); {
		case w && r:
			does = "RW"
		case w:
			does = "OW or RM"
		case r:
			does = "RO"
		}
		if strings.Contains(does, want) {
			continue
		}
		name := strings.ToUpper(string(line[0]))
		if otherwise()[name] == "" {
			k.Errorf("%q: key %q is %s, the server has %s", line, key, does, want)
		}
		k.explained[name]++
	}
}
