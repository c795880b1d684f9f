package matrix

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/migrate"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

// patience is how long anything may take.
const patience = 90 * time.Second

// migration is one between two servers of its own, under way in this process.
// Its methods fail with what went wrong: an *endedError if the run gave up.
type migration struct {
	t              *testing.T
	source, target *host

	m      *migrate.Migration
	cancel context.CancelFunc
	done   chan error // what Run returned; put back by who reads it
}

// host is a server, what it can hold and how many commands it was sent.
type host struct {
	*sandbox.Server
	name   string
	client *server.Client
	holds  []traffic.Feature
	format int  // of vector sets, by the version number: a newer one is not loaded by an older server
	older  bool // before 7.0: TTLs in its stream are relative
	vague  bool // Redis 7.0: does not replicate how many entries a group has read
	rounds uint64
}

func newHost(t *testing.T, name string) *host {
	t.Helper()
	s := sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}})
	h := &host{Server: s, name: name, client: sandboxtest.Client(t, s)}
	info, err := h.client.Info(t.Context(), "server")
	if err != nil {
		t.Fatal(err)
	}
	v := info.Version()
	h.format = v.Major*100 + v.Minor
	h.older = !v.AtLeast(7, 0)
	h.vague = v.Product == server.Redis && v.AtLeast(7, 0) && !v.AtLeast(7, 1)
	if h.holds, err = traffic.Held(t.Context(), h.client); err != nil {
		t.Fatal(err)
	}
	return h
}

// carries tells whether data of a feature can go from one server to the other.
func carries(from, to *host, f traffic.Feature) bool {
	switch {
	case !slices.Contains(from.holds, f) || !slices.Contains(to.holds, f):
		return false
	case f == traffic.VectorSet:
		return from.format <= to.format
	case f == traffic.GeoStore:
		return from.older == to.older
	default:
		return true
	}
}

// endedError says that a run has ended by itself.
type endedError struct{ err error }

func (e *endedError) Error() string { return fmt.Sprintf("the run ended: %v", e.err) }
func (e *endedError) Unwrap() error { return e.err }

// begin starts a migration of the two servers; an earlier one has been stopped.
func (m *migration) begin(drop ...rdb.Feature) {
	m.t.Helper()
	c := migrate.NewConfig()
	c.StateDir, c.From, c.To = m.t.TempDir(), m.source.Endpoint(), m.target.Endpoint()
	c.Drop, c.Replace = drop, true
	c.MaxPause = 5 * time.Second // nothing is measured here
	var err error
	if m.m, err = migrate.Open(m.t.Context(), c, slog.New(slog.NewTextHandler(testLog{m.t}, nil))); err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done = cancel, make(chan error, 1)
	running, done := m.m, m.done
	go func() { done <- running.Run(ctx) }()
	m.t.Cleanup(m.stop)
}

// stop ends the run, whatever its state.
func (m *migration) stop() {
	if m.m == nil {
		return
	}
	m.cancel()
	<-m.done
	if err := m.m.Close(); err != nil {
		m.t.Errorf("close: %v", err)
	}
	m.m = nil
}

// abort ends a run and leaves the target a primary of its own.
func (m *migration) abort() {
	m.stop()
	if _, err := m.target.client.Do(m.t.Context(), "REPLICAOF", "NO", "ONE"); err != nil {
		m.t.Fatal(err)
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(string(b[:len(b)-1]))
	return len(b), nil
}

// until waits for something to be so while the migration runs.
func (m *migration) until(what string, ok func() bool) error {
	deadline := time.After(patience)
	for !ok() {
		select {
		case err := <-m.done:
			m.done <- err
			return &endedError{err}
		case <-deadline:
			s := m.m.Status()
			return fmt.Errorf("not within %v: %s (phase %s; %s)", patience, what, s.Phase, s.NotReady)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (m *migration) ready() error {
	return m.until("ready", func() bool { return m.m.Status().Ready })
}

func (m *migration) cutover() error { return m.switchBy("cutover", m.m.Cutover) }

func (m *migration) rollback() error { return m.switchBy("rollback", m.m.Rollback) }

func (m *migration) switchBy(what string, do func(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)) error {
	if err := m.ready(); err != nil {
		return err
	}
	result, err := do(m.t.Context(), migrate.SwitchOptions{})
	if err != nil || !result.Done {
		return fmt.Errorf("%s: %s %w", what, result.Reason, err)
	}
	return m.ready()
}

// fill gives the source its data.
func (m *migration) fill(keys int, without []traffic.Feature) error {
	o := dataset.Options{Keys: keys, DBs: []int{0, 1, 15}, Seed: *seed}
	for _, f := range without {
		o.NoFieldTTLs = o.NoFieldTTLs || f == traffic.HashFieldTTL
		o.NoFunctions = o.NoFunctions || f == traffic.Function
	}
	o.VectorSets = !slices.Contains(without, traffic.VectorSet)
	return dataset.Fill(m.t.Context(), m.source.Endpoint(), o)
}

// write sends random commands to a primary.
func (m *migration) write(to *host, commands int, without []traffic.Feature, flushAll bool) error {
	to.rounds++
	o := traffic.Options{
		Seed: *seed<<8 + to.rounds, Commands: commands, DBs: []int{0, 1, 2, 9}, Prefix: "traffic:",
		Without: without, FlushAll: flushAll,
	}
	report, err := traffic.Run(m.t.Context(), to.Endpoint(), o)
	if err != nil {
		return err
	}
	m.t.Logf("%s: %d commands with seed %d, %d refused", to.name, report.Total.Sent, o.Seed, report.Total.Refused)
	return nil
}

// settle waits until the replica has all that the primary has been sent. What
// comes last tells: their offsets may differ.
func (m *migration) settle(primary, replica *host) error {
	const key = "matrix:last"
	last := rand.Text()
	if _, err := primary.client.Do(m.t.Context(), "SET", key, last); err != nil {
		return err
	}
	return m.until(replica.name+" has everything", func() bool {
		got, err := replica.client.Do(m.t.Context(), "GET", key)
		return err == nil && got == last
	})
}

// looks is how often two servers are compared before they differ, half a second
// apart: what has expired may take a primary a few cycles to delete, and only
// then is it deleted at a replica (expire.c activeExpireCycle).
const looks = 4

// differences settles the two servers and compares them, until wanted finds
// nothing more, and gives what it has found.
func (m *migration) differences(primary, replica *host, wanted func(audit.Difference) bool) ([]audit.Difference, error) {
	if err := m.settle(primary, replica); err != nil {
		return nil, err
	}
	for look := 1; ; look++ {
		all, err := m.compare(primary, replica)
		if err != nil {
			return nil, err
		}
		found := slices.DeleteFunc(all, func(d audit.Difference) bool { return !wanted(d) })
		if len(found) == 0 || look == looks {
			return found, nil
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func (m *migration) compare(primary, replica *host) ([]audit.Difference, error) {
	written := m.source.rounds+m.target.rounds > 0
	o := audit.Options{MaxDifferences: 2000, NoEntriesRead: written && (primary.vague || replica.vague)}
	for _, h := range []*host{m.source, m.target} {
		if h.older && h.rounds > 0 {
			// A TTL in its stream counts from when it is read: by godwit, or by a
			// server of the same version.
			o.TTLTolerance = 5 * time.Second
		}
	}
	r, err := audit.Compare(m.t.Context(), primary.Endpoint(), replica.Endpoint(), o)
	if err != nil {
		return nil, err
	}
	m.t.Logf("%s and %s: %d keys compared, %d differ", primary.name, replica.name, r.Keys, r.Different)
	if r.Keys == 0 {
		return nil, fmt.Errorf("%s: nothing to compare", primary.name)
	}
	return r.Differences, nil
}

// equal fails with the differences, if there are any.
func (m *migration) equal(primary, replica *host) error {
	differences, err := m.differences(primary, replica, func(audit.Difference) bool { return true })
	if err != nil || len(differences) == 0 {
		return err
	}
	return &differsError{differences}
}

// differsError says that data is not the same: the worst that can happen.
type differsError struct{ differences []audit.Difference }

func (e *differsError) Error() string {
	text := fmt.Sprintf("%d differences", len(e.differences))
	for i, d := range e.differences {
		if i == 10 {
			break
		}
		text += "\n\t" + d.String()
	}
	return text
}
