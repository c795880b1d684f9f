package apply

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/persist"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/topology"
	"godwit/internal/traffic"
)

// saving are the settings of a server that writes an append only file, and rewrites it
// only when it is told to.
func saving(preamble string) []string {
	return []string{"--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--auto-aof-rewrite-percentage", "0", "--appendfsync", "no", "--save", ""}
}

// fileOf says what is to be in a file.
type fileOf struct {
	server, preamble string
	keys, commands   int
	dbs              []int
	without          []traffic.Feature
}

// savedBy is a server that was filled, rewrote its append only file meanwhile, was written
// to again, and then killed.
func savedBy(t *testing.T, f fileOf) *sandbox.Server {
	t.Helper()
	s := sandboxtest.Start(t, f.server, sandbox.Options{Args: saving(f.preamble)})
	lacks := func(x traffic.Feature) bool { return slices.Contains(f.without, x) }
	err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{
		Keys: f.keys, DBs: f.dbs, Seed: 1, NoFieldTTLs: lacks(traffic.HashFieldTTL), NoFunctions: lacks(traffic.Function),
	})
	if err != nil {
		t.Fatal(err)
	}
	// Of a vector set a rewrite crashes. What XADD IDMP says to replicas no client may say.
	without := append([]traffic.Feature{traffic.StreamIDMP}, f.without...)
	if f.preamble == "no" {
		without = append(without, traffic.VectorSet)
	}
	send := func(seed uint64) {
		t.Helper()
		if _, err := traffic.Run(t.Context(), s.Endpoint(), traffic.Options{Seed: seed, Commands: f.commands, DBs: f.dbs, Prefix: "t:", Without: without}); err != nil {
			t.Fatal(err)
		}
	}
	send(1)
	rewritten := rewriting(t, s)
	send(2)
	rewritten()
	send(3)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	return s
}

// rewriting begins to rewrite the append only file of a server; done waits for its end.
func rewriting(t *testing.T, s *sandbox.Server) (done func()) {
	t.Helper()
	client := sandboxtest.Client(t, s)
	if _, err := client.Do(t.Context(), "BGREWRITEAOF"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		until(t, func() (bool, string) {
			info, err := client.Info(t.Context(), "persistence")
			if err != nil {
				t.Fatal(err)
			}
			return info.Int("aof_rewrite_in_progress")+info.Int("aof_rewrite_scheduled") == 0, "rewriting the append only file"
		})
	}
}

// copyOfAOF copies a server's append only file, and returns the path to open.
func copyOfAOF(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := os.Stat(filepath.Join(from, "appendonlydir")); err == nil {
		if err := os.CopyFS(filepath.Join(dir, "appendonlydir"), os.DirFS(filepath.Join(from, "appendonlydir"))); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "appendonlydir")
	}
	text, err := os.ReadFile(filepath.Join(from, "appendonly.aof"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "appendonly.aof"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "appendonly.aof")
}

// configureFile is to carry a file to a server, or to the cluster that it is a node of.
func configureFile(t *testing.T, path string, target *sandbox.Server) FileConfig {
	t.Helper()
	s, err := persist.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	described := s.Describe()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	to, err := topology.Inspect(t.Context(), sandboxtest.Client(t, target))
	if err != nil {
		t.Fatal(err)
	}
	knows := to.Capabilities()
	knows.Module = func(id rdb.ModuleID) bool {
		return id.Name() == topology.VectorSets && to.HasModule(topology.VectorSets)
	}
	return FileConfig{
		Name: "test", Path: path, Target: target.Endpoint(), Capabilities: knows, Written: WordsOf(described, knows),
		Transcoder: rdb.TranscoderOptions{Module: knows.Module},
		Log:        slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// fileMemory keeps what a FileEngine saves, as a disk would.
type fileMemory struct {
	mu   sync.Mutex
	last []byte
}

// load has an engine go on from what was saved.
func (m *fileMemory) load(t *testing.T, c FileConfig) FileConfig {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	c.Progress = FileProgress{}
	if m.last != nil {
		if err := json.Unmarshal(m.last, &c.Progress); err != nil {
			t.Fatal(err)
		}
	}
	c.Save = func(p FileProgress) (err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.last, err = json.Marshal(p)
		return err
	}
	return c
}

// loadFile carries a file to its end.
func loadFile(t *testing.T, c FileConfig) FileView {
	t.Helper()
	e := NewFile(c)
	if err := e.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e.View()
}

// equalToFile compares what servers have with the server that has written the file and
// was started again with it.
func equalToFile(t *testing.T, written *sandbox.Server, targets []*sandbox.Server, o audit.Options, atLeast int64) {
	t.Helper()
	var endpoints []server.Endpoint
	for _, s := range targets {
		endpoints = append(endpoints, s.Endpoint())
	}
	for again := 20; ; again-- {
		report, err := audit.CompareSets(t.Context(), []server.Endpoint{written.Endpoint()}, endpoints, o)
		if err != nil {
			t.Fatal(err)
		}
		if report.Equal() && report.Keys >= atLeast {
			t.Logf("%d keys are equal", report.Keys)
			return
		}
		if again > 0 && report.Different > 0 { // what expires does so in each server's own time
			<-time.After(100 * time.Millisecond)
			continue
		}
		t.Errorf("%d keys compared, %d differ", report.Keys, report.Different)
		for _, d := range report.Differences[:min(20, len(report.Differences))] {
			t.Log(d)
		}
		return
	}
}
