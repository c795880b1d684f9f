//go:build !linux

package main

// scheduleAsBatch does nothing: the policy is Linux's.
func scheduleAsBatch() error { return nil }
