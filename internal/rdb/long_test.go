//go:build fault

package rdb_test

func some[T any](_ int, rows []T) []T { return rows } // see short_test.go
