package verify_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/dataset"
	"godwit/internal/hold"
	"godwit/internal/psync"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := beChild(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// year2100 is in milliseconds since 1970.
const year2100 = 4102444800000

func do(t *testing.T, c *server.Client, args ...any) any {
	t.Helper()
	reply, err := c.Do(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func fill(t *testing.T, s *sandbox.Server, o dataset.Options) {
	t.Helper()
	if err := dataset.Fill(t.Context(), s.Endpoint(), o); err != nil {
		t.Fatal(err)
	}
}

func sideOf(servers ...*sandbox.Server) verify.Side {
	side := verify.Side{Name: servers[0].Endpoint().String()}
	for _, s := range servers {
		side.Shards = append(side.Shards, s.Endpoint())
	}
	return side
}

// still is the feed of a target that nobody writes to.
type still struct{ target *server.Client }

// feedOf stands for a feed between two servers that are not written to.
func feedOf(t *testing.T, target *sandbox.Server) []verify.Feed {
	t.Helper()
	// The first replica to attach makes a primary begin another history.
	conn, err := target.Endpoint().DialConn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, _, err := psync.Attach(t.Context(), conn, psync.Hello{Password: target.Endpoint().Password, RDBOnly: true}, "?", psync.NoOffset, nil); err != nil {
		t.Fatal(err)
	}
	return []verify.Feed{&still{sandboxtest.Client(t, target)}}
}

func (s *still) Trail(context.Context) (verify.Hold, error) { return s, nil }

func (s *still) Stop(ctx context.Context, _ int64) (hold.Stand, error) {
	info, err := s.target.Info(ctx, "replication")
	return hold.Stand{ReplID: info["master_replid"], Offset: info.Int("master_repl_offset")}, err
}

func (s *still) Err() error { return nil }

func (s *still) Release() {}

func (s *still) Held() time.Duration { return 0 }

// compare runs a comparison, and fails if it does not come to its end.
func compare(t *testing.T, cfg verify.Config) *verify.Report {
	t.Helper()
	report := run(t, cfg)
	if report.Error != "" {
		t.Fatalf("%s (%s)", report.Error, report.Hint)
	}
	return report
}

func run(t *testing.T, cfg verify.Config) *verify.Report {
	t.Helper()
	if cfg.Options.Dir == "" {
		cfg.Options.Dir = t.TempDir()
	}
	report, err := verify.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// found is a difference in short: "value 0 k", "db 0>3 k".
func found(d verify.Difference) string {
	db := fmt.Sprint(d.DB)
	if d.TargetDB != d.DB {
		db += fmt.Sprint(">", d.TargetDB)
	}
	return fmt.Sprintf("%s %s %s", d.Kind, db, string(d.Key))
}

// journal is all differences in dir, in order of their names.
func journal(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	if err := verify.EachDifference(dir, func(d verify.Difference) error {
		all = append(all, found(d))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// mustFind compares what is in the journal with what is wanted.
func mustFind(t *testing.T, report *verify.Report, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	got := journal(t, dir)
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	result := verify.Different
	if len(want) == 0 {
		result = verify.Equal
	}
	if report.Result != result {
		t.Errorf("the result is %s, want %s", report.Result, result)
	}
}
