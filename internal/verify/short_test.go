//go:build !fault

package verify_test

// long has tests run at length. `make fault` sets it.
const long = false
