//go:build !fault

package migrate_test

// long has every row of the tables run. `make fault` sets it.
const long = false
