//go:build fault

package fault

const long = true // see short_test.go
