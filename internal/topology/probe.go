package topology

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/server"
)

// Judge says by what a server's RDB version is known.
type Judge string

// The judges, the best one last.
const (
	ByVersion      Judge = "version"       // its own version, by the table
	ByFunctionDump Judge = "function-dump" // what it writes
	ByRestore      Judge = "restore"       // what it loads
)

// probeKey begins the name of a key that no probe makes.
const probeKey = "godwit:probe:"

// probeTimeout bounds the probes: a server whose writes are paused answers none.
const probeTimeout = time.Second

// errUnclear is a reply that is neither yes nor no: it says nothing.
var errUnclear = errors.New("neither loaded nor refused")

// probe finds out which RDB version and which types of values the server loads, by
// giving it some: RESTORE key 1 payload ABSTTL, whose TTL ended in 1970. The server
// looks for the key, verifies the payload, loads the value and then, instead of
// adding what has expired already, lets go of it and answers OK (cluster.c
// restoreCommand). So RESTORE, for all its being a write, leaves nothing behind:
// no key, no change to save, nothing in the replication stream, no notification,
// and a key of that name would stay as it is (BUSYKEY). The payloads are a few
// bytes, valid, and of types that the server has by its version, because those
// before 7.0 exit on some malformed ones; as a rule one of them is refused. All that
// grows are counts of INFO: of calls, errors and, in Redis 8.6, expired keys.
//
// Whatever else the server answers (NOPERM, READONLY, MOVED, OOM, LOADING,
// NOREPLICAS, MISCONF), or if it does not in time, what was known before counts.
func (n *Node) probe(ctx context.Context, c *server.Client) error {
	if !n.expires() {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := n.probeWithin(within, c)
	var late net.Error
	if errors.Is(err, errUnclear) || isReply(err) || errors.As(err, &late) && late.Timeout() && ctx.Err() == nil {
		return nil
	}
	return err
}

func (n *Node) probeWithin(ctx context.Context, c *server.Client) error {
	p := prober{client: c, key: probeKey + rand.Text(), crc: rdb.NewCRC64()}
	// A denied command would leave a line in the ACL LOG.
	err := n.readPermissions(ctx, []question{{Restore, []any{"RESTORE", p.key, "1", "nothing", "ABSTTL"}}})
	if err != nil || n.Permissions.Of(Restore) != Allowed {
		return err
	}
	f, err := p.version(ctx, n.RDBFormat())
	if err != nil {
		return err
	}
	if f.Refused, err = p.refused(ctx, f); err != nil {
		return err
	}
	n.RDBVersion, n.RDBJudge, n.Refused = f.Version, ByRestore, f.Refused
	return nil
}

// Probe is what a process answered when it was asked what it loads. The zero value
// is none.
type Probe struct {
	RunID      string     `json:"run_id"`
	RDBVersion int        `json:"rdb_version"`
	Refused    []rdb.Type `json:"refused,omitempty"` // in JSON these are bytes
}

// Probed is what n answered, the zero value if it was not asked.
func (n *Node) Probed() Probe {
	if n.RDBJudge != ByRestore {
		return Probe{}
	}
	return Probe{RunID: n.RunID, RDBVersion: n.RDBVersion, Refused: n.Refused.Types()}
}

// Recall takes what n answered before, where it could not be asked again and is
// the same process.
func (n *Node) Recall(p Probe) {
	if n.RDBJudge == ByRestore || p.RunID == "" || p.RunID != n.RunID {
		return
	}
	n.RDBVersion, n.RDBJudge, n.Refused = p.RDBVersion, ByRestore, rdb.Set{}
	n.Refused.AddType(p.Refused...)
}

// expires tells whether it is certain that what has expired is let go of.
func (n *Node) expires() bool {
	switch {
	case n.Replication.Role != Primary || n.Replication.FailingOver() || n.Persistence.Loading:
		// Nothing expires at a replica, and if it is writable the key would be made
		// (expire.c checkAlreadyExpired).
		return false
	case n.Version.Product == server.Valkey:
		// From 8.1 on nor does it in import mode, and that is told by CONFIG GET alone.
		return n.Settings != nil && n.Settings[importMode] != "yes"
	}
	return true
}

// prober asks one server what it loads.
type prober struct {
	client *server.Client
	key    string
	crc    *rdb.CRC64
}

// farthest is how many versions above the expected one are tried. A server that
// takes them all does not look (Valkey's rdb-version-check relaxed).
const farthest = 16

// version is the newest version that the server takes, which is most likely the
// one expected.
func (p prober) version(ctx context.Context, expected rdb.Format) (rdb.Format, error) {
	f := expected
	takes, err := p.takes(ctx, f)
	if err != nil {
		return f, err
	}
	for !takes {
		if f.Version = before(f); f.Version < oldestProbed {
			return f, errUnclear
		}
		if takes, err = p.takes(ctx, f); err != nil {
			return f, err
		}
	}
	for range farthest {
		next := f
		next.Version = after(f)
		takes, err := p.takes(ctx, next)
		if err != nil || !takes {
			return f, err
		}
		f = next
	}
	return f, errUnclear
}

// oldestProbed is the version of Redis 2.6, which has RESTORE.
const oldestProbed = 6

// after is the version that comes after one in its family: Valkey's own ones begin
// where those of the others are not to come.
func after(f rdb.Format) int {
	if f.Family == rdb.Valkey && f.Version == rdbCommon {
		return rdbValkey
	}
	return f.Version + 1
}

func before(f rdb.Format) int {
	if f.Family == rdb.Valkey && f.Version == rdbValkey {
		return rdbCommon
	}
	return f.Version - 1
}

// takes tells whether the server takes payloads of a format, by an empty string.
func (p prober) takes(ctx context.Context, f rdb.Format) (bool, error) {
	answers, err := p.restore(ctx, "DUMP payload version or checksum are wrong", rdb.Sample{Type: rdb.TypeString, Value: []byte{0}}.Dump(f, p.crc))
	if err != nil {
		return false, err
	}
	return answers[0], nil
}

// refused are the types of the format that the server does not load.
func (p prober) refused(ctx context.Context, f rdb.Format) (rdb.Set, error) {
	var refused rdb.Set
	samples := f.Samples()
	payloads := make([][]byte, len(samples))
	for i, s := range samples {
		payloads[i] = s.Dump(f, p.crc)
	}
	answers, err := p.restore(ctx, "Bad data format", payloads...)
	if err != nil {
		return refused, err
	}
	for i, loads := range answers {
		if !loads {
			refused.AddType(samples[i].Type)
		}
	}
	return refused, nil
}

// restore tells of each payload whether the server loads it. A refusal is known by
// its words: any other error says nothing, and is returned.
func (p prober) restore(ctx context.Context, refusal string, payloads ...[]byte) ([]bool, error) {
	commands := make([][]any, len(payloads))
	for i, payload := range payloads {
		commands[i] = []any{"RESTORE", p.key, 1, payload, "ABSTTL"}
	}
	answers := make([]bool, len(payloads))
	for i, r := range pipeline(ctx, p.client.Redis(), commands) {
		switch {
		case r.err == nil:
			if answers[i] = r.value == "OK"; !answers[i] {
				return nil, errUnclear
			}
		case !isReply(r.err) || !strings.Contains(r.err.Error(), refusal):
			return nil, r.err
		}
	}
	return answers, nil
}
