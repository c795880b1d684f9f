//go:build fault

package migrate_test

const long = true // see short_test.go
