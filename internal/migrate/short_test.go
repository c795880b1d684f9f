//go:build !fault

package migrate_test

// long has every row of the tables run. `make fault` sets it.
const long = false

// loadRate is how many audited writes a second there are beside most migrations, so many
// that tests beside each other leave the machine time.
const loadRate = 1500

// some are the first n of a table, for `make test`; `make fault` takes them all.
func some[T any](n int, rows []T) []T { return rows[:n] }
