package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/refresh"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/spool"
	"godwit/internal/topology"
)

// configure is to carry source to a cluster.
func configure(t testing.TB, source *sandbox.Server, target *sandbox.Cluster) Config {
	t.Helper()
	from, err := topology.Inspect(t.Context(), sandboxtest.Client(t, source))
	if err != nil {
		t.Fatal(err)
	}
	to, err := topology.Inspect(t.Context(), sandboxtest.Client(t, target.Nodes()[0]))
	if err != nil {
		t.Fatal(err)
	}
	v := from.Version
	modules := to.LoadsModulesOf(from, nil)
	knows := to.Capabilities()
	knows.Module = modules
	return Config{
		Name: "test", Target: target.Endpoints()[0], Capabilities: knows, Transcoder: rdb.TranscoderOptions{Module: modules},
		Sources: []Source{{
			Endpoint: source.Endpoint(), Capabilities: from.Capabilities(), Version: fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch),
			Now: func() int64 { return time.Now().UnixMilli() }, // they share a clock
		}},
		Spool: spool.Options{Dir: t.TempDir(), MemoryLimit: 16 << 20, DiskLimit: 1 << 30},
		Log:   slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// memory keeps what an engine saves, as a disk would.
type memory struct {
	mu   sync.Mutex
	last []byte
}

func (m *memory) save(p Progress) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	m.last, err = json.Marshal(p)
	return err
}

// load has an engine go on from what was saved.
func (m *memory) load(t testing.TB, c Config) Config {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	c.Save, c.Progress = m.save, Progress{}
	if m.last != nil {
		if err := json.Unmarshal(m.last, &c.Progress); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// run has an engine carry until stop is called, or the test ends.
func run(t testing.TB, e *Engine) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the engine ended: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// caughtUp waits until the target has all that the source has said.
func caughtUp(t testing.TB, e *Engine, source *sandbox.Server) {
	t.Helper()
	client := sandboxtest.Client(t, source)
	until(t, func() (bool, string) {
		info, err := client.Info(t.Context(), "replication")
		if err != nil {
			t.Fatal(err)
		}
		v := e.View()[0]
		return v.State == Streaming && v.Acked >= info.Int("master_repl_offset"), fmt.Sprintf("%+v, source at %d", v, info.Int("master_repl_offset"))
	})
}

func until(t testing.TB, f func() (bool, string)) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		ok, how := f()
		if ok {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("it does not come about: %s", how)
		}
	}
}

// value is what a key has: what it means, and until when.
type value struct {
	digest.Value
	until int64 // milliseconds since 1970
}

// keysOf reads all keys of servers by value, without godwit's own. What one of the
// formats cannot hold does not count.
func keysOf(t *testing.T, formats []rdb.Format, servers ...server.Endpoint) map[string]value {
	t.Helper()
	all := map[string]value{}
	payloads := digest.NewPayloads(digest.Options{NoEntriesRead: true, Formats: formats})
	for _, e := range servers {
		c, err := refresh.Dial(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		here := map[string]value{} // SCAN may give a key twice
		for cursor := uint64(0); ; {
			next, keys, err := c.Scan(t.Context(), 0, cursor, "", 500)
			if err != nil {
				t.Fatal(err)
			}
			var names [][]byte
			for _, k := range keys {
				if !strings.HasPrefix(string(k), "godwit:") {
					names = append(names, bytes.Clone(k))
				}
			}
			values, err := c.Look(t.Context(), 0, names)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				if !v.Exists() {
					continue
				}
				sum, err := payloads.Sum(v.Payload)
				if err != nil {
					t.Fatal(err)
				}
				here[string(v.Key)] = value{sum, v.ExpireAt}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for k, v := range here {
			if _, twice := all[k]; twice {
				t.Errorf("key %q is twice there", k)
			}
			all[k] = v
		}
	}
	return all
}

// formatOf is that of a server's payloads.
func formatOf(t *testing.T, s *sandbox.Server) rdb.Format {
	t.Helper()
	n, err := topology.Inspect(t.Context(), sandboxtest.Client(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return n.RDBFormat()
}

// same compares the source with the cluster, and returns how many keys they have.
// known tells of a difference that is not godwit's doing; nil if there is none.
func same(t *testing.T, source *sandbox.Server, target *sandbox.Cluster, known func(key string, want, got value) bool) int {
	t.Helper()
	formats := []rdb.Format{formatOf(t, source), formatOf(t, target.Nodes()[0])}
	want := keysOf(t, formats, source.Endpoint())
	var endpoints []server.Endpoint
	for i := range target.Shards() {
		n, err := target.Primary(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, n.Endpoint())
	}
	got := keysOf(t, formats, endpoints...)
	found, excused := 0, 0
	report := func(format string, args ...any) {
		if found++; found <= 10 {
			t.Errorf(format, args...)
		}
	}
	for k, v := range want {
		switch w, ok := got[k]; {
		case !ok:
			report("missing: %.100q (slot %d) %+v", k, slot.Of([]byte(k)), v)
		case w == v:
		case known != nil && known(k, v, w):
			excused++
		default:
			report("%.100q: %+v, not %+v", k, w, v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			report("extra: %.100q: %+v", k, v)
		}
	}
	if found+excused > 0 {
		t.Logf("%d differences and %d known ones of %d keys", found, excused, len(want))
	}
	return len(want)
}
