package topology

import (
	"context"
	"fmt"

	"godwit/internal/server"
)

// Inspect asks a server everything that a plan needs. Only INFO must be
// permitted; what else our user may not ask stays unknown in the Node. It fails
// when the server cannot be reached, and its errors are those of server.Client.
func Inspect(ctx context.Context, c *server.Client) (Node, error) {
	n := Node{Endpoint: c.Endpoint(), URL: c.Endpoint().String(), Clients: Clients{Godwit: []Peer{}}}
	text, err := c.Text(ctx, "INFO")
	if err != nil {
		return Node{}, err
	}
	n.readInfo(text)
	if n.Mode == Sentinel {
		return n, nil // it has no data, and knows few commands
	}
	if n.Route, err = LocalAddr(ctx, n.Endpoint); err != nil {
		return Node{}, err
	}
	n.Permissions = make(Permissions)
	n.Permissions[Info] = Allowed
	for _, ask := range []struct {
		command Command
		read    func(context.Context, *server.Client) error
	}{
		{ConfigGet, n.readSettings},
		{ClientList, n.readClients},
	} {
		err := ask.read(ctx, c)
		if err != nil && !isReply(err) {
			return Node{}, fmt.Errorf("inspecting %s: %w", n.URL, err)
		}
		n.Permissions[ask.command] = permissionOf(err)
	}
	if err := n.readRDBVersion(ctx, c); err != nil && !isReply(err) {
		return Node{}, fmt.Errorf("inspecting %s: %w", n.URL, err)
	}
	if err := n.readPermissions(ctx, n.questions()); err != nil {
		return Node{}, fmt.Errorf("inspecting %s: %w", n.URL, err)
	}
	if err := n.readCommands(ctx, c); err != nil && !isReply(err) {
		return Node{}, fmt.Errorf("inspecting %s: %w", n.URL, err)
	}
	if err := n.probe(ctx, c); err != nil {
		return Node{}, fmt.Errorf("inspecting %s: %w", n.URL, err)
	}
	return n, nil
}
