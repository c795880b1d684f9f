package command_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/rdb"
)

// ofModule is what COMMAND says of a module's command.
func ofModule(name string, flags ...any) []any {
	e := entry(name)
	e[2] = append(flags, "module")
	return e
}

// A module's command passes where the target loads what the module holds, and is else
// named, whether the target knows it or not; those of vector sets have rules of their own.
func TestModuleCommands(t *testing.T) {
	listing := func(c command.Capabilities, entries ...any) command.Capabilities {
		t.Helper()
		if err := c.Learnt.Commands(append(entries, entry("set"), entry("del"))); err != nil {
			t.Fatal(err)
		}
		return c
	}
	source := listing(onRedis(8, 0), ofModule("ft.sugadd", "write"), ofModule("ft.search", "readonly"), ofModule("vadd", "write"))
	loads := func(c command.Capabilities, modules bool) command.Capabilities {
		c.Module = func(id rdb.ModuleID) bool { return modules || id.Name() == "vectorset" }
		return c
	}
	same := listing(onRedis(8, 0), ofModule("ft.sugadd", "write"), ofModule("ft.search", "readonly"), ofModule("vadd", "write"))
	without := listing(onRedis(8, 0), ofModule("vadd", "write"))
	add := [][]byte{[]byte("ft.sugadd"), []byte("k"), []byte("term"), []byte("1")}
	for name, test := range map[string]struct {
		target  command.Capabilities
		lacking []command.Option
	}{
		"has it":             {loads(same, true), nil},
		"at another version": {loads(same, false), []command.Option{"FT.SUGADD"}},
		"without it":         {loads(without, false), []command.Option{"FT.SUGADD"}},
	} {
		if got := command.Lacking(&source, &test.target); !slices.Equal(got, test.lacking) {
			t.Errorf("%s: it lacks %v, want %v", name, got, test.lacking)
		}
		if got := command.Understands(&test.target, &source); got != (test.lacking == nil) {
			t.Errorf("%s: understands: %v", name, got)
		}
		_, verdict, err := command.NewRewriter(source, test.target, command.Options{}).Rewrite(nil, add)
		var noEqual *command.NoEqualError
		switch {
		case test.lacking == nil:
			if verdict != command.Pass || err != nil {
				t.Errorf("%s: %v, %v", name, verdict, err)
			}
		case !errors.As(err, &noEqual) || noEqual.Feature != rdb.FeatureModule || !strings.Contains(err.Error(), `FT.SUGADD (module) of db 0, key "k"`):
			t.Errorf("%s: %v", name, err)
		}
		dropping := command.NewRewriter(source, test.target, command.Options{Drop: []rdb.Feature{rdb.FeatureModule}})
		out, verdict, err := dropping.Rewrite(nil, add)
		if left := dropping.Dropped()[rdb.FeatureModule]; err != nil || len(out) > 0 || (verdict == command.Replace) != (test.lacking != nil) || left != int64(len(test.lacking)) {
			t.Errorf("%s, dropping: %q, %v, %v, %d left out", name, out, verdict, err, left)
		}
		vadd := [][]byte{[]byte("VADD"), []byte("k"), []byte("VALUES"), []byte("1"), []byte("1"), []byte("a")}
		if _, verdict, err := dropping.Rewrite(nil, vadd); verdict != command.Pass || err != nil {
			t.Errorf("%s: VADD %v, %v", name, verdict, err)
		}
	}
	has, other := loads(same, true), loads(same, false)
	if command.Fingerprint(&source, &has) == command.Fingerprint(&source, &other) {
		t.Error("the same fingerprint whether modules load or not")
	}
}
