package command

import (
	"fmt"

	"godwit/internal/rdb"
)

// Version is a release of one of the products.
type Version struct {
	Product      rdb.Family
	Major, Minor int
}

// AtLeast compares with a version of the same product.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Includes tells whether whatever a server of version old propagates is known to
// one of version v: the product is the same, or old is from before the fork.
func (v Version) Includes(old Version) bool {
	if v.Product == old.Product {
		return v.AtLeast(old.Major, old.Minor)
	}
	return old.Product == rdb.Redis && !old.AtLeast(forkMajor, forkMinor+1) && v.Product != rdb.Redis
}

func (v Version) String() string {
	name := "Redis"
	switch v.Product {
	case rdb.Valkey:
		name = "Valkey"
	case rdb.Redict:
		name = "Redict"
	}
	return fmt.Sprintf("%s %d.%d", name, v.Major, v.Minor)
}

// Valkey 7.2 and Redict 7.3 began as Redis 7.2.4.
const forkMajor, forkMinor = 7, 2
