package traffic_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exceptions are write commands that traffic does not send, and why.
var exceptions = map[string]string{
	"migrate":           "sends to another server; in the stream it is a DEL",
	"trimslots":         "of a cluster only",
	"cluster|flushslot": "of a cluster only",
}

// Every write command of every server is sent, is understood, and mostly succeeds.
func TestEveryWriteCommand(t *testing.T) {
	for _, name := range sandboxtest.Catalog(t).Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{})
			report, err := traffic.Run(t.Context(), s.Endpoint(), traffic.Options{
				Seed: 1, Commands: 6000, DBs: []int{0, 1, 9, 15}, Prefix: "t:", FlushAll: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d commands, %d refused", report.Total.Sent, report.Total.Refused)
			if report.Total.Refused*5 > report.Total.Sent {
				t.Errorf("%d of %d commands were refused", report.Total.Refused, report.Total.Sent)
			}
			for _, command := range writeCommands(t, sandboxtest.Client(t, s)) {
				c := report.Commands[command]
				if command == "xgroup" { // before 7.0 it has no subcommands of its own
					c = report.Commands["xgroup|create"]
				}
				if exceptions[command] == "" && c.Sent == c.Refused {
					t.Errorf("%s: %d sent, %d refused", command, c.Sent, c.Refused)
				}
			}
			for _, reason := range slices.Sorted(maps.Keys(report.Refusals)) {
				t.Logf("%5d %s", report.Refusals[reason], reason)
			}
		})
	}
}

// writeCommands are those that COMMAND says write, but for an administrator's.
// Of a command with subcommands they are those that write.
func writeCommands(t *testing.T, c *server.Client) []string {
	t.Helper()
	reply, err := c.Do(t.Context(), "COMMAND")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var walk func(list any)
	walk = func(list any) {
		for _, entry := range list.([]any) {
			fields := entry.([]any)
			subcommands := len(fields) > 9 && len(fields[9].([]any)) > 0
			if subcommands {
				walk(fields[9])
				continue
			}
			flags := fmt.Sprint(fields[2])
			if strings.Contains(flags, "write") && !strings.Contains(flags, "admin") {
				names = append(names, strings.ToLower(fields[0].(string)))
			}
		}
	}
	walk(reply)
	if len(names) < 80 {
		t.Fatalf("only %d write commands", len(names))
	}
	return names
}

// A seed sends the same commands again.
func TestSeed(t *testing.T) {
	var counts [2]traffic.Report
	for i := range counts {
		s := sandboxtest.Start(t, "redis-newest", sandbox.Options{})
		r, err := traffic.Run(t.Context(), s.Endpoint(), traffic.Options{Seed: 7, Commands: 2000, DBs: []int{0, 1}})
		if err != nil {
			t.Fatal(err)
		}
		counts[i] = r
	}
	for name, c := range counts[0].Commands {
		if other := counts[1].Commands[name]; other.Sent != c.Sent {
			t.Errorf("%s: sent %d and %d times", name, c.Sent, other.Sent)
		}
	}
}

// What is left out is not sent in any form.
func TestWithout(t *testing.T) {
	for _, name := range []string{"redis-newest", "valkey-newest"} {
		s := sandboxtest.Start(t, name, sandbox.Options{})
		r, err := traffic.Run(t.Context(), s.Endpoint(), traffic.Options{
			Seed: 1, Commands: 5000, DBs: []int{0}, Without: traffic.Features(),
		})
		if err != nil {
			t.Fatal(err)
		}
		for command := range r.Commands {
			for _, prefix := range []string{"hexpire", "hpexpire", "hpersist", "function", "fcall", "vadd", "vrem", "xcfgset", "xidmp"} {
				if strings.HasPrefix(command, prefix) {
					t.Errorf("%s was sent", command)
				}
			}
		}
		info, err := sandboxtest.Client(t, s).Info(t.Context(), "keyspace")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(info["db0"], "subexpiry=") && !strings.Contains(info["db0"], "subexpiry=0") {
			t.Errorf("fields have TTLs: %s", info["db0"])
		}
	}
}
