package topology_test

import (
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// TestSnapshotRules holds SnapshotFor and Loads against native replication of
// every ordered pair of servers.
func TestSnapshotRules(t *testing.T) {
	var names []string
	for _, name := range sandboxtest.Catalog(t).Names() {
		if name != sandbox.PathName {
			names = append(names, name)
		}
	}
	sources := make(map[string]*sandbox.Server)
	for _, name := range names {
		sources[name] = sandboxtest.Start(t, name, sandbox.Options{})
		do(t, sandboxtest.Client(t, sources[name]), "SET", "key", "value")
	}
	for _, name := range names {
		t.Run("to "+name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{})
			c := sandboxtest.Client(t, s)
			target := inspect(t, s.Endpoint())
			for from, source := range sources {
				found := inspect(t, source.Endpoint())
				want := target.Loads(found.SnapshotFor(target))
				if got := replicates(t, c, s, source); got != want {
					t.Errorf("%s to %s replicates: %v, predicted %v", from, name, got, want)
				}
			}
		})
	}
}

// replicates attaches s to source until the link is up or s says why it will not be.
func replicates(t *testing.T, c *server.Client, s, source *sandbox.Server) bool {
	t.Helper()
	before := len(serverLog(t, s))
	do(t, c, "REPLICAOF", "127.0.0.1", source.Port())
	defer do(t, c, "REPLICAOF", "NO", "ONE")
	up := false
	waitFor(t, "link up, or a snapshot refused", func() bool {
		info, err := c.Info(t.Context(), "replication")
		if err != nil {
			t.Fatal(err)
		}
		up = info["master_link_status"] == "up"
		return up || strings.Contains(serverLog(t, s)[before:], "handle RDB format")
	})
	return up
}

func serverLog(t *testing.T, s *sandbox.Server) string {
	t.Helper()
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestCLI(t *testing.T) {
	valkey := server.Version{Product: server.Valkey, Major: 8}
	for _, test := range []struct {
		url  string
		tls  server.TLS
		args []string
		want string
	}{
		{"redis://10.0.0.1", server.TLS{}, []string{"CONFIG", "SET", "save", ""}, "valkey-cli -h 10.0.0.1 -p 6379 CONFIG SET save ''"},
		{"redis://mover:hush@[::1]:7000", server.TLS{}, []string{"GET", "it's"}, `valkey-cli -h ::1 -p 7000 --user mover --askpass GET 'it'\''s'`},
		{"redis://:hush@h", server.TLS{}, []string{"PING"}, "valkey-cli -h h -p 6379 --askpass PING"},
		{"unix:///run/x.sock", server.TLS{}, []string{"PING"}, "valkey-cli -s /run/x.sock PING"},
		{"rediss://h:7", server.TLS{Enabled: true, CAFile: "/my ca.pem", CertFile: "c", KeyFile: "k", ServerName: "n"}, []string{"PING"},
			"valkey-cli -h h -p 7 --tls --cacert '/my ca.pem' --cert c --key k --sni n PING"},
	} {
		e, err := server.ParseEndpoint(test.url)
		if err != nil {
			t.Fatal(err)
		}
		e.TLS = test.tls
		if got := (topology.Node{Endpoint: e, Version: valkey}).CLI(test.args...); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
