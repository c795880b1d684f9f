//go:build !fault

package verify_test

// long has tests run at length. `make fault` sets it.
const long = false

// some are the first n of a table, for `make test`; `make fault` takes them all.
func some[T any](n int, rows []T) []T { return rows[:n] }
