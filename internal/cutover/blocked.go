package cutover

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/server"
)

// Unblock ends the waiting of clients for an element to take away, with the error
// UNBLOCKED, as a primary does that becomes a replica. Before 7.2 a server checks what
// such a client may run when it begins to wait, and not when it is served (blocked.c
// serveClientsBlockedOnListKey): it would be given what godwit carries to a node that
// takes no client's writes. No pause may be in force: what waits for its end is blocked,
// too.
func (f *ACLFence) Unblock(ctx context.Context) error {
	return f.each(func(c *server.Client) error { return f.unblock(ctx, c) })
}

func (f *ACLFence) unblock(ctx context.Context, c *server.Client) error {
	info, err := c.Info(ctx, "server", "clients")
	if err != nil || info.Version().AtLeast(7, 2) || info.Int("blocked_clients") == 0 {
		return err
	}
	list, err := c.Text(ctx, "CLIENT", "LIST")
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		client := map[string]string{}
		for _, field := range strings.Fields(line) {
			name, value, _ := strings.Cut(field, "=")
			client[name] = value
		}
		if !strings.Contains(client["flags"], "b") || !takes(client["cmd"]) || client["user"] == f.User {
			continue
		}
		if _, err := c.Do(ctx, "CLIENT", "UNBLOCK", client["id"], "ERROR"); err != nil {
			return fmt.Errorf("a client that waits for an element: %w", err)
		}
	}
	return nil
}

// takes tells of a command that waits for an element, and takes it away.
func takes(command string) bool {
	return slices.Contains([]string{
		"blpop", "brpop", "brpoplpush", "blmove", "blmpop", "bzpopmin", "bzpopmax", "bzmpop", "xreadgroup",
	}, command)
}
