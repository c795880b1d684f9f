package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// application is how one that writes by go-redis moves from one deployment to another: it
// has a client of either, and uses the one that the last command has not been refused by.
// docs/clients-of-clusters.md shows it.
type application struct {
	clients [2]redis.UniversalClient // of the source, of the target
	serves  atomic.Int32             // which of them
}

// elsewhere tells that a deployment has not done a command because the other one serves,
// or is about to: a server that has become a replica says READONLY, a cluster NOPERM.
func elsewhere(err error) bool {
	return redis.IsReadOnlyError(err) || redis.IsPermissionError(err)
}

// do has a command done by who serves. What elsewhere tells of was not done, so it may be
// sent again, whatever it is; of another error the caller decides, as without a migration.
func (a *application) do(ctx context.Context, command func(redis.UniversalClient) error) error {
	for {
		now := a.serves.Load()
		err := command(a.clients[now])
		if !elsewhere(err) {
			return err
		}
		a.serves.CompareAndSwap(now, 1-now)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Millisecond): // neither may serve within the switch
		}
	}
}

// client is one as an application makes it. That of a standalone server is told not to
// send anything again by itself: READONLY would reach the application only after the third
// time, hundreds of milliseconds later.
func (d *deployed) client() redis.UniversalClient {
	d.t.Helper()
	var c redis.UniversalClient
	if d.cluster != nil {
		var addresses []string
		for _, e := range d.endpoints() {
			addresses = append(addresses, e.Address)
		}
		c = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses})
	} else {
		c = redis.NewClient(&redis.Options{Addr: d.servers[0].Address(), MaxRetries: -1})
	}
	d.t.Cleanup(func() { _ = c.Close() })
	return c
}

// kindOf is what the errors of the table of docs/clients-of-clusters.md are called there.
func kindOf(err error) string {
	var reply redis.Error
	var network *net.OpError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &reply):
		word, _, _ := strings.Cut(reply.Error(), " ")
		return word
	case errors.Is(err, io.EOF), errors.As(err, &network):
		return "closed"
	default:
		return err.Error()
	}
}

// counter is a writer of an application: the key that it raises, and what it was told.
type counter struct {
	key            string
	acked, unknown int64
	errors         map[string]int
	longest        time.Duration // that one write took
}

func (c *counter) run(ctx context.Context, a *application) {
	for ctx.Err() == nil {
		began := time.Now()
		switch err := a.do(context.WithoutCancel(ctx), func(client redis.UniversalClient) error {
			err := client.Incr(context.WithoutCancel(ctx), c.key).Err()
			if err != nil {
				c.errors[kindOf(err)]++
			}
			return err
		}); err {
		case nil:
			c.acked++
		default:
			c.unknown++
		}
		c.longest = max(c.longest, time.Since(began))
		time.Sleep(time.Millisecond)
	}
}

// counters are 8 of them.
type counters struct {
	all  []*counter
	stop func()
}

func (a *application) count(ctx context.Context, prefix string) *counters {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	c := &counters{stop: func() { cancel(); wg.Wait() }}
	for i := range 8 {
		one := &counter{key: fmt.Sprint(prefix, i), errors: map[string]int{}}
		c.all = append(c.all, one)
		wg.Go(func() { one.run(ctx, a) })
	}
	return c
}

// settled ends them, and wants each write found once: of one whose connection was closed
// nobody knows, so it may be there or not.
func (c *counters) settled(t *testing.T, client redis.UniversalClient) (errs map[string]int, longest time.Duration) {
	t.Helper()
	c.stop()
	errs = map[string]int{}
	for _, one := range c.all {
		n, err := client.Get(t.Context(), one.key).Int64()
		if err != nil || one.acked == 0 || n < one.acked || n > one.acked+one.unknown {
			t.Errorf("%s is %d, of %d writes that were acknowledged and %d that may be there: %v", one.key, n, one.acked, one.unknown, err)
		}
		longest = max(longest, one.longest)
		for kind, n := range one.errors {
			errs[kind] += n
		}
	}
	return errs, longest
}

// What go-redis tells an application whose data move to a cluster or from one, and that
// the application follows with no write lost or doubled.
func TestClientsOfClusters(t *testing.T) {
	versions := []string{"redis-7.0"}
	if long {
		versions = []string{"redis-7.0", "valkey-8.1", "valkey-9.1"}
	}
	for _, version := range versions {
		for _, s := range shapes() {
			if s.noWay || s.rule || !long && s.name == "cluster of 3 to cluster of 5" { // go-redis does not divide keys so
				continue
			}
			t.Run(s.name+", "+version, func(t *testing.T) {
				t.Parallel()
				j := newJourney(t, s, version, 1000, true)
				j.begin()
				j.p.ready()
				j.clients()
				j.p.must("complete")
				if code := j.run.exit(); code != 0 {
					t.Errorf("godwit run exits with %d", code)
				}
			})
		}
	}
}

func (j *journey) clients() {
	t, ctx := j.t, j.t.Context()
	source, target := j.from.client(), j.to.client()
	app := &application{clients: [2]redis.UniversalClient{source, target}}
	refusal := "READONLY" // of a standalone source; all else is fenced by ACL
	if j.from.cluster != nil {
		refusal = "NOPERM"
	}

	// Before the cutover the target may be read, and connected to in good time, but not
	// written to.
	wants := func(what string, err error, kinds ...string) {
		t.Helper()
		if kind := kindOf(err); !slices.Contains(kinds, kind) {
			t.Errorf("%s: %q, %v; want %v", what, kind, err, kinds)
		}
		t.Logf("%s: %v", what, err)
	}
	if err := source.Set(ctx, "read", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	j.p.ready()
	wants("early read", target.Get(ctx, "absent").Err(), "redis:")
	wants("early write", target.Set(ctx, "early", "1", 0).Err(), "NOPERM")
	_, err := target.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "early", "1", 0).Err() })
	wants("early transaction", err, "NOPERM", "EXECABORT")
	wants("early script", target.Eval(ctx, "return redis.call('SET',KEYS[1],1)", []string{"early"}).Err(), "NOPERM", "ERR")

	// In the midst of something.
	blocked := make(chan error, 1)
	go func() {
		c := j.from.client()
		blocked <- c.BLPop(ctx, time.Minute, "a list").Err()
	}()
	old, next := j.from.client().Subscribe(ctx, "news"), j.to.client().Subscribe(ctx, "news")
	defer old.Close()
	defer next.Close()
	for _, s := range []*redis.PubSub{old, next} {
		if _, err := s.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	count := app.count(ctx, "counter:")
	time.Sleep(300 * time.Millisecond)
	j.must("cutover")
	time.Sleep(300 * time.Millisecond)
	errs, longest := count.settled(t, target)
	t.Logf("cutover: the longest write took %v; errors %v", longest, errs)
	if errs[refusal] == 0 || app.serves.Load() != 1 {
		t.Errorf("the application has seen %v", errs)
	}
	wants("late write", source.Set(ctx, "late", "1", 0).Err(), refusal)
	wants("late read", source.Get(ctx, "read").Err(), "done")
	select {
	case err := <-blocked:
		wants("BLPOP", err, "NOPERM", "READONLY", "UNBLOCKED", "closed")
	case <-time.After(5 * time.Second):
		t.Error("BLPOP still waits")
	}
	j.p.ready()
	heard := func(s *redis.PubSub, text string) bool {
		for {
			message, err := s.ReceiveTimeout(ctx, time.Second)
			if err != nil {
				return false
			}
			if m, ok := message.(*redis.Message); ok && m.Payload == text {
				return true
			}
		}
	}
	if err := target.Publish(ctx, "news", "at the target").Err(); err != nil {
		t.Error(err)
	}
	t.Logf("published at the target: heard there %v, at the source %v", heard(next, "at the target"), heard(old, "at the target"))

	// Without any handling, and as the libraries come.
	plain := redis.NewClient(&redis.Options{Addr: j.to.nodes()[0].Address()})
	defer plain.Close()
	kinds := map[string]int{}
	for i := range 30 {
		kinds[kindOf(plain.Set(ctx, fmt.Sprint("plain:", i), 1, 0).Err())]++
	}
	t.Logf("a client of one server at the target: %v", slices.Collect(maps.Keys(kinds)))
	if (kinds["MOVED"] > 0) != (j.to.cluster != nil) {
		t.Errorf("a client of one server at the target: %v", kinds)
	}
	if j.to.cluster != nil {
		wants("keys of several slots", target.MSet(ctx, "a", 1, "b", 2).Err(), "CROSSSLOT")
	}

	count = app.count(ctx, "counter again:")
	time.Sleep(300 * time.Millisecond)
	j.must("rollback")
	time.Sleep(300 * time.Millisecond)
	errs, longest = count.settled(t, source)
	t.Logf("rollback: the longest write took %v; errors %v", longest, errs)
	if errs["NOPERM"] == 0 || app.serves.Load() != 0 {
		t.Errorf("the application has seen %v", errs)
	}
	wants("write after the rollback", target.Set(ctx, "late", "1", 0).Err(), "NOPERM")
	j.p.ready()
	j.must("cutover")
}
