package topology

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"godwit/internal/server"
)

// Secret is a password. However it is printed or marshalled, it is not shown;
// a conversion to string reveals it.
type Secret string

const hidden = "***"

// Format keeps every verb of fmt from printing it.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		_, _ = io.WriteString(f, hidden) // fmt offers no way to report it
	}
}

// MarshalText keeps it out of JSON and logs.
func (s Secret) MarshalText() ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	return []byte(hidden), nil
}

// Settings are values of CONFIG GET by name, only those that godwit cares for.
// A name that the server's version does not know is absent. No passwords.
type Settings map[string]string

// importMode is a setting of Valkey from 8.1 on, by which nothing expires.
const importMode = "import-mode"

// settingNames are asked for, in the spelling that is valid from 5.0 on.
func settingNames() []string {
	return []string{
		"appendonly",
		"client-output-buffer-limit",
		"cluster-databases",
		"databases",
		importMode,
		"masteruser",
		"min-replicas-max-lag",
		"min-replicas-to-write",
		"repl-backlog-size",
		"repl-diskless-load",
		"repl-diskless-sync",
		"repl-diskless-sync-delay",
		"repl-ping-replica-period",
		"repl-timeout",
		"replica-announce-ip",
		"replica-announce-port",
		"replica-ignore-maxmemory",
		"replica-read-only",
		"save",
		"tls-replication",
	}
}

// Int is a setting as a number; false when it is absent or not one.
func (s Settings) Int(name string) (int64, bool) {
	n, err := strconv.ParseInt(s[name], 10, 64)
	return n, err == nil
}

// BufferLimit is when a server cuts off a client that reads too slowly.
type BufferLimit struct {
	Hard        int64 // bytes, 0 for none
	Soft        int64 // bytes, 0 for none
	SoftSeconds int64 // how long Soft may be exceeded
}

// ReplicaBuffer is the class "replica" of client-output-buffer-limit, which
// CONFIG GET calls slave or, in later versions, replica.
func (s Settings) ReplicaBuffer() (BufferLimit, bool) {
	words := strings.Fields(s["client-output-buffer-limit"])
	for ; len(words) >= 4; words = words[4:] {
		if words[0] != "slave" && words[0] != "replica" {
			continue
		}
		var numbers [3]int64
		for i := range numbers {
			n, err := strconv.ParseInt(words[i+1], 10, 64)
			if err != nil {
				return BufferLimit{}, false
			}
			numbers[i] = n
		}
		return BufferLimit{Hard: numbers[0], Soft: numbers[1], SoftSeconds: numbers[2]}, true
	}
	return BufferLimit{}, false
}

// readSettings asks for all settings in one round trip. An error reply, such as
// NOPERM, leaves Settings nil and is returned.
func (n *Node) readSettings(ctx context.Context, c *server.Client) error {
	const masterauth = "masterauth"
	names := append(settingNames(), masterauth)
	commands := make([][]any, len(names))
	for i, name := range names {
		commands[i] = []any{"CONFIG", "GET", name}
	}
	settings := make(Settings, len(names))
	for i, r := range pipeline(ctx, c.Redis(), commands) {
		if r.err != nil {
			return r.err
		}
		pair, ok := r.value.([]any)
		if !ok || len(pair) < 2 {
			continue // not known to this version
		}
		value, ok := pair[1].(string)
		if !ok {
			continue
		}
		if names[i] == masterauth {
			n.Masterauth, n.MasterauthSet = Secret(value), value != ""
			continue
		}
		settings[names[i]] = value
	}
	n.Settings = settings
	return nil
}

// ClusterDBs is how many dbs a shard has: one, but for Valkey from 9.0 on with
// cluster-databases. known is false of one that does not show its settings.
func (n Node) ClusterDBs() (dbs int, known bool) {
	if n.Version.Product != server.Valkey || !n.Version.AtLeast(9, 0) {
		return 1, true
	}
	has, known := n.Settings.Int("cluster-databases")
	return max(int(has), 1), known
}
