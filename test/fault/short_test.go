//go:build !fault

package fault

// long has every row of the tables run. `make fault` sets it.
const long = false
