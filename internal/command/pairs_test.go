package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/command"
	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// TestEveryPair takes what each server propagates of every write, rewrites it for
// each server, which gets it as a replica, and compares the two.
func TestEveryPair(t *testing.T) {
	all := writes(t)
	var targets []*target
	for _, s := range subjects() {
		targets = append(targets, newTarget(t, s))
	}
	results := make(map[[2]string]string)
	for _, from := range subjects() {
		sandbox := start(t, from)
		src := record(t, sandbox)
		played := src.play(all)
		capabilities := from.asked(t, src.client)
		found := make([]*outcome, len(targets))
		var group sync.WaitGroup
		for i, to := range targets {
			group.Go(func() {
				o := to.rewrite(capabilities, played)
				o.compare(t, sandbox.Endpoint(), from, to)
				found[i] = o
			})
		}
		group.Wait()
		replica := targets[slices.IndexFunc(targets, func(to *target) bool { return to.subject == from })]
		for i, to := range targets {
			found[i].judge(t, from, to, replica)
			results[[2]string{from.name, to.name}] = found[i].String()
		}
	}
	writePairs(t, results)
}

// TestVersionsBetween rewrites for versions that are not at hand, of which the
// tables alone are known. A newer server understands their words too.
func TestVersionsBetween(t *testing.T) {
	all := writes(t)
	var targets []*target
	for _, s := range []subject{
		{"redis-7.0", command.Version{Product: rdb.Redis, Major: 6, Minor: 2}, rdb.Format{Family: rdb.Redis, Version: 9}},
		{"redis-8.0", command.Version{Product: rdb.Redis, Major: 7, Minor: 2}, rdb.Format{Family: rdb.Redis, Version: 11}},
		{"redis-8.0", command.Version{Product: rdb.Redis, Major: 7, Minor: 4}, rdb.Format{Family: rdb.Redis, Version: 12}},
		{"redis-8.6", command.Version{Product: rdb.Redis, Major: 8, Minor: 2}, rdb.Format{Family: rdb.Redis, Version: 12}},
		{"redis-8.6", command.Version{Product: rdb.Redis, Major: 8, Minor: 4}, rdb.Format{Family: rdb.Redis, Version: 12}},
		{"valkey-8.0", command.Version{Product: rdb.Valkey, Major: 7, Minor: 2}, rdb.Format{Family: rdb.Valkey, Version: 11}},
		{"valkey-9.1", command.Version{Product: rdb.Valkey, Major: 9, Minor: 0}, rdb.Format{Family: rdb.Valkey, Version: 80}},
	} {
		to := newTarget(t, s)
		to.caps = s.capabilities()
		targets = append(targets, to)
	}
	for _, name := range []string{"redis-7.0", "redis-8.6", "valkey-9.1"} {
		from := subjects()[slices.IndexFunc(subjects(), func(s subject) bool { return s.name == name })]
		sandbox := start(t, from)
		src := record(t, sandbox)
		played := src.play(all)
		replica := newTarget(t, from)
		replica.rewrite(from.capabilities(), played).compare(t, sandbox.Endpoint(), from, replica)
		for _, to := range targets {
			o := to.rewrite(from.capabilities(), played)
			o.compare(t, sandbox.Endpoint(), from, to)
			o.judge(t, from, to, replica)
			t.Logf("%s to %v: %v", from.name, to.version, o)
		}
	}
}

// target is a server that plays the replica, of one source after another.
type target struct {
	subject
	t        testing.TB
	endpoint server.Endpoint
	client   *server.Client
	caps     command.Capabilities
}

func newTarget(t testing.TB, s subject) *target {
	t.Helper()
	sandbox := start(t, s)
	client := sandboxtest.Client(t, sandbox)
	return &target{subject: s, t: t, endpoint: sandbox.Endpoint(), client: client, caps: s.asked(t, client)}
}

// outcome is what became of a source's commands.
type outcome struct {
	stream              []byte
	passed, rewritten   int
	refused             []string // commands that have no equal, and nothing may be dropped
	dropped             map[rdb.Feature]int64
	affected            map[string]rdb.Feature // keys of both, and in which db
	errors              []error
	differences         []audit.Difference
	unexpected          string // error replies that the replica counted
	rewrittenCommands   map[string]bool
	lengthOfTheOriginal int
}

func features() []rdb.Feature {
	return []rdb.Feature{command.FeatureGeoStore, rdb.FeatureHashFieldTTL, rdb.FeatureFunction, rdb.FeatureStreamIDMP, rdb.FeatureVectorSet, rdb.FeatureModule}
}

// rewrite makes the target's stream. A strict rewriter beside the one that drops
// tells which keys suffer.
func (to *target) rewrite(from command.Capabilities, played []done) *outcome {
	var now int64
	clock := func() int64 { return now }
	r := command.NewRewriter(from, to.caps, command.Options{Drop: features(), Now: clock})
	strict := command.NewRewriter(from, to.caps, command.Options{Now: clock})
	o := &outcome{affected: make(map[string]rdb.Feature), rewrittenCommands: make(map[string]bool)}
	for _, d := range played {
		for _, p := range d.propagated {
			now = p.at
			original := resp.AppendArgs(nil, p.args...)
			o.lengthOfTheOriginal += len(original)
			_, _, strictErr := strict.Rewrite(nil, p.args)
			before := r.Dropped()[rdb.FeatureVectorSet]
			out, verdict, err := r.Rewrite(nil, p.args)
			if r.Dropped()[rdb.FeatureVectorSet] > before {
				// Also where the strict one lets it pass: the target has the command.
				o.affected[string(p.args[1])] = rdb.FeatureVectorSet
			}
			var noEqual *command.NoEqualError
			switch {
			case errors.As(strictErr, &noEqual):
				o.affected[string(noEqual.Key)] = noEqual.Feature
			case strictErr != nil:
				o.errors = append(o.errors, strictErr)
			}
			switch {
			case errors.As(err, &noEqual):
				name := noEqual.Command
				if noEqual.Option != "" {
					name += " " + noEqual.Option
				}
				o.refused = append(o.refused, name)
			case err != nil:
				o.errors = append(o.errors, err)
			case verdict == command.Pass:
				o.passed++
				o.stream = append(o.stream, original...)
			default:
				o.rewritten++
				o.rewrittenCommands[strings.ToUpper(string(p.args[0]))] = true
				o.stream = append(o.stream, out...)
				if err := to.wellFormed(out); err != nil {
					o.errors = append(o.errors, fmt.Errorf("%q became %q: %w", p.args, out, err))
				}
			}
		}
	}
	o.dropped = r.Dropped()
	return o
}

// wellFormed sees that what was written are commands that the target knows.
func (to *target) wellFormed(out []byte) error {
	for len(out) > 0 {
		e, err := resp.Scan(out, nil)
		if err != nil {
			return err
		}
		if len(e.Args) == 0 || !to.caps.Has(command.Option(strings.ToUpper(string(e.Args[0])))) {
			return fmt.Errorf("%q is not known", e.Args)
		}
		out = out[e.Size:]
	}
	return nil
}

const firstOffset = 1000

// feed gives the target an empty snapshot and the stream, as its primary.
func (to *target) feed(stream []byte) error {
	ctx, cancel := context.WithTimeout(to.t.Context(), 30*time.Second)
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	if _, err := to.client.Do(ctx, "REPLICAOF", "127.0.0.1", port); err != nil {
		return err
	}
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	peer, err := psync.Accept(ctx, conn, func(string, string) (string, bool) { return "", true })
	if err != nil {
		return err
	}
	var snapshot bytes.Buffer
	if err := rdb.NewWriter(&snapshot, to.format, rdb.WriterOptions{}).End(); err != nil {
		return err
	}
	if err := peer.FullResync(strings.Repeat("a", 40), firstOffset); err != nil {
		return err
	}
	message := append(fmt.Appendf(nil, "$%d\r\n", snapshot.Len()), snapshot.Bytes()...)
	if _, err := peer.Write(append(message, stream...)); err != nil {
		return err
	}
	want := strconv.Itoa(firstOffset + len(stream))
	for {
		info, err := to.client.Info(ctx, "replication")
		if err != nil {
			return err
		}
		if info["slave_repl_offset"] == want {
			_, err := to.client.Do(ctx, "REPLICAOF", "NO", "ONE")
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (o *outcome) compare(t testing.TB, source server.Endpoint, from subject, to *target) {
	t.Helper()
	before := to.unexpectedErrors()
	if err := to.feed(o.stream); err != nil {
		o.errors = append(o.errors, err)
		return
	}
	if after := to.unexpectedErrors(); after != before {
		o.unexpected = before + " to " + after
	}
	report, err := audit.Compare(t.Context(), source, to.endpoint, tolerance(from, to.subject))
	if err != nil {
		o.errors = append(o.errors, err)
	}
	o.differences = report.Differences
}

// unexpectedErrors is a counter that servers have from 6.2 on.
func (to *target) unexpectedErrors() string {
	info, err := to.client.Info(to.t.Context(), "stats")
	if err != nil {
		to.t.Error(err)
	}
	return info["unexpected_error_replies"]
}

// judge takes nothing for an error that is the server's own: where a source and
// its own replica, which got the stream as it is, are not the same, the target
// may be like either.
func (o *outcome) judge(t *testing.T, from subject, to, replica *target) {
	t.Helper()
	for _, err := range o.errors {
		t.Errorf("%s to %s: %v", from.name, to.name, err)
	}
	if o.unexpected != "" && len(o.dropped) == 0 {
		t.Errorf("%s to %s: the replica's unexpected_error_replies went from %s", from.name, to.name, o.unexpected)
	}
	if to == replica {
		for _, d := range o.differences {
			t.Logf("%s and its own replica: %v", from.name, d)
		}
		return
	}
	if len(o.differences) == 0 {
		return
	}
	report, err := audit.Compare(t.Context(), replica.endpoint, to.endpoint, tolerance(from, to.subject))
	if err != nil {
		t.Error(err)
	}
	for _, d := range o.differences {
		native := !slices.ContainsFunc(report.Differences, func(e audit.Difference) bool { return e.DB == d.DB && e.Key == d.Key })
		if !native && !o.explains(d) && known(from, to.subject, d.Key) == "" {
			t.Errorf("%s to %s: %v", from.name, to.name, d)
		}
	}
}

// known says why a key cannot be the same.
func known(from, to subject, key string) string {
	old := !from.version.AtLeast(7, 0)
	switch {
	case key == "stream:claim" && old && to.version.AtLeast(7, 0):
		return "from 7.0 on XCLAIM cannot keep pending what has been deleted"
	case key == "stream:middle2" && from.name == "redis-8.6":
		return "XTRIM ACKED within a stream leaves max-deleted-entry-id at 0-0, and nothing else can"
	case strings.HasPrefix(key, "stream:") && to.name == "redis-7.0" && !to.version.AtLeast(7, 0):
		return "7.0 playing 6.2 shows counters that 6.2 does not have"
	case key == "stream:idmp2" && to.name == "redis-8.6" && !to.version.AtLeast(8, 6):
		return "8.6 playing 8.4 shows settings for IDMP, which package rdb leaves out where there are no producers"
	default:
		return ""
	}
}

func tolerance(from, to subject) audit.Options {
	var o audit.Options
	if !from.version.AtLeast(7, 0) {
		o.TTLTolerance = 100 * time.Millisecond
		if !to.version.AtLeast(6, 2) {
			o.TTLTolerance = time.Minute // left relative, as between such servers
		}
	}
	return o
}

// explains tells whether a difference is one of a key that was refused, or of
// which something was dropped. Copies of a hash lack the TTLs too.
func (o *outcome) explains(d audit.Difference) bool {
	feature, affected := o.affected[d.Key]
	switch {
	case d.DB < 0:
		_, dropped := o.dropped[rdb.FeatureFunction]
		return dropped
	case affected && feature != rdb.FeatureHashFieldTTL:
		return true
	default:
		_, dropped := o.dropped[rdb.FeatureHashFieldTTL]
		return d.Kind == audit.TTL && dropped && (affected || strings.HasPrefix(d.Key, "hash"))
	}
}

func (o *outcome) String() string {
	var b strings.Builder
	names := make([]string, 0, len(o.rewrittenCommands))
	for name := range o.rewrittenCommands {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(&b, "    rewritten: %s\n", listed(names))
	var dropped []string
	for f, n := range o.dropped {
		dropped = append(dropped, fmt.Sprintf("%s %d", f, n))
	}
	slices.Sort(dropped)
	fmt.Fprintf(&b, "    dropped: %s\n", listed(dropped))
	slices.Sort(o.refused)
	fmt.Fprintf(&b, "    refused: %s\n", listed(slices.Compact(o.refused)))
	return b.String()
}

func listed(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

func writePairs(t *testing.T, results map[[2]string]string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Written by TestEveryPair: what becomes of writes.txt between each two servers. The\n" +
		"# rest passes as it is; but for what is dropped or refused, both end up equal.\n")
	for _, from := range subjects() {
		for _, to := range subjects() {
			fmt.Fprintf(&b, "%s to %s\n%s", from.name, to.name, results[[2]string{from.name, to.name}])
		}
	}
	golden(t, "testdata/pairs.txt", b.String())
}
