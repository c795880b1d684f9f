package command_test

import (
	"bytes"
	"testing"

	"godwit/internal/command"
)

// What is left of a command without some of its keys has what belongs to the others, and all
// options.
func TestKeep(t *testing.T) {
	placer := command.NewPlacer(command.Capabilities{})
	for line, want := range map[string]string{
		"DEL a1 b a2":                   "DEL a1 a2",
		"UNLINK b a1":                   "UNLINK a1",
		"MSET b 1 a1 2 b2 3 a2 4":       "MSET a1 2 a2 4",
		"MSETNX a1 a b a2":              "MSETNX a1 a",
		"MSETEX 3 a1 1 b 2 a2 3 EX 100": "MSETEX 2 a1 1 a2 3 EX 100",
		"RENAME a1 b":                   "", // it is not taken apart
		"SUNIONSTORE a1 a2 b":           "",
		"FLUSHALL":                      "",
	} {
		kept, ok := placer.Keep(bytes.Fields([]byte(line)), func(key []byte) bool { return key[0] == 'a' })
		if got := string(bytes.Join(kept, []byte(" "))); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v, want %q", line, got, ok, want)
		}
	}
}
