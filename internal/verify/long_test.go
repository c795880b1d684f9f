//go:build fault

package verify_test

const long = true // see short_test.go

func some[T any](_ int, rows []T) []T { return rows }
