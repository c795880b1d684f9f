package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	return configureServers(t, target.Nodes()[0], source)
}

// configureServers is to carry several sources to a cluster, of which target is a node, or
// to a standalone server.
func configureServers(t testing.TB, target *sandbox.Server, sources ...*sandbox.Server) Config {
	t.Helper()
	from, err := topology.Inspect(t.Context(), sandboxtest.Client(t, sources[0]))
	if err != nil {
		t.Fatal(err)
	}
	to, err := topology.Inspect(t.Context(), sandboxtest.Client(t, target))
	if err != nil {
		t.Fatal(err)
	}
	modules := to.LoadsModulesOf(from, nil)
	knows := to.Capabilities()
	knows.Module = modules
	var described []Source
	for _, s := range sources {
		described = append(described, describe(t, s.Endpoint(), from))
	}
	return Config{
		Name: "test", Target: target.Endpoint(), Capabilities: knows, Transcoder: rdb.TranscoderOptions{Module: modules},
		Sources: described,
		Spool:   spool.Options{Dir: t.TempDir(), MemoryLimit: 16 << 20, DiskLimit: 1 << 30},
		Log:     slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// describe is a server of the same version as another.
func describe(t testing.TB, e server.Endpoint, like topology.Node) Source {
	t.Helper()
	v := like.Version
	return Source{
		Endpoint: e, Capabilities: like.Capabilities(), Version: fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch),
		Now: func() int64 { return time.Now().UnixMilli() }, // they share a clock
	}
}

// configureCluster is to carry a cluster.
func configureCluster(t testing.TB, target *sandbox.Server, source *sandbox.Cluster) Config {
	t.Helper()
	c := configureServers(t, target, source.Nodes()[0])
	like := c.Sources[0]
	c.Sources, c.Cluster = nil, &ClusterSource{
		Find: func(context.Context) (server.Endpoint, error) { return source.Endpoints()[0], nil },
		Describe: func(_ context.Context, e server.Endpoint) (Source, error) {
			s := like
			s.Endpoint = e
			return s, nil
		},
	}
	return c
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

// caughtUp waits until the target has all that the sources have said by now; what a load
// says meanwhile is not waited for.
func caughtUp(t testing.TB, e *Engine, sources ...*sandbox.Server) {
	t.Helper()
	clients := make([]*server.Client, len(sources))
	for i, source := range sources {
		clients[i] = sandboxtest.Client(t, source)
	}
	said := make([]server.Info, len(sources)) // when it was asked first, in its present history
	until(t, func() (bool, string) {
		var how string
		for i, source := range sources {
			info, err := clients[i].Info(t.Context(), "replication")
			if err != nil {
				t.Fatal(err)
			}
			if said[i]["master_replid"] != info["master_replid"] {
				said[i] = info
			}
			offset := said[i].Int("master_repl_offset")
			how = fmt.Sprintf("%s at %d, %+v", source.Address(), offset, e.View())
			if !slices.ContainsFunc(e.View(), func(v View) bool {
				return v.Source == source.Address() && v.State == Streaming && v.Acked >= offset && v.Unsettled == 0
			}) {
				return false, how
			}
		}
		return true, how
	})
}

// caughtUpCluster is caughtUp of a cluster.
func caughtUpCluster(t testing.TB, e *Engine, source *sandbox.Cluster) {
	t.Helper()
	caughtUp(t, e, primaries(t, source)...)
}

// primaries are those of a cluster that have slots.
func primaries(t testing.TB, c *sandbox.Cluster) []*sandbox.Server {
	t.Helper()
	var all []*sandbox.Server
	for i := range c.Shards() {
		slots, err := c.Slots(t.Context(), i)
		if err != nil || len(slots) == 0 {
			continue
		}
		n, err := c.Primary(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func until(t testing.TB, f func() (bool, string)) {
	t.Helper()
	deadline := time.After(90 * time.Second)
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

// keysOf reads all keys of db 0 of servers by value, without godwit's own. What one of the
// formats cannot hold does not count.
func keysOf(t testing.TB, formats []rdb.Format, servers ...server.Endpoint) map[string]value {
	t.Helper()
	return keysIn(t, formats, []int{0}, func(_ int, key []byte) (string, bool) { return string(key), true }, servers...)
}

// keysIn is keysOf of several dbs. name is by what name a key counts, false for one that
// does not.
func keysIn(t testing.TB, formats []rdb.Format, dbs []int, name func(db int, key []byte) (string, bool), servers ...server.Endpoint) map[string]value {
	t.Helper()
	all := map[string]value{}
	payloads := digest.NewPayloads(digest.Options{NoEntriesRead: true, Formats: formats})
	for _, e := range servers {
		c, err := refresh.Dial(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		here := map[string]value{} // SCAN may give a key twice
		for _, db := range dbs {
			for cursor := uint64(0); ; {
				next, keys, err := c.Scan(t.Context(), db, cursor, "", 500)
				if err != nil {
					t.Fatal(err)
				}
				var names [][]byte
				for _, k := range keys {
					if !strings.HasPrefix(string(k), "godwit:") {
						names = append(names, bytes.Clone(k))
					}
				}
				values, err := c.Look(t.Context(), db, names)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range values {
					as, counts := name(db, v.Key)
					if !counts || !v.Exists() {
						continue
					}
					sum, err := payloads.Sum(v.Payload)
					if err != nil {
						t.Fatal(err)
					}
					here[as] = value{sum, v.ExpireAt}
				}
				if cursor = next; cursor == 0 {
					break
				}
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
func formatOf(t testing.TB, s *sandbox.Server) rdb.Format {
	t.Helper()
	n, err := topology.Inspect(t.Context(), sandboxtest.Client(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return n.RDBFormat()
}

// same compares the source with the cluster, and returns how many keys they have.
// known tells of a difference that is not godwit's doing; nil if there is none.
func same(t testing.TB, source *sandbox.Server, target *sandbox.Cluster, known func(key string, want, got value) bool) int {
	t.Helper()
	return sameServers(t, []*sandbox.Server{source}, primaries(t, target), known)
}

// sameServers compares what several servers have with what several others have.
func sameServers(t testing.TB, sources, targets []*sandbox.Server, known func(key string, want, got value) bool) int {
	t.Helper()
	formats := []rdb.Format{formatOf(t, sources[0]), formatOf(t, targets[0])}
	return sameSides(t,
		func() map[string]value { return keysOf(t, formats, endpoints(sources)...) },
		func() map[string]value { return keysOf(t, formats, endpoints(targets)...) }, known)
}

func endpoints(servers []*sandbox.Server) []server.Endpoint {
	var all []server.Endpoint
	for _, s := range servers {
		all = append(all, s.Endpoint())
	}
	return all
}

// sameSides compares what two sides have.
func sameSides(t testing.TB, sources, targets func() map[string]value, known func(key string, want, got value) bool) int {
	t.Helper()
	// A field of a hash whose TTL is over is still in the value until the server sees to it,
	// each in its own time: what differs is read again.
	for again := 10; ; again-- {
		want := sources()
		differing, excused := differences(want, targets(), known)
		if len(differing) > 0 && again > 0 {
			<-time.After(200 * time.Millisecond)
			continue
		}
		for _, text := range differing[:min(10, len(differing))] {
			t.Error(text)
		}
		if n := len(differing) + excused; n > 0 {
			t.Logf("%d differences and %d known ones of %d keys", len(differing), excused, len(want))
		}
		return len(want)
	}
}

// differences are those of two sides, but for those that known tells are not godwit's
// doing, which are counted.
func differences(want, got map[string]value, known func(key string, want, got value) bool) (list []string, excused int) {
	now := time.Now().UnixMilli()
	expired := func(v value) bool { return v.until > 0 && v.until <= now } // between the two readings
	report := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for k, v := range want {
		switch w, ok := got[k]; {
		case !ok && expired(v):
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
		if _, ok := want[k]; !ok && !expired(v) {
			report("extra: %.100q: %+v", k, v)
		}
	}
	return list, excused
}
