package rdb_test

import (
	"fmt"

	"godwit/internal/server"
)

// dbSize is how many keys INFO keyspace says a db has.
func dbSize(info server.Info, db int) int64 {
	var keys int64
	_, _ = fmt.Sscanf(info[fmt.Sprintf("db%d", db)], "keys=%d", &keys) // 0 if there is no such db
	return keys
}
