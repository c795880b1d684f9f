//go:build fault

package migrate_test

const long = true // see short_test.go

func some[T any](_ int, rows []T) []T { return rows } // see short_test.go
