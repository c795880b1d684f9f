// Command godwit moves live Redis and Valkey data from one server to another
// while clients write, switches them over, and goes back if asked to.
package main

import (
	"context"
	"os"

	"godwit/internal/server"
)

func main() {
	server.Quiet()
	ctx, stop := interruptible(context.Background())
	code := execute(ctx, os.Args[1:], systemStreams())
	stop()
	os.Exit(code)
}
