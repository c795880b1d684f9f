//go:build !failpoint

package main

// failpoint is for builds with the tag failpoint only.
func failpoint(func(string) (string, bool)) func(point string) { return nil }
