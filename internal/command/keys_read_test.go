package command_test

import (
	"fmt"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// forms are commands whose keys are not simply where COMMAND says.
func forms() []string {
	return []string{
		"MGET a b c", "EXISTS a b", "TOUCH a", "WATCH a b", "SINTER a b", "SDIFF a b", "SUNION a", "BLPOP a b 1", "BRPOP a 1",
		"BZPOPMIN a b 1", "BZPOPMAX a 1", "BRPOPLPUSH a b 1", "EVAL x 2 a b c", "EVAL_RO x 1 a b", "EVALSHA_RO x 0", "FCALL_RO f 2 a b c",
		"ZUNION 2 a b WEIGHTS 1 2", "ZINTER 1 a", "ZDIFF 2 a b", "ZINTERCARD 2 a b LIMIT 1", "SINTERCARD 2 a b", "LMPOP 2 a b LEFT",
		"BLMPOP 1 2 a b LEFT", "BZMPOP 1 1 a MIN", "ZMPOP 2 a b MAX", "SORT_RO a BY w_*", "XREAD COUNT 2 STREAMS a b 0 0",
		"XREAD BLOCK 5 STREAMS a $", "XREADGROUP GROUP g c COUNT 1 STREAMS a b > >", "XREADGROUP GROUP STREAMS streams NOACK STREAMS a >",
		"MIGRATE h 1 a 0 10", "MIGRATE h 1 {empty} 0 10 KEYS a b", "MIGRATE h 1 {empty} 0 10 COPY AUTH p KEYS a",
		"OBJECT ENCODING a", "XINFO STREAM a FULL", "XINFO CONSUMERS a g", "MEMORY USAGE a SAMPLES 5",
		"LCS a b LEN", "MSETEX 2 a 1 b 2 EX 5", "GEORADIUS_RO a 1 1 1 km", "HGETALL a", "XRANGE a - +",
	}
}

// TestKeysAreTheServers compares the keys that are found with and without what the
// server says of its commands with those that COMMAND GETKEYS finds.
func TestKeysAreTheServers(t *testing.T) {
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			client := sandboxtest.Client(t, sandboxtest.Start(t, s.name, sandbox.Options{}))
			asked, tables := s.asked(t, client), s.capabilities()
			if s.name == "redis-6.0" {
				if got := join(asked.AppendKeys(nil, args(t, "STRALGO LCS KEYS a b LEN"))); got != "a b" {
					t.Errorf("STRALGO: %s", got)
				}
			}
			compared := 0
			for _, form := range forms() {
				list := args(t, form)
				question := []any{"COMMAND", "GETKEYS"}
				for i := range list {
					if string(list[i]) == "{empty}" {
						list[i] = nil
					}
					question = append(question, list[i])
				}
				reply, err := client.Do(t.Context(), question...)
				if server.IsCode(err, "ERR") && !asked.KnowsKeysOf(list[0]) {
					continue // the server does not have the command
				}
				want := ""
				if err == nil {
					keys, _ := reply.([]any)
					want = strings.Trim(fmt.Sprint(keys), "[]")
				} else if !strings.Contains(err.Error(), "no key arguments") {
					if s.name == "redis-6.0" {
						continue // it fails for some commands that it finds no keys of
					}
					t.Fatalf("%s: %v", form, err)
				}
				compared++
				for _, c := range []command.Capabilities{asked, tables} {
					if got := join(c.AppendKeys(nil, list)); got != want || !c.KnowsKeysOf(list[0]) {
						t.Errorf("%s: keys %q, the server says %q", form, got, want)
					}
				}
			}
			if compared < 15 {
				t.Errorf("only %d commands were compared", compared)
			}
			for _, name := range asked.Learnt.Names() {
				lower := []byte(strings.ToLower(name))
				list := [][]byte{lower, []byte("1"), []byte("2"), []byte("3"), []byte("4")}
				if got, want := join(tables.AppendKeys(nil, list)), join(asked.AppendKeys(nil, list)); got != want || !tables.KnowsKeysOf(lower) {
					t.Errorf("%s: by the tables %q, by the server %q", name, got, want)
				}
			}
			if asked.KnowsKeysOf([]byte("made-up")) || tables.KnowsKeysOf([]byte("made-up")) {
				t.Error("a command that nobody has is known")
			}
		})
	}
}

func join(keys [][]byte) string {
	list := make([]string, len(keys))
	for i, key := range keys {
		list[i] = string(key)
	}
	return strings.Join(list, " ")
}
