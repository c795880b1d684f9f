// Package layers holds the map of the packages, and the test that guards it.
package layers

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// layers from the bottom up. A package imports only packages of layers below
// its own, never one of its own layer.
var layers = [][]string{
	{"internal/resp", "internal/rdb", "internal/glob", "internal/slot", "internal/lag"},
	{"internal/command", "internal/digest", "internal/route", "internal/reserved", "internal/divide"},
	{"internal/server"},
	{"internal/topology", "internal/psync", "internal/spool", "internal/refresh", "internal/persist", "internal/census"},
	{"internal/plan", "internal/hold"},
	{"internal/relay", "internal/apply", "internal/cutover", "internal/verify"},
	{"internal/migrate"},
	{"internal/status"},
	{"cmd/godwit"},
}

// support is what tests, the demo and the benchmarks stand on. Only cmd/ and
// tests import it, and it knows nothing of the layers above server.
var support = []string{
	"internal/sandbox", "internal/sandbox/sandboxtest", "internal/load", "internal/audit",
	"internal/dataset", "internal/faultproxy", "internal/traffic", "internal/shards",
}

// supportMay is what support packages import of the layers.
var supportMay = []string{"internal/resp", "internal/server", "internal/slot"}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestImportsGoDownwardsOnly(t *testing.T) {
	level := make(map[string]int)
	for i, names := range layers {
		for _, name := range names {
			level[name] = i
		}
	}
	isSupport := func(name string) bool {
		for _, s := range support {
			if s == name {
				return true
			}
		}
		return false
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "godwit/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, "godwit/")
		own, known := level[name]
		// A package below a listed one belongs to its layer.
		for parent := name; !known && strings.Contains(parent, "/"); {
			parent = parent[:strings.LastIndexByte(parent, '/')]
			own, known = level[parent]
		}
		if name == "internal/layers" || strings.HasPrefix(name, "bench") || strings.HasPrefix(name, "test/") {
			continue
		}
		if !known && !isSupport(name) {
			t.Errorf("%s is in no layer: add it to the map in this file and to ARCHITECTURE.md", name)
			continue
		}
		seen++
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, "godwit/")
			if !ours {
				continue
			}
			switch {
			case isSupport(name):
				if !isSupport(imported) && !contains(supportMay, imported) {
					t.Errorf("%s is test support and imports %s: it may know %v only", name, imported, supportMay)
				}
			case isSupport(imported):
				if !strings.HasPrefix(name, "cmd/") {
					t.Errorf("%s imports %s: only cmd/ and tests stand on test support", name, imported)
				}
			case strings.HasPrefix(imported, name+"/"): // its own subpackage
			case level[imported] >= own:
				t.Errorf("%s (layer %d) imports %s (layer %d): imports go downwards only", name, own+1, imported, level[imported]+1)
			}
		}
	}
	if want := 12; seen < want {
		t.Errorf("only %d packages were checked, want at least %d", seen, want)
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
