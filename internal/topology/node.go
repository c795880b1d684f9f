// Package topology finds out what a server is by asking it: product, role,
// data, limits, settings, who is connected, and what our user may do. It only
// asks, and gives it values that it is to let go of at once (see Node.probe).
// Nothing on the server changes, save that a denied command leaves a line in its
// ACL LOG.
package topology

import (
	"net"
	"net/netip"
	"strconv"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/server"
)

// Mode is what a process is run as.
type Mode string

// The modes of redis_mode (server_mode in Valkey, redict_mode in Redict).
const (
	Standalone Mode = "standalone"
	Cluster    Mode = "cluster"
	Sentinel   Mode = "sentinel"
)

// Role is primary or replica.
type Role string

// The roles of a server; INFO calls them master and slave.
const (
	Primary Role = "primary"
	Replica Role = "replica"
)

// Node is one server as it was found. It can be printed and marshalled: no
// field that is written out holds a password.
type Node struct {
	URL      string          `json:"url"` // without the password
	Endpoint server.Endpoint `json:"-"`   // with it
	RunID    string          `json:"run_id"`
	Version  server.Version  `json:"version"`
	Mode     Mode            `json:"mode"`

	Replication Replication `json:"replication"`
	DBs         []DB        `json:"dbs"`                    // those with keys, by number
	Libraries   int         `json:"function_libraries"`     // of functions, from 7.0 on
	Modules     []Module    `json:"modules"`                // built-in ones too, by name
	RDBVersion  int         `json:"rdb_version"`            // of the snapshots it writes by itself, and the newest it loads
	RDBJudge    Judge       `json:"rdb_version_by"`         // how that is known
	Refused     rdb.Set     `json:"refused_types,omitzero"` // types of that version that it does not load all the same
	Memory      Memory      `json:"memory"`
	Persistence Persistence `json:"persistence"`
	Traffic     Traffic     `json:"traffic"`
	Clients     Clients     `json:"clients"`

	Settings      Settings    `json:"settings"` // nil when CONFIG GET is not permitted
	MasterauthSet bool        `json:"masterauth_set"`
	Masterauth    Secret      `json:"-"` // what the server presents to its primary
	Permissions   Permissions `json:"permissions"`

	Survey   *Survey        `json:"-"` // nil where none was taken: TakeSurvey
	Commands command.Learnt `json:"-"` // what it says of its commands

	Route    netip.Addr     `json:"route,omitzero"`     // our address on the way to the server
	SeenFrom netip.AddrPort `json:"seen_from,omitzero"` // our address as the server sees it; not Route if addresses are translated in between

	Monitors []Monitor `json:"monitors,omitempty"` // of a Sentinel: the primaries it watches
}

// Replication is INFO replication.
type Replication struct {
	Role          Role         `json:"role"`
	Upstream      Upstream     `json:"upstream,omitzero"` // of a replica
	ReplID        string       `json:"replid"`
	ReplID2       string       `json:"replid2"` // of the primary it followed before, all zeros for none
	Offset        int64        `json:"offset"`
	SecondOffset  int64        `json:"second_offset"` // up to which ReplID2 is valid, -1 for none
	Backlog       Backlog      `json:"backlog"`
	Replicas      []Downstream `json:"replicas"`
	FailoverState string       `json:"failover_state,omitempty"` // no-failover, waiting-for-sync, failover-in-progress; empty before 6.2
}

// FailingOver tells whether a FAILOVER is under way.
func (r Replication) FailingOver() bool {
	return r.FailoverState != "" && r.FailoverState != "no-failover"
}

// Upstream is the primary of a replica and the link to it.
type Upstream struct {
	Host    string `json:"host"`
	Port    int    `json:"port"`
	Link    string `json:"link"` // up or down
	Syncing bool   `json:"syncing"`
}

// Address is host:port of the primary.
func (u Upstream) Address() string { return net.JoinHostPort(u.Host, strconv.Itoa(u.Port)) }

// Backlog is the part of the replication stream that a server keeps for partial resyncs.
type Backlog struct {
	Active      bool  `json:"active"`
	Size        int64 `json:"size"`         // bytes
	FirstOffset int64 `json:"first_offset"` // of the oldest byte it holds
	Length      int64 `json:"length"`       // bytes it holds
}

// Downstream is a connected replica.
type Downstream struct {
	Address string `json:"address"`
	State   string `json:"state"` // online, send_bulk, wait_bgsave
	Offset  int64  `json:"offset"`
}

// DB is one numbered database with keys in it.
type DB struct {
	Number       int   `json:"db"`
	Keys         int64 `json:"keys"`
	Expires      int64 `json:"expires"`       // keys with a TTL
	FieldExpires int64 `json:"field_expires"` // hashes in which a field has a TTL (Redis 7.4, Valkey 9.0 and up)
}

// Memory is INFO memory, in bytes.
type Memory struct {
	Used   int64  `json:"used"`
	Max    int64  `json:"max"`    // maxmemory, 0 for none
	Policy string `json:"policy"` // maxmemory-policy
	System int64  `json:"system"` // of the machine, 0 when the server does not say
}

// Evicts tells whether keys go when the memory limit is reached.
func (m Memory) Evicts() bool { return m.Max > 0 && m.Policy != "" && m.Policy != "noeviction" }

// Persistence is INFO persistence. What starts a snapshot is in Settings["save"].
type Persistence struct {
	Loading    bool    `json:"loading"`
	LoadedPerc float64 `json:"loaded_percent"` // while loading
	Saving     bool    `json:"saving"`         // a snapshot is being written
	AOF        bool    `json:"aof"`
}

// Traffic is what goes in now, over all connections.
type Traffic struct {
	Commands   int64   `json:"commands_per_second"`
	InputBytes float64 `json:"input_bytes_per_second"`
}

// Keys is how many keys there are in all dbs.
func (n Node) Keys() int64 {
	var total int64
	for _, db := range n.DBs {
		total += db.Keys
	}
	return total
}

// FieldExpires is how many hashes have a field with a TTL.
func (n Node) FieldExpires() int64 {
	var total int64
	for _, db := range n.DBs {
		total += db.FieldExpires
	}
	return total
}

// HighestDB is the highest number of a db with keys, -1 when there is none.
func (n Node) HighestDB() int {
	highest := -1
	for _, db := range n.DBs {
		highest = max(highest, db.Number)
	}
	return highest
}

// User is the ACL user that we are to the server.
func (n Node) User() string {
	if n.Endpoint.Username == "" {
		return "default"
	}
	return n.Endpoint.Username
}
