//go:build !fault

package migrate_test

// long has every row of the tables run. `make fault` sets it.
const long = false

// some are the first n of a table, for `make test`; `make fault` takes them all.
func some[T any](n int, rows []T) []T { return rows[:n] }
