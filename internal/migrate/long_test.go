//go:build fault

package migrate_test

const (
	long     = true // see short_test.go
	loadRate = 4000
)

func some[T any](_ int, rows []T) []T { return rows } // see short_test.go
