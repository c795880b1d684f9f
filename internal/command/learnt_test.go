package command_test

import (
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"godwit/internal/command"
	"godwit/internal/sandbox/sandboxtest"
)

// entry is what COMMAND says of a command that writes.
func entry(name string, subcommands ...any) []any {
	return []any{name, int64(-2), []any{"write"}, int64(1), int64(1), int64(1), []any{}, []any{}, []any{}, subcommands}
}

// replies are what COMMAND DOCS says of some commands, by the protocol.
func replies() map[string]any {
	return map[string]any{
		"RESP2": []any{
			"xgroup", []any{"summary", "A container.", "subcommands", []any{
				"xgroup|create", []any{"arguments", []any{
					[]any{"name", "key", "type", "key", "flags", []any{"optional"}},
					[]any{"name", "options", "type", "block", "arguments", []any{[]any{"name", "mkstream", "token", "MKSTREAM"}}},
				}},
			}},
			"copy", []any{"arguments", []any{[]any{"name", "destination-db", "token", "DB"}, []any{"name", "replace", "token", "REPLACE"}}},
			"debug", []any{"summary", "No arguments."},
		},
		"RESP3": map[any]any{
			"xgroup": map[any]any{"summary": "A container.", "subcommands": map[any]any{
				"xgroup|create": map[any]any{"arguments": []any{
					map[any]any{"name": "key", "type": "key", "flags": []any{"optional"}},
					map[any]any{"name": "options", "type": "block", "arguments": []any{map[any]any{"name": "mkstream", "token": "MKSTREAM"}}},
				}},
			}},
			"copy":  map[any]any{"arguments": []any{map[any]any{"name": "destination-db", "token": "DB"}, map[any]any{"name": "replace", "token": "REPLACE"}}},
			"debug": map[any]any{"summary": "No arguments."},
		},
	}
}

func TestLearnCommands(t *testing.T) {
	c := onRedis(7, 0)
	if err := c.Learnt.Commands([]any{entry("set"), entry("xgroup", entry("xgroup|create")), nil, entry("copy")}); err != nil {
		t.Fatal(err)
	}
	for o, want := range map[command.Option]bool{
		"SET": true, "GET": false, "COPY": true, "XGROUP CREATE": true, "SET PXAT": true, "SET IFEQ": false, "SET NEW": true, "LMOVE": false, "LPOP count": false,
	} {
		if c.Has(o) != want {
			t.Errorf("%s: %v", o, c.Has(o))
		}
	}
	for _, bad := range []any{nil, int64(5), []any{}, []any{int64(5)}, []any{[]any{"set"}}, []any{[]any{int64(1), int64(1), int64(1), int64(1), int64(1), int64(1)}}, []any{nil}} {
		if err := c.Learnt.Commands(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if !c.Has("SET") {
		t.Error("a bad reply is not without effect")
	}
}

func TestLearnDocs(t *testing.T) {
	for name, reply := range replies() {
		c := onRedis(8, 6)
		if err := c.Learnt.Docs(reply); err != nil {
			t.Fatal(name, err)
		}
		for o, want := range map[command.Option]bool{
			"XGROUP CREATE": true, "XGROUP CREATECONSUMER": false, "XGROUP MKSTREAM": true, "XGROUP CREATE MKSTREAM": true, "XGROUP ENTRIESREAD": false,
			"COPY DB": true, "COPY REPLACE": true, "COPY NEW": false, "COPY": true,
			"XCLAIM of a deleted entry": true, "SET IFEQ": true, "DEBUG NEW": true,
		} {
			if c.Has(o) != want {
				t.Errorf("%s: %s: %v", name, o, c.Has(o))
			}
		}
	}
	var l command.Learnt
	for _, bad := range []any{
		nil, "docs", int64(1), []any{"set"}, []any{int64(1), int64(2)}, []any{"set", "text"}, map[any]any{int64(1): nil},
		[]any{"set", []any{"arguments", "text"}}, []any{"set", []any{"arguments", []any{"text"}}}, []any{"set", []any{"subcommands", nil}},
		[]any{"set", []any{"arguments", []any{[]any{"arguments", int64(1)}}}},
	} {
		if err := l.Docs(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// TestBothProtocols asks a server in each protocol, through the library.
func TestBothProtocols(t *testing.T) {
	s := subjects()[3]
	e := start(t, s).Endpoint()
	var asked []command.Capabilities
	for _, protocol := range []int{2, 3} {
		c := redis.NewClient(&redis.Options{Addr: e.Address, Protocol: protocol, DisableIdentity: true})
		t.Cleanup(func() { _ = c.Close() })
		capabilities := s.capabilities()
		reply, err := c.Do(t.Context(), "COMMAND").Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := capabilities.Learnt.Commands(reply); err != nil {
			t.Fatal(err)
		}
		if reply, err = c.Do(t.Context(), docs(&capabilities)...).Result(); err != nil {
			t.Fatal(err)
		}
		if err := capabilities.Learnt.Docs(reply); err != nil {
			t.Fatalf("RESP%d: %v", protocol, err)
		}
		asked = append(asked, capabilities)
	}
	old := subjects()[0].capabilities()
	if a, b := command.Lacking(&asked[0], &old), command.Lacking(&asked[1], &old); !slices.Equal(a, b) || len(a) == 0 {
		t.Errorf("by RESP2 %q, by RESP3 %q", a, b)
	}
}

func TestUnderstands(t *testing.T) {
	listing := func(c command.Capabilities, names ...string) command.Capabilities {
		var reply []any
		for _, name := range names {
			reply = append(reply, entry(name))
		}
		if err := c.Learnt.Commands(reply); err != nil {
			t.Fatal(err)
		}
		return c
	}
	documenting := func(c command.Capabilities, tokens ...string) command.Capabilities {
		var arguments []any
		for _, token := range tokens {
			arguments = append(arguments, []any{"name", "x", "token", token})
		}
		if err := c.Learnt.Docs([]any{"set", []any{"arguments", arguments}}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	refusing := onRedis(7, 0)
	refusing.Format.Refused.AddType(16)
	redis72, newer := onRedis(7, 2), onRedis(9, 0)
	redis72.Format = onRedis(7, 0).Format
	newer.Format = onRedis(8, 6).Format
	for name, test := range map[string]struct {
		from, to command.Capabilities
		want     bool
	}{
		"an older one":                       {onRedis(6, 0), onRedis(7, 0), true},
		"from before the fork":               {onRedis(7, 0), onValkey(8, 1), true},
		"a newer one":                        {onRedis(7, 0), onRedis(6, 0), false},
		"a newer one with nothing new":       {redis72, onRedis(7, 0), true},
		"beyond the tables":                  {newer, onRedis(8, 6), false},
		"beyond the tables, but documented":  {documenting(newer, "NX"), documenting(onRedis(8, 6), "NX", "XX", "IFEQ"), true},
		"the same, with a module":            {listing(onRedis(7, 0), "set", "json.set"), listing(onRedis(7, 0), "set"), false},
		"a module's commands, not asked for": {listing(onRedis(7, 0), "set", "json.set"), onRedis(7, 0), false},
		"the same, with another module":      {listing(onRedis(7, 0), "set"), listing(onRedis(7, 0), "set", "json.set"), true},
		"an option of tomorrow":              {documenting(listing(onRedis(7, 0), "set"), "TOMORROW"), documenting(listing(onRedis(7, 0), "set"), "GET"), false},
		"a patched server":                   {documenting(listing(onRedis(7, 0), "set"), "IFEQ"), documenting(listing(onRedis(7, 0), "set"), "IFEQ", "GET"), true},
		"a type that is refused":             {onRedis(7, 0), refusing, false},
	} {
		if got := command.Understands(&test.to, &test.from); got != test.want {
			t.Errorf("%s: %v, lacking %q", name, got, command.Lacking(&test.from, &test.to))
		}
	}
}

// TestFingerprint sees that it stays the same as long as what is learnt does.
func TestFingerprint(t *testing.T) {
	var asked []command.Capabilities
	for _, s := range subjects() {
		asked = append(asked, s.asked(t, sandboxtest.Client(t, start(t, s))))
	}
	for i := range asked {
		for j := range asked {
			f := command.Fingerprint(&asked[i], &asked[j])
			if again := command.Fingerprint(&asked[i], &asked[j]); f != again || len(f) != 16 {
				t.Errorf("%q, then %q", f, again)
			}
			unasked := asked[j]
			unasked.Learnt = command.Learnt{}
			if command.Fingerprint(&asked[i], &unasked) == f {
				t.Errorf("%v to %v: a permission that is lost does not show", asked[i].Version, asked[j].Version)
			}
		}
	}
}
