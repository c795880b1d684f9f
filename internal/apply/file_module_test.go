package apply

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// What a module has saved and the target cannot be given is refused with what to do about
// it, before the start and in it. That a module was there, and had nothing to save, is
// nothing to be given.
func TestFileOfAServerWithModules(t *testing.T) {
	t.Parallel()
	// As rdb.c says them: no server at hand writes any.
	const (
		plainKey  = "\x00\x03key\x05value"
		moduleID  = "\x81\x00\x00\x00\x00\x00\x00\x04\x01" // AAAAAAAAB, version 1
		aux       = "\xf7" + moduleID + "\x02\x01"
		moduleKey = "\x07\x06module" + moduleID + "\x02\x07\x00"
	)
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, target)
	for _, tt := range []struct {
		name, elements string
		says, hint     string // that it is refused with; empty if it is loaded
		dropped        int64
	}{
		{"no data", aux + "\x00" + plainKey + aux + "\x00", "", "", 0},
		{"data of no key", aux + "\x05\x03abc\x00" + plainKey, "the module AAAAAAAAB has data that belong to no key", "--drop module", 1},
		{"a key", plainKey + moduleKey, `key "module": rdb: module (AAAAAAAAB) has no equal`, "MODULE LOAD", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var snapshot bytes.Buffer
			w := rdb.NewWriter(&snapshot, rdb.Format{Version: 10}, rdb.WriterOptions{})
			if _, err := w.Write([]byte(tt.elements)); err != nil {
				t.Fatal(err)
			}
			if err := w.End(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "dump.rdb")
			if err := os.WriteFile(path, snapshot.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			c := configureFile(t, path, target)
			found, err := ExamineFile(t.Context(), c, false, 0)
			if err != nil || found.Damage != nil {
				t.Fatalf("%+v, %v", found, err)
			}
			if tt.says == "" {
				if len(found.Refused) > 0 || len(found.Modules) > 0 {
					t.Errorf("%+v", found)
				}
			} else {
				if len(found.Refused) != 1 || !strings.Contains(found.Refused[0].Text, tt.says) || !strings.Contains(found.Refused[0].Hint, tt.hint) {
					t.Errorf("%+v", found.Refused)
				}
				if err := NewFile(c).Run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v", err)
				}
			}
			c.Transcoder.Drop = []rdb.Feature{rdb.FeatureModule}
			if v := loadFile(t, c); v.Keys != 1 || v.Dropped[rdb.FeatureModule] != tt.dropped {
				t.Errorf("%+v", v)
			}
			if got, err := client.Do(t.Context(), "GET", "key"); err != nil || got != "value" {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}
