package topology

import (
	"context"
	"encoding/binary"

	"godwit/internal/rdb"
	"godwit/internal/server"
)

// The header of an RDB file is REDISnnnn, or VALKEYnnn from version 80 on.
const (
	rdbValkey = 80 // Valkey 9.0 on
	rdbCommon = 11 // Redis 7.2, the last one that both families write
)

// rdbVersion is RDB_VERSION of rdb.h by server version, for servers that cannot
// be asked: those before 7.0, and where FUNCTION DUMP is not permitted.
func rdbVersion(v server.Version) int {
	for _, row := range rdbVersions() {
		if row.product == v.Product && v.AtLeast(row.major, row.minor) {
			return row.rdb
		}
	}
	return 8 // Redis 4.0
}

type rdbRow struct {
	product      server.Product
	major, minor int // from this version on
	rdb          int
}

// rdbVersions has the newest of each product first.
func rdbVersions() []rdbRow {
	return []rdbRow{
		{server.Redis, 8, 6, 13},
		{server.Redis, 7, 4, 12},
		{server.Redis, 7, 2, 11},
		{server.Redis, 7, 0, 10},
		{server.Redis, 5, 0, 9},
		{server.Valkey, 9, 0, rdbValkey},
		{server.Valkey, 7, 2, 11},
		{server.Redict, 7, 3, 12},
	}
}

// readRDBVersion asks the server: the payload of FUNCTION DUMP ends in the RDB
// version (2 bytes, little endian) and a checksum of 8 bytes, and is little more
// than that where there are few functions (functions.c functionDumpCommand).
func (n *Node) readRDBVersion(ctx context.Context, c *server.Client) error {
	const footer = 2 + 8
	if !n.Version.AtLeast(7, 0) {
		return nil
	}
	payload, err := c.Text(ctx, "FUNCTION", "DUMP")
	if err != nil {
		return err
	}
	if len(payload) >= footer {
		n.RDBVersion, n.RDBJudge = int(binary.LittleEndian.Uint16([]byte(payload[len(payload)-footer:]))), ByFunctionDump
	}
	return nil
}

// RDBFormat is the format that n writes and loads, but for the types it refuses. Where it is newer than any
// that godwit knows, Known is false.
func (n Node) RDBFormat() rdb.Format {
	f := rdb.Format{Version: n.RDBVersion, Refused: n.Refused}
	switch n.Version.Product {
	case server.Valkey:
		f.Family = rdb.Valkey
	case server.Redict:
		f.Family = rdb.Redict
	case server.Redis:
	}
	return f
}

// SnapshotFor is the RDB version of a snapshot that n natively sends to that replica.
func (n Node) SnapshotFor(replica Node) int {
	// Valkey from 9.1 on writes for the version that the replica tells in REPLCONF
	// version, or for an old one when it tells none, as Redis and Redict do
	// (replication.c replicaRdbVersion).
	if n.Version.Product == server.Valkey && n.Version.AtLeast(9, 1) && replica.RDBVersion < rdbValkey {
		return rdbCommon
	}
	return n.RDBVersion
}

// Loads tells whether n reads a snapshot of that version. None reads a version
// above its own, and Valkey refuses those that Redis took after the two parted
// (rdb.h RDB_FOREIGN_VERSION_MIN to MAX; before 9.0 its own version is below them).
func (n Node) Loads(version int) bool {
	if version > n.RDBVersion {
		return false
	}
	foreign := version > rdbCommon && version < rdbValkey
	return !foreign || n.Version.Product != server.Valkey
}
