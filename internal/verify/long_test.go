//go:build fault

package verify_test

const long = true // see short_test.go
