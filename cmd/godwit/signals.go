package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"godwit/internal/status"
)

// interruptible returns a context that the first SIGINT, SIGTERM or SIGHUP
// ends; a second one exits at once. SIGHUP stays ignored under nohup. A reader
// of our output that goes away must not end a migration, so SIGPIPE becomes a
// write error.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	stopped := make(chan struct{})
	go func() {
		for seen := 0; ; seen++ {
			select {
			case <-signals:
				if seen > 0 {
					os.Exit(status.ExitInterrupted)
				}
				cancel()
			case <-stopped:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(stopped)
		cancel()
	}
}
