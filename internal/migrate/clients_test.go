package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// plain is one connection to a server that does nothing by itself.
func plain(t *testing.T, s *sandbox.Server) *redis.Conn {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Address(), Protocol: 2, MaxRetries: -1, ReadTimeout: 20 * time.Second, DisableIdentity: true})
	conn := c.Conn()
	if err := conn.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = c.Close() })
	return conn
}

// What clients see of a switch whose connection is in the midst of something.
func TestClientsAtTheSwitch(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version, version)
			l := p.load()
			m := start(t, p.config())
			m.ready()
			ctx := t.Context()

			multi := plain(t, p.source)
			for _, command := range [][]any{{"MULTI"}, {"SET", "in multi", "1"}} {
				if err := multi.Do(ctx, command...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			blocked := plain(t, p.source)
			blockedBy := make(chan error, 1)
			go func() { blockedBy <- blocked.Do(ctx, "BLPOP", "a list", 0).Err() }()
			subscriber := redis.NewClient(&redis.Options{Addr: p.source.Address(), Protocol: 2, DisableIdentity: true})
			defer subscriber.Close()
			subscription := subscriber.Subscribe(ctx, "news")
			defer subscription.Close()
			if _, err := subscription.Receive(ctx); err != nil {
				t.Fatal(err)
			}
			c := connect(t, p.source)
			eventually(t, "BLPOP waits", func() bool { return info(t, c, "clients").Int("blocked_clients") >= 1 })

			m.cutover()
			m.ready()

			// The transaction was queued and not executed: it is not, and its client is told.
			if err := multi.Do(ctx, "EXEC").Err(); err == nil {
				t.Error("EXEC of a transaction begun before the switch was acknowledged")
			} else {
				t.Logf("EXEC: %v", err)
			}
			if n := exists(t, p.target, "in multi"); n != 0 {
				t.Error("a transaction that was refused is in the data")
			}
			// The one that waits is told so, and finds its element at the new primary.
			select {
			case err := <-blockedBy:
				t.Logf("BLPOP: %v", err)
				if err == nil {
					t.Error("BLPOP was answered with nothing to pop")
				}
			case <-time.After(5 * time.Second):
				t.Error("BLPOP still waits at the demoted server")
			}
			next := plain(t, p.target)
			if err := next.RPush(ctx, "a list", "1").Err(); err != nil {
				t.Fatal(err)
			}
			if got, err := next.BLPop(ctx, time.Second, "a list").Result(); err != nil || len(got) != 2 {
				t.Errorf("BLPOP at the new primary: %v: %v", got, err)
			}
			// CLIENT KILL TYPE normal leaves subscribers, and the stream brings them
			// what is published at the new primary.
			if err := next.Publish(ctx, "news", "hello").Err(); err != nil {
				t.Fatal(err)
			}
			heard, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if msg, err := subscription.ReceiveMessage(heard); err != nil || msg.Payload != "hello" {
				t.Errorf("the subscriber of the demoted server hears %v: %v", msg, err)
			}
			p.settled(l, p.target)
		})
	}
}

func exists(t *testing.T, s *sandbox.Server, key string) int64 {
	t.Helper()
	n, err := connect(t, s).Do(t.Context(), "EXISTS", key)
	if err != nil {
		t.Fatal(err)
	}
	return n.(int64)
}

// A script that runs when the switch begins holds the whole server, INFO
// included: the switch comes after it, or is given up when that takes too long.
func TestScriptAtTheSwitch(t *testing.T) {
	t.Parallel()
	// A script knows no time that passes on every version, so it counts.
	const script = `for i = 1, tonumber(ARGV[1]) do redis.call('INCR', KEYS[1]) end return redis.call('GET', KEYS[1])`
	const sample = 20_000
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version, version)
			l := p.load()
			config := p.config()
			scripts := make(chan func(), 1)
			config.Trace = func(point string) {
				if point == "cutover-pause-before" {
					select {
					case run := <-scripts:
						run()
					default:
					}
				}
			}
			m := start(t, config)
			for _, lasts := range []time.Duration{200 * time.Millisecond, 1500 * time.Millisecond} {
				m.ready()
				key := "script " + lasts.String()
				conn := plain(t, p.source)
				began := time.Now()
				if err := conn.Eval(t.Context(), script, []string{key + " sample"}, sample).Err(); err != nil {
					t.Fatal(err)
				}
				loops := int64(sample * lasts / time.Since(began))
				counted := make(chan int64, 1)
				scripts <- func() {
					go func() {
						n, err := conn.Eval(context.Background(), script, []string{key}, loops).Int64()
						if err != nil {
							t.Errorf("script of %v: %v", lasts, err)
						}
						counted <- n
					}()
					time.Sleep(20 * time.Millisecond) // for it to begin
				}
				result, err := m.Cutover(t.Context(), migrate.SwitchOptions{})
				var gaveUp *migrate.GaveUpError
				primary := p.target
				switch {
				case err == nil:
				case errors.As(err, &gaveUp):
					primary = p.source
				default:
					t.Fatalf("with a script of %v: %+v: %v", lasts, result, err)
				}
				want := <-counted
				t.Logf("script of %v: %d INCR, then: %v", lasts, want, err)
				if got, err := connect(t, primary).Do(t.Context(), "GET", key); err != nil || got != fmt.Sprint(want) {
					t.Errorf("script of %v: %v of %d INCR are found: %v", lasts, got, want, err)
				}
				m.ready()
				if primary == p.target {
					m.rollback()
				}
			}
			m.ready()
			p.settled(l, p.source)
		})
	}
}

// go-redis as it comes, given a name that leads to the new primary from the
// switch on, needs no help: CLIENT KILL ends its connections, its retries take
// READONLY, and it goes on where the name leads.
func TestGoRedisAtTheSwitch(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version, version)
			var name atomic.Pointer[server.Endpoint] // what the name resolves to
			point := func(s *sandbox.Server) { e := s.Endpoint(); name.Store(&e) }
			point(p.source)
			config := p.config()
			config.Trace = func(at string) {
				switch at {
				case "cutover-promote-after":
					point(p.target)
				case "rollback-promote-after":
					point(p.source)
				}
			}
			m := start(t, config)
			m.ready()
			client := redis.NewClient(&redis.Options{
				Addr: "redis.example:6379",
				Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return name.Load().DialConn(ctx)
				},
			})
			defer client.Close()
			var counts [4]struct {
				attempted, acked atomic.Int64
				longest          atomic.Int64
			}
			var failures atomic.Int64
			stop := make(chan struct{})
			var clients sync.WaitGroup
			for i := range counts {
				clients.Go(func() {
					n := &counts[i]
					for {
						select {
						case <-stop:
							return
						default:
						}
						began := time.Now()
						n.attempted.Add(1)
						if err := client.Incr(context.Background(), fmt.Sprintf("go-redis %d", i)).Err(); err != nil {
							failures.Add(1)
							t.Logf("go-redis: %v", err)
						} else {
							n.acked.Add(1)
						}
						n.longest.Store(max(n.longest.Load(), int64(time.Since(began))))
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(100 * time.Millisecond)
			m.cutover()
			m.ready()
			time.Sleep(200 * time.Millisecond)
			m.rollback()
			m.ready()
			time.Sleep(200 * time.Millisecond)
			close(stop)
			clients.Wait()
			c := connect(t, p.source)
			for i := range counts {
				n := &counts[i]
				found, err := c.Redis().Get(t.Context(), fmt.Sprintf("go-redis %d", i)).Int64()
				// A retry of a command whose connection died may count twice: 3 retries at most.
				if err != nil || found < n.acked.Load() {
					t.Errorf("client %d: %d found of %d acknowledged: %v", i, found, n.acked.Load(), err)
				}
				longest := time.Duration(n.longest.Load())
				t.Logf("client %d: %d attempted, %d acknowledged, %d found, longest call %v", i, n.attempted.Load(), n.acked.Load(), found, longest)
				if longest > 2*time.Second {
					t.Errorf("client %d waited for %v", i, longest)
				}
			}
			t.Logf("%d calls failed", failures.Load())
			p.equal(p.source)
		})
	}
}
