package persist_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/persist"
	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

// versions are the servers whose files are read.
func versions() []string {
	return []string{"redis-6.0", "redis-7.0", "redis-8.0", "redis-8.6", "valkey-8.1", "valkey-9.1"}
}

// persistence are the settings of a server that writes an append only file and
// rewrites it only when it is told to.
func persistence(name, preamble string) []string {
	args := []string{"--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--auto-aof-rewrite-percentage", "0", "--appendfsync", "no"}
	if name != "redis-6.0" {
		args = append(args, "--aof-timestamp-enabled", "yes")
	}
	return args
}

// without is what a server is not sent: the rewriting process of Redis 8.0 and 8.6
// crashes where it is to write a vector set as a command.
func without(preamble string) []traffic.Feature {
	if preamble == "no" {
		return []traffic.Feature{traffic.VectorSet}
	}
	return nil
}

// written is a server that was filled, rewrote its append only file meanwhile, was
// written to again, and then killed.
func written(t *testing.T, name, preamble string, keys, commands int) *sandbox.Server {
	t.Helper()
	s := sandboxtest.Start(t, name, sandbox.Options{Args: persistence(name, preamble)})
	dbs := []int{0, 3, 9}
	if err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: keys, DBs: dbs, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	client := sandboxtest.Client(t, s)
	send := func(seed uint64) {
		t.Helper()
		_, err := traffic.Run(t.Context(), s.Endpoint(), traffic.Options{Seed: seed, Commands: commands, DBs: dbs, Prefix: "t:", Without: without(preamble)})
		if err != nil {
			t.Fatal(err)
		}
	}
	send(1)
	if _, err := client.Do(t.Context(), "BGREWRITEAOF"); err != nil {
		t.Fatal(err)
	}
	send(2)
	awaitRewrite(t, client)
	send(3)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitRewrite returns when the append only file has been rewritten.
func awaitRewrite(t *testing.T, c *server.Client) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		info, err := c.Info(t.Context(), "persistence")
		if err != nil {
			t.Fatal(err)
		}
		if info.Int("aof_rewrite_in_progress")+info.Int("aof_rewrite_scheduled") == 0 {
			if info["aof_last_bgrewrite_status"] != "ok" {
				t.Fatalf("the rewrite ended with %q", info["aof_last_bgrewrite_status"])
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the append only file is not rewritten in time")
		}
	}
}

// copyAOF copies a server's append only file to a directory of its own, and returns
// that and the path to open in it.
func copyAOF(t *testing.T, from string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "appendonlydir")
	if _, err := os.Stat(filepath.Join(from, "appendonlydir")); err != nil {
		path = filepath.Join(dir, "appendonly.aof")
		copyFile(t, filepath.Join(from, "appendonly.aof"), path)
		return dir, path
	}
	if err := os.CopyFS(path, os.DirFS(filepath.Join(from, "appendonlydir"))); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) *persist.Source {
	t.Helper()
	s, err := persist.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// load has a fresh server load what is read from a source, written anew as the one
// file that every version loads: the snapshot, if there is one, and the commands. The
// server takes them as its own. A client could not say all of them, nor work on keys
// whose time has passed.
func load(t *testing.T, name string, s *persist.Source) *sandbox.Server {
	t.Helper()
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "appendonly.aof"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(writeAnew(file, s), file.Close())
	if err != nil {
		t.Fatal(err)
	}
	return sandboxtest.Start(t, name, sandbox.Options{Dir: dir, Args: persistence(name, "yes")})
}

// writeAnew writes a source as one file.
func writeAnew(w io.Writer, s *persist.Source) error {
	out := bufio.NewWriterSize(w, 64<<10)
	if snapshot := s.Snapshot(); snapshot != nil {
		if _, err := io.Copy(out, snapshot); err != nil {
			return err
		}
	}
	var buf []byte
	for {
		command, err := s.Next()
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			return err
		}
		buf = resp.AppendArgs(buf[:0], command.Args...)
		if _, err := out.Write(buf); err != nil {
			return err
		}
	}
}

// mustEqual compares two servers by value and TTL.
func mustEqual(t *testing.T, a, b *sandbox.Server, o audit.Options, atLeast int64) {
	t.Helper()
	report, err := audit.Compare(t.Context(), a.Endpoint(), b.Endpoint(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Equal() || report.Keys < atLeast {
		t.Errorf("%d keys compared, %d differ", report.Keys, report.Different)
		for _, d := range report.Differences[:min(20, len(report.Differences))] {
			t.Log(d)
		}
	}
}

// summary is a description in a line.
func summary(d persist.Description) string {
	var parts []string
	for _, p := range d.Parts {
		parts = append(parts, fmt.Sprintf("%s (%s, %d bytes)", p.File, p.Content, p.Bytes))
	}
	return fmt.Sprintf("%s of %s: %s", d.Kind, d.Version(), strings.Join(parts, ", "))
}

// contents are those of a description's parts.
func contents(d persist.Description) []persist.Content {
	var all []persist.Content
	for _, p := range d.Parts {
		all = append(all, p.Content)
	}
	return slices.Clip(all)
}
