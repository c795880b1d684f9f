package census

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// TestWatchedAllTheTime watches a server that is not busy: every call is seen.
func TestWatchedAllTheTime(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, name string) {
		s := sandboxtest.Start(t, name, sandbox.Options{Password: "geheim"})
		ctl := sandboxtest.Client(t, s)
		for _, command := range []string{"SET foo 1", "RENAME foo bar", "SWAPDB 0 1"} { // before
			if err := do(t.Context(), ctl, strings.Fields(command)...); err != nil {
				t.Fatal(err)
			}
		}
		from := apps(t, s)
		var group sync.WaitGroup
		var wanted map[Effect]int64
		var polls int64
		group.Go(func() {
			polls = awaitMonitor(t, ctl)
			wanted = traffic(t, from, 200)
		})
		r, err := Watch(t.Context(), s.Endpoint(), WatchOptions{For: 4 * time.Second, Share: 0.1})
		group.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for effect, n := range wanted {
			most := n
			if effect == Works {
				most += polls // some of them were before it counts
			}
			if got := r.Effects[effect].Calls; got < n || got > most {
				t.Errorf("%s: %d calls, want %d", effect, got, n)
			}
		}
		checkTraffic(t, r)
		names := make(map[string]bool)
		for _, f := range r.Findings {
			for _, c := range f.Clients {
				names[c.Name] = true
				if c.Address != "127.0.0.1" {
					t.Errorf("%+v", c)
				}
			}
		}
		if !names["app-0"] || !names["app-1"] {
			t.Errorf("clients %v", names)
		}
		if !r.Counted || r.Margin > 0.02 || r.Monitor.Windows != 1 || r.Monitor.Stopped != "" || r.LeftOut != (LeftOut{}) {
			t.Errorf("%+v %+v %+v", r, r.Monitor, r.LeftOut)
		}
		earlier := make(map[string]int64)
		for _, e := range r.Earlier {
			earlier[e.Command] = e.Calls
		}
		if earlier["RENAME"] != 1 || earlier["SWAPDB"] != 1 {
			t.Errorf("earlier: %v", earlier)
		}
	})
}

// awaitMonitor waits until MONITOR runs, and returns how many commands it needed to
// see that.
func awaitMonitor(t *testing.T, ctl *server.Client) (polls int64) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for range again.C {
		polls++
		if text, err := ctl.Text(t.Context(), "CLIENT", "LIST"); err != nil || strings.Contains(text, "cmd=monitor") {
			if err != nil {
				t.Error(err)
			}
			break
		}
	}
	return polls
}

// load has writers send pipelines of 8 calls, of which one breaks and one is to be
// split, until ctx is done.
func load(ctx context.Context, t *testing.T, s *sandbox.Server, writers int) *sync.WaitGroup {
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			client := redis.NewClient(&redis.Options{Addr: s.Address(), DisableIdentity: true, ClientName: "writer"})
			defer client.Close()
			for ctx.Err() == nil {
				pipe := client.Pipeline()
				for range 6 {
					pipe.Set(ctx, "user:17:cart", "x", 0)
				}
				pipe.SInter(ctx, "user:17:likes", "user:17:blocks")
				pipe.MGet(ctx, "user:17:cart", "user:18:cart")
				if _, err := pipe.Exec(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, redis.Nil) {
					t.Error(err)
					return
				}
			}
		})
	}
	return &group
}

// TestSampled watches a busy server: MONITOR runs for a bounded share of the time, and
// the shares are found within the error that is told, the calls exactly.
func TestSampled(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-8.6", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{})
			ctl := sandboxtest.Client(t, s)
			if name == "redis-8.6" {
				if err := ctl.ConfigSet(t.Context(), "cluster-compatibility-sample-ratio", "100"); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			group := load(ctx, t, s, 4)
			defer group.Wait()
			defer cancel()
			r, err := Watch(t.Context(), s.Endpoint(), WatchOptions{For: 3 * time.Second, Share: 0.2})
			if err != nil {
				t.Fatal(err)
			}
			rate := float64(r.Calls) / r.Seconds
			if rate < 1.2*quietRate {
				t.Fatalf("%.0f calls a second: the server is not busy", rate)
			}
			if m := r.Monitor; m.Seconds > 0.35*r.Seconds || m.Windows < 2 || r.Seen == 0 || r.Seen > r.Calls/2 {
				t.Errorf("%d of %d calls seen, %+v in %.1f s", r.Seen, r.Calls, m, r.Seconds)
			}
			for effect, want := range map[Effect]float64{Works: 0.75, Breaks: 0.125, Splits: 0.125} {
				if got := r.Effects[effect].Share; math.Abs(got-want) > max(0.002, r.Margin) {
					t.Errorf("%s: %.4f, want %.4f ± %.4f", effect, got, want, r.Margin)
				}
			}
			for _, f := range r.Findings {
				if f.Effect != OneShard && (len(f.Clients) != 1 || f.Clients[0].Name != "writer" || f.Clients[0].Connections < 2) {
					t.Errorf("%+v", f)
				}
			}
			if c := r.ServerCount; (c != nil) != (name == "redis-8.6") || c != nil &&
				(c.Ratio != 100 || math.Abs(float64(c.Counted)/float64(r.Calls)-0.25) > 0.01) {
				t.Errorf("the server counts %+v of %d calls", c, r.Calls)
			}
		})
	}
}

// TestWithoutMonitor is for users that may not use it, and those that do not want it.
func TestWithoutMonitor(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	ctl := sandboxtest.Client(t, s)
	if err := do(t.Context(), ctl, "ACL", "SETUSER", "auditor", "on", ">x", "+info", "+ping", "+client|setname", "+client|id"); err != nil {
		t.Fatal(err)
	}
	denied := s.Endpoint()
	denied.Username, denied.Password = "auditor", "x"
	for _, test := range []struct {
		endpoint server.Endpoint
		share    float64
		stopped  string
	}{
		{s.Endpoint(), 0, "a share of 0"},
		{denied, 0.1, "NOPERM"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			for i := 0; ctx.Err() == nil && i < 100; i++ {
				for _, command := range []string{"GET foo", "MGET foo bar", "SWAPDB 0 1", "DBSIZE"} {
					_ = do(ctx, ctl, strings.Fields(command)...)
				}
				timer := time.NewTimer(10 * time.Millisecond)
				<-timer.C
			}
		})
		r, err := Watch(t.Context(), test.endpoint, WatchOptions{For: 2 * time.Second, Share: test.share})
		cancel()
		group.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Monitor.Stopped, test.stopped) || r.Seen != 0 || r.Fits() {
			t.Errorf("%+v", r.Monitor)
		}
		for _, cmd := range r.Commands {
			want := map[string]Effect{"GET": Works, "MGET": Unknown, "SWAPDB": Breaks, "DBSIZE": OneShard}[cmd.Name]
			if want != "" && (cmd.Calls < 50 || cmd.Effects[want].Share != 1) {
				t.Errorf("%+v", cmd)
			}
		}
	}
}

func TestWatchInterrupted(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "valkey-9.1", sandbox.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	begin := time.Now()
	r, err := Watch(ctx, s.Endpoint(), WatchOptions{For: time.Hour, Share: 0.1})
	if err != nil || !r.Interrupted || time.Since(begin) > 20*time.Second {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestWatchRefuses servers that have nothing to tell, and says what to do.
func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	node := sandboxtest.ClusterNode(t, "redis-7.0")
	_, err := Watch(t.Context(), node.Endpoint(), WatchOptions{For: time.Second, Share: 1})
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.HintText() == "" || !strings.Contains(err.Error(), "is a node of a cluster") {
		t.Errorf("%v", err)
	}
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	var conn *server.ConnError
	if _, err := Watch(t.Context(), node.Endpoint(), WatchOptions{For: time.Second, Share: 1}); !errors.As(err, &conn) {
		t.Errorf("%v", err)
	}
}

// TestRestartInBetween is told, and calls are those that were seen.
func TestRestartInBetween(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	ctl := sandboxtest.Client(t, s)
	var group sync.WaitGroup
	group.Go(func() {
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		<-timer.C
		for range 10 {
			_ = do(t.Context(), ctl, "SINTER", "foo", "bar")
		}
		_ = do(t.Context(), ctl, "CONFIG", "RESETSTAT")
	})
	r, err := Watch(t.Context(), s.Endpoint(), WatchOptions{For: 3 * time.Second, Share: 1})
	group.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if r.Counted || r.Effects[Breaks].Calls != 10 || len(r.Notes) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestLessens lets windows hurt a server: the share goes down, and MONITOR is given up.
func TestLessens(t *testing.T) {
	w := &watcher{report: &Report{Monitor: &Monitoring{}}, share: 0.1}
	for range hurtsBefore {
		w.weigh(10_000, 100_000)
	}
	if w.share != 0.025 || len(w.report.Notes) != 1 {
		t.Errorf("share %f, %v", w.share, w.report.Notes)
	}
	w.weigh(10_000, 100_000)
	w.weigh(60_000, 100_000) // as MONITOR costs it
	w.weigh(1, 100)          // it has nothing to do
	if w.share != 0.025 {
		t.Errorf("share %f", w.share)
	}
	for range hurtsBefore {
		w.weigh(10_000, 100_000)
	}
	if w.report.Monitor.Stopped != "the server ran 90 % fewer commands while MONITOR ran" {
		t.Errorf("%+v", w.report.Monitor)
	}
}
