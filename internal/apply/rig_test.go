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
	"godwit/internal/refresh"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/spool"
	"godwit/internal/topology"
)

// configure is to carry source to a cluster.
func configure(t *testing.T, source *sandbox.Server, target *sandbox.Cluster) Config {
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
	return Config{
		Name: "test", Target: target.Endpoints()[0], Capabilities: to.Capabilities(),
		Sources: []Source{{
			Endpoint: source.Endpoint(), Capabilities: from.Capabilities(), Version: fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch),
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
func (m *memory) load(t *testing.T, c Config) Config {
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
func run(t *testing.T, e *Engine) (stop func()) {
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
func caughtUp(t *testing.T, e *Engine, source *sandbox.Server) {
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

func until(t *testing.T, f func() (bool, string)) {
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

// keysOf reads all keys of servers by value, without godwit's own.
func keysOf(t *testing.T, servers ...server.Endpoint) map[string]string {
	t.Helper()
	all := map[string]string{}
	payloads := digest.NewPayloads(digest.Options{NoEntriesRead: true})
	for _, e := range servers {
		c, err := refresh.Dial(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
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
				if _, twice := all[string(v.Key)]; twice && cursor == 0 {
					t.Errorf("key %q is twice there", v.Key)
				}
				all[string(v.Key)] = fmt.Sprintf("%+v until %d", sum, v.ExpireAt)
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return all
}

// same compares the source with the cluster.
func same(t *testing.T, source *sandbox.Server, target *sandbox.Cluster) int {
	t.Helper()
	want := keysOf(t, source.Endpoint())
	var endpoints []server.Endpoint
	for i := range target.Shards() {
		n, err := target.Primary(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		endpoints = append(endpoints, n.Endpoint())
	}
	got := keysOf(t, endpoints...)
	shown := 0
	report := func(format string, args ...any) {
		if shown++; shown <= 10 {
			t.Errorf(format, args...)
		}
	}
	for k, v := range want {
		switch w, ok := got[k]; {
		case !ok:
			report("missing: %q (slot %d) %s", k, slot.Of([]byte(k)), v)
		case w != v:
			report("%q: %s, not %s", k, w, v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			report("extra: %q: %s", k, v)
		}
	}
	if shown > 0 {
		t.Errorf("%d differences of %d keys", shown, len(want))
	}
	return len(want)
}
