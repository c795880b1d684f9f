package topology

import (
	"context"
	"strconv"

	"godwit/internal/command"
	"godwit/internal/server"
)

// readCommands asks the server which commands it has, and from 7.0 on which options
// they have. What it does not say, or says in a way of its own, is not known.
func (n *Node) readCommands(ctx context.Context, c *server.Client) error {
	n.Commands = command.Learnt{}
	reply, err := c.Do(ctx, "COMMAND")
	if err != nil {
		return err
	}
	if err := n.Commands.Commands(reply); err != nil {
		return nil //nolint:nilerr // the tables count
	}
	for _, more := range []struct {
		about string
		names func() []string
		learn func(any) error
	}{
		{"INFO", n.Commands.Propagated, n.Commands.Infos},
		{"DOCS", n.Commands.Worth, n.Commands.Docs},
	} {
		question := []any{"COMMAND", more.about}
		for _, name := range more.names() {
			question = append(question, name)
		}
		if reply, err = c.Do(ctx, question...); err != nil {
			return err
		}
		if err := more.learn(reply); err != nil {
			continue // what is not said is not known
		}
	}
	return nil
}

// Capabilities are what n knows, by its own word where it has given it.
func (n Node) Capabilities() command.Capabilities {
	f := n.RDBFormat()
	databases, _ := strconv.Atoi(n.Settings["databases"]) // 0 where it does not say
	c := command.NewCapabilities(command.Version{Product: f.Family, Major: n.Version.Major, Minor: n.Version.Minor}, f, databases)
	c.Learnt = n.Commands
	return c
}

// Understands tells whether n, as a replica, understands whatever primary may
// replicate. A replica swallows what it does not understand. Modules must be of the
// same versions at both, but for those that are accepted as they are.
func (n Node) Understands(primary Node, accepted ...string) bool {
	target, source := n.capabilitiesAfter(primary, accepted), primary.Capabilities()
	return command.Understands(&target, &source)
}

// Lacking lists the commands and options that primary may replicate and n does not
// know, or must not be sent as it has a module at another version.
func (n Node) Lacking(primary Node, accepted ...string) []command.Option {
	target, source := n.capabilitiesAfter(primary, accepted), primary.Capabilities()
	return command.Lacking(&source, &target)
}

// capabilitiesAfter are what n knows as a replica of primary.
func (n Node) capabilitiesAfter(primary Node, accepted []string) command.Capabilities {
	c := n.Capabilities()
	c.Module = n.LoadsModulesOf(primary, accepted)
	return c
}
