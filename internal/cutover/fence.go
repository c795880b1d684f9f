package cutover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"godwit/internal/server"
)

// UserRules is what a user of a server may run, in the server's own words (acl.c
// ACLDescribeUser). It has no password.
type UserRules struct {
	User      string   `json:"user"`
	Commands  []string `json:"commands"`            // in order, beginning with +@all or -@all
	Selectors []string `json:"selectors,omitempty"` // from 7.0 on, each in its parentheses
}

// parseRules reads a line of ACL LIST.
func parseRules(line string) (UserRules, error) {
	var u UserRules
	rest, ok := strings.CutPrefix(line, "user ")
	if !ok {
		return u, fmt.Errorf("unexpected line of ACL LIST: %.20q", line)
	}
	u.User, rest, _ = strings.Cut(rest, " ")
	for rest != "" {
		var token string
		if rest[0] == '(' {
			end := strings.IndexByte(rest, ')')
			if end < 0 {
				return u, fmt.Errorf("unexpected selector of the user %s", u.User)
			}
			u.Selectors = append(u.Selectors, rest[:end+1])
			rest = strings.TrimLeft(rest[end+1:], " ")
			continue
		}
		token, rest, _ = strings.Cut(rest, " ")
		if strings.HasPrefix(token, "+") || strings.HasPrefix(token, "-") {
			u.Commands = append(u.Commands, token)
		}
	}
	return u, nil
}

// fence takes the right to write from the user. MIGRATE, and RESTORE-ASKING, as which a
// key arrives (cluster.c migrateCommand), are writes, too, but none that an application
// sends.
func (f *ACLFence) fence(u UserRules) []any {
	args := []any{"ACL", "SETUSER", u.User, "-@write"}
	for _, command := range []string{"migrate", "restore-asking"} {
		if f.Cluster && u.may(command) {
			args = append(args, "+"+command)
		}
	}
	if len(u.Selectors) > 0 {
		args = append(args, "clearselectors")
	}
	return args
}

// may tells whether the user had the right to MIGRATE or RESTORE-ASKING, which are of the
// same categories on all versions: the last rule about them decides.
func (u UserRules) may(command string) bool {
	allowed := false
	for _, rule := range u.Commands {
		switch rule[1:] {
		case command, "@all", "@keyspace", "@write", "@slow", "@dangerous":
			allowed = rule[0] == '+'
		}
	}
	return allowed
}

// lift gives the user the rights back that it had.
func (u UserRules) lift() []any {
	args := []any{"ACL", "SETUSER", u.User}
	for _, c := range u.Commands {
		args = append(args, c)
	}
	if len(u.Selectors) > 0 {
		args = append(args, "clearselectors")
	}
	for _, s := range u.Selectors {
		args = append(args, s)
	}
	return args
}

// ACLFence has nodes of a cluster refuse writes of all users but godwit's own. It outlives
// godwit, but not a restart of a node: ACLs are not replicated, and nothing is written
// to a node's files.
type ACLFence struct {
	Nodes []*server.Client // replicas, too: one of them may be promoted
	User  string           // godwit's own, by which it goes on writing
	// Cluster tells that slots may be moved between the nodes, by who might before.
	Cluster bool
	// Rules are those of each node, by its address, as they were; Prepare reads them
	// where there are none.
	Rules map[string]NodeRules

	unasked error // why nodes could not be asked by whom they connect
}

// Prepare reads the rules of all users, and has every node know godwit's own user by
// that password. It stops nothing. The error is of the nodes where it could not be done;
// Rules have none of them but those that were known before.
func (f *ACLFence) Prepare(ctx context.Context, password string) error {
	// Those of a node that is out of reach now stay: it refuses writes when it is back.
	all := make(map[string]NodeRules, len(f.Nodes))
	maps.Copy(all, f.Rules)
	var mu sync.Mutex
	err := f.each(func(c *server.Client) error {
		if _, known := f.Rules[c.Endpoint().Address]; !known {
			rules, unasked, err := f.read(ctx, c)
			if err != nil {
				return err
			}
			mu.Lock()
			all[c.Endpoint().Address] = rules
			f.unasked = errors.Join(f.unasked, unasked)
			mu.Unlock()
		}
		return f.introduce(ctx, c, password)
	})
	f.Rules = all
	return err
}

// each does something at all nodes at once, whatever becomes of it at the others.
func (f *ACLFence) each(do func(*server.Client) error) error {
	failed := make([]error, len(f.Nodes))
	var all sync.WaitGroup
	for i, c := range f.Nodes {
		all.Go(func() { failed[i] = do(c) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// introduce has a node know godwit's own user. Before 6.2 a server has no rules about
// channels, and no word for them.
func (f *ACLFence) introduce(ctx context.Context, c *server.Client, password string) error {
	info, err := c.Info(ctx, "server")
	if err != nil {
		return err
	}
	args := []any{"ACL", "SETUSER", f.User, "reset", "on", ">" + password, "allkeys", "+@all"}
	if info.Version().AtLeast(6, 2) {
		args = append(args, "allchannels")
	}
	_, err = c.Do(ctx, args...)
	return err
}

// read finds out what a node has before it is fenced. unasked tells why it did not say by
// whom it connects.
func (f *ACLFence) read(ctx context.Context, c *server.Client) (rules NodeRules, unasked, err error) {
	lines, err := users(ctx, c)
	if err != nil {
		return rules, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		u, err := parseRules(lines[name])
		if err != nil {
			return rules, nil, fmt.Errorf("%s: %w", c.Endpoint().Address, err)
		}
		if name != f.User && name != f.mover() {
			rules.Users = append(rules.Users, u)
		}
	}
	rules.Link, err = f.readLink(ctx, c)
	var refused *server.Error
	var unreached *server.ConnError // has the refusal within, if it is one
	if errors.As(err, &unreached) && !errors.As(err, &refused) {
		return rules, nil, err
	}
	return rules, err, nil
}

// users are the lines of ACL LIST, by the names of the users.
func users(ctx context.Context, c *server.Client) (map[string]string, error) {
	reply, err := c.Do(ctx, "ACL", "LIST")
	if err != nil {
		return nil, err
	}
	lines, _ := reply.([]any)
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: ACL LIST names no user", c.Endpoint().Address)
	}
	all := make(map[string]string, len(lines))
	for _, line := range lines {
		text, _ := line.(string)
		rest, ok := strings.CutPrefix(text, "user ")
		if !ok {
			return nil, fmt.Errorf("%s: unexpected line of ACL LIST: %.20q", c.Endpoint().Address, text)
		}
		name, _, _ := strings.Cut(rest, " ")
		all[name] = text
	}
	return all, nil
}

// Set has all nodes refuse writes from now on. The error is of those where that could not
// be done.
func (f *ACLFence) Set(ctx context.Context) error {
	return f.each(func(c *server.Client) error {
		return change(ctx, c, f.Rules[c.Endpoint().Address].Users, f.fence)
	})
}

// Lift gives all users the rights back that they had, at every node that can be reached:
// Rules are then those of the others. Nothing happens where there are no Rules.
func (f *ACLFence) Lift(ctx context.Context) error {
	left := maps.Clone(f.Rules)
	var mu sync.Mutex
	err := f.each(func(c *server.Client) error {
		was := f.Rules[c.Endpoint().Address]
		err := change(ctx, c, was.Users, UserRules.lift)
		if err == nil {
			err = f.disconnect(ctx, c, was.Link)
		}
		if err == nil {
			mu.Lock()
			delete(left, c.Endpoint().Address)
			mu.Unlock()
		}
		return err
	})
	f.Rules = left
	return err
}

// Forget deletes godwit's own user, which ends its connections: what they have sent and a
// node has not read is not carried out any more. Nodes connect to each other as before, and
// what they were moving by a user of their own, stays where it was.
func (f *ACLFence) Forget(ctx context.Context) error {
	return f.each(func(c *server.Client) error {
		if err := f.disconnect(ctx, c, f.Rules[c.Endpoint().Address].Link); err != nil {
			return err
		}
		_, err := c.Do(ctx, "ACL", "DELUSER", f.User, f.mover())
		return err
	})
}

// change changes what the users of a node may run, all at one moment.
func change(ctx context.Context, c *server.Client, rules []UserRules, how func(UserRules) []any) error {
	if len(rules) == 0 {
		return nil
	}
	commands := make([][]any, len(rules))
	for i, u := range rules {
		commands[i] = how(u)
	}
	_, err := c.Transaction(ctx, commands...)
	return err
}
