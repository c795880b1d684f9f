package apply

import (
	"fmt"
	"testing"

	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// What a source had when it was demoted can be had by value still, at the end of its
// stream: the last commands before a switch may need it.
func TestReadOfADemotedSource(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis-6.0", "redis-7.0", "valkey-8.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, version, sandbox.Options{})
			client := sandboxtest.Client(t, s)
			sandboxtest.Start(t, version, sandbox.Options{Args: []string{fmt.Sprintf("--replicaof 127.0.0.1 %d", s.Port())}})
			until(t, func() (bool, string) {
				info, err := client.Info(t.Context(), "replication")
				return err == nil && info["connected_slaves"] == "1", "its replica"
			})
			do(t, client, "SET", "key", "1")
			info := func() server.Info {
				t.Helper()
				info, err := client.Info(t.Context(), "replication")
				if err != nil {
					t.Fatal(err)
				}
				return info
			}
			c := &carrier{source: s.Endpoint(), crc: rdb.NewCRC64()}
			defer c.close()
			keys := [][]byte{[]byte("key")}
			replid := info()["master_replid"]
			if _, _, err := c.read(t.Context(), replid, 0, keys); err != nil {
				t.Fatal(err)
			}
			do(t, client, "SET", "key", "2")
			end := info().Int("master_repl_offset")
			do(t, client, "REPLICAOF", "127.0.0.1", "1")
			values, at, err := c.read(t.Context(), replid, 0, keys)
			if err != nil || at != end || end == 0 || !values[0].Exists() {
				t.Errorf("at %d, not %d: %+v, %v", at, end, values, err)
			}
		})
	}
}
