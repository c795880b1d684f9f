package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// A comparison that is to be killed runs in a process of its own: this test binary
// again, which TestMain sends to beChild when childVariable is set.
const childVariable = "GODWIT_TEST_CHILD"

// order is what the child is to compare.
type order struct {
	Source, Target string
	Options        verify.Options
}

func (o order) config() (cfg verify.Config, err error) {
	cfg.Options = o.Options
	for url, side := range map[string]*verify.Side{o.Source: &cfg.Source, o.Target: &cfg.Target} {
		e, err := server.ParseEndpoint(url)
		if err != nil {
			return cfg, err
		}
		side.Name, side.Shards = url, []server.Endpoint{e}
	}
	return cfg, nil
}

func beChild() error {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(childVariable)), &o); err != nil {
		return err
	}
	cfg, err := o.config()
	if err != nil {
		return err
	}
	_, err = verify.Run(context.Background(), cfg)
	return err
}

// killedScan runs a scan until its checkpoint says that it is where until wants it,
// and kills it.
func killedScan(t *testing.T, o order, until func(checkpoint) bool) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+string(text))
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	defer func() {
		_ = child.Process.Kill() // it may have ended
		<-ended
	}()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, ok := readCheckpoint(t, o.Options.Dir); ok && until(c) {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("it ended before it could be killed: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not get there")
		}
	}
}

// checkpoint is what the tests know of one.
type checkpoint struct {
	Differences int64 `json:"differences"`
	State       struct {
		Lines []struct {
			Target bool   `json:"target"`
			RunID  string `json:"run_id"`
			Cursor uint64 `json:"cursor"`
			Done   bool   `json:"done"`
		} `json:"lines"`
	} `json:"state"`
}

// within tells whether one of the lines of that side is neither at its beginning nor
// at its end.
func (c checkpoint) within(target bool) bool {
	for _, line := range c.State.Lines {
		if line.Target == target && line.Cursor != 0 && !line.Done {
			return true
		}
	}
	return false
}

func readCheckpoint(t *testing.T, dir string) (c checkpoint, ok bool) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "checkpoint.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, false
	}
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, true
}

// calls is how often a server has executed a command.
func calls(t *testing.T, c *server.Client, command string) int64 {
	t.Helper()
	info, err := c.Info(t.Context(), "commandstats")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`^calls=(\d+)`).FindStringSubmatch(info["cmdstat_"+command])
	if found == nil {
		return 0
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A scan that was killed goes on where it was; its report is of all of it.
func TestScanGoesOn(t *testing.T) {
	t.Parallel()
	const keys, missing, extra = 30_000, 500, 500
	tests := []struct {
		name    string
		until   func(checkpoint) bool
		between func(*testing.T, *sandbox.Server, *order)
		anew    bool // what was compared before does not count
	}{
		{name: "among the source's keys", until: func(c checkpoint) bool { return c.within(false) && c.Differences > 0 }},
		{name: "among the target's keys", until: func(c checkpoint) bool { return c.within(true) }},
		{name: "a restarted source", until: func(c checkpoint) bool { return c.within(false) && c.Differences > 0 }, anew: true,
			between: func(t *testing.T, source *sandbox.Server, _ *order) {
				if err := source.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := source.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}},
		{name: "other options", until: func(c checkpoint) bool { return c.within(false) && c.Differences > 0 }, anew: true,
			between: func(_ *testing.T, _ *sandbox.Server, o *order) { o.Options.DBs = []int{0, 5} }},
	}
	for _, tt := range some(1, tests) {
		t.Run(tt.name, func(t *testing.T) {
			a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			for _, c := range []*server.Client{from, to} {
				plantKeys(t, c, "common", keys)
			}
			want := append(plantKeys(t, from, verify.Missing, missing), plantKeys(t, to, verify.Extra, extra)...)
			do(t, from, "SAVE")
			o := order{Source: a.Endpoint().String(), Target: b.Endpoint().String()}
			o.Options = verify.Options{Method: verify.Scan, Dir: t.TempDir(), MaxRate: 160 << 10}
			killedScan(t, o, tt.until)
			dumped := calls(t, from, "dump")
			if tt.between != nil {
				tt.between(t, a, &o)
				dumped = 0
			}
			o.Options.MaxRate = 0
			cfg, err := o.config()
			if err != nil {
				t.Fatal(err)
			}
			report := compare(t, cfg)
			mustFind(t, report, o.Options.Dir, want...)
			total := report.Counts[verify.Missing] + report.Counts[verify.Extra]
			if total != int64(len(want)) {
				t.Errorf("the report counts %v, want %d in all", report.Counts, len(want))
			}
			// SCAN may return some keys twice.
			if n := report.SourceRead.Keys; !tt.anew && (n < keys+missing || n > keys+missing+2048) {
				t.Errorf("the report is of %d keys, want those of both parts", n)
			}
			// What seems to differ is looked at up to three times again.
			if all := calls(t, from, "dump"); !tt.anew && all > keys+4*(missing+extra)+2*2048 {
				t.Errorf("%d values were dumped, %d of them before it was killed: it did not go on", all, dumped)
			}
			if _, ok := readCheckpoint(t, o.Options.Dir); ok {
				t.Error("the checkpoint is still there")
			}
		})
	}
}

// plantKeys writes keys that only this server has, and returns what must be found.
func plantKeys(t *testing.T, c *server.Client, kind verify.Kind, n int) (want []string) {
	t.Helper()
	do(t, c, "EVAL", "for i = 1, ARGV[2] do redis.call('SET', ARGV[1] .. i, i) end", 0, string(kind), n)
	for i := range n {
		want = append(want, fmt.Sprintf("%s 0 %s%d", kind, kind, i+1))
	}
	return want
}
