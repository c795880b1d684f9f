package cutover

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"godwit/internal/server"
)

// An atomic move of slots (CLUSTER MIGRATESLOTS of Valkey, from 9.0 on) is sent by the node
// that has them, as commands that the other one carries out as those of any client: it
// checks what their user may run. That is the user of masteruser if the sender has a
// masterauth, and else the default one (cluster_migrateslots.c proceedWithSlotMigration,
// replication.c replicationSendAuth). Either is refused writes by the fence. So while that
// stands, primaries connect to each other by a user of their own, who may do what the one in
// whose place it is might do before. No client knows its password, or it knows that of the
// one in whose place it is.
//
// A replica connects by the same settings. It keeps its own, as a node that was started
// again does not know the user: only a primary that has just become a replica has them,
// until the next look. No password is journaled: masterauth is only set where there is
// none; one that there is, is made the user's.

// Link is by whom a node connects to the others of its cluster.
type Link struct {
	User     string `json:"user,omitempty"`     // masteruser
	Password bool   `json:"password,omitempty"` // there is a masterauth
}

// NodeRules is what a node had before it was fenced.
type NodeRules struct {
	Users []UserRules `json:"users"`
	Link  *Link       `json:"link,omitempty"` // nil where it is left alone
}

// UnmarshalJSON also takes what earlier versions noted: the users alone.
func (n *NodeRules) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		*n = NodeRules{}
		return json.Unmarshal(data, &n.Users)
	}
	type plain NodeRules
	return json.Unmarshal(data, (*plain)(n))
}

// Restore are the commands by which the node has again what it had.
func (n NodeRules) Restore() [][]string {
	var commands [][]string
	for _, u := range n.Users {
		commands = append(commands, words(u.lift()))
	}
	if n.Link != nil {
		commands = append(commands, words(n.Link.restore()))
	}
	return commands
}

func words(args []any) []string {
	var list []string
	for _, word := range args {
		list = append(list, fmt.Sprint(word))
	}
	return list
}

const (
	masterUser = "masteruser"
	masterAuth = "masterauth"
)

// restore is the command that sets both as they were, at one moment.
func (l *Link) restore() []any {
	args := []any{"CONFIG", "SET", masterUser, l.User}
	if !l.Password {
		args = append(args, masterAuth, "")
	}
	return args
}

// stands is the user in whose place the nodes' own is.
func (l *Link) stands() string {
	if l.Password && l.User != "" {
		return l.User
	}
	return "default"
}

// mover is the user by which nodes connect to each other.
func (f *ACLFence) mover() string { return f.User + ":nodes" }

// readLink finds out by whom a node connects, nil if no slots are moved so.
func (f *ACLFence) readLink(ctx context.Context, c *server.Client) (*Link, error) {
	if !f.Cluster {
		return nil, nil //nolint:nilnil // there is none
	}
	info, err := c.Info(ctx, "server")
	if v := info.Version(); err != nil || v.Product != server.Valkey || !v.AtLeast(9, 0) {
		return nil, err
	}
	user, password, err := linked(ctx, c)
	if err == nil && user == f.mover() {
		err = fmt.Errorf("%s: its masteruser is %s, and nobody knows what it was before", c.Endpoint().Address, user)
	}
	if err != nil {
		return nil, err
	}
	return &Link{User: user, Password: password != ""}, nil
}

// linked are the settings by which a node connects.
func linked(ctx context.Context, c *server.Client) (user, password string, err error) {
	if user, _, err = c.ConfigGet(ctx, masterUser); err == nil {
		password, _, err = c.ConfigGet(ctx, masterAuth)
	}
	return user, password, err
}

// AllowMoves has slots go on being movable at once while the fence stands, by the nodes'
// own user with that password. Prepare must have read the rules, and they must be durable.
// It is to be repeated, as Set is: for nodes that have joined, and whose role has changed.
func (f *ACLFence) AllowMoves(ctx context.Context, password string) error {
	var mu sync.Mutex
	passwords := map[string]struct{}{hashed(password): {}}
	err := f.eachLink(func(c *server.Client, was NodeRules) error {
		_, own, err := linked(ctx, c)
		if was.Link.Password && own != "" {
			mu.Lock()
			passwords[hashed(own)] = struct{}{}
			mu.Unlock()
		}
		return err
	})
	if err != nil {
		return err
	}
	// Any node may be the next that slots are moved to.
	err = f.eachLink(func(c *server.Client, was NodeRules) error { return f.introduceMover(ctx, c, was, passwords) })
	if err != nil {
		return err
	}
	err = f.eachLink(func(c *server.Client, was NodeRules) error { return f.connect(ctx, c, was.Link, password) })
	return errors.Join(f.unasked, err)
}

// EndMoves takes AllowMoves back: no more slots arrive, and what is on its way fails.
func (f *ACLFence) EndMoves(ctx context.Context) error {
	return f.eachLink(func(c *server.Client, was NodeRules) error {
		if err := f.disconnect(ctx, c, was.Link); err != nil {
			return err
		}
		_, err := c.Do(ctx, "ACL", "DELUSER", f.mover())
		return err
	})
}

// eachLink is each of the nodes by whose links slots are moved.
func (f *ACLFence) eachLink(do func(*server.Client, NodeRules) error) error {
	return f.each(func(c *server.Client) error {
		was := f.Rules[c.Endpoint().Address]
		if was.Link == nil {
			return nil
		}
		return do(c, was)
	})
}

// hashed is a password as ACL SETUSER takes it without knowing it (acl.c ACLHashPassword).
func hashed(password string) string {
	sum := sha256.Sum256([]byte(password))
	return "#" + hex.EncodeToString(sum[:])
}

// introduceMover has a node know the user by which the others connect.
func (f *ACLFence) introduceMover(ctx context.Context, c *server.Client, was NodeRules, passwords map[string]struct{}) error {
	lines, err := users(ctx, c)
	if err != nil {
		return err
	}
	args := []any{"ACL", "SETUSER", f.mover(), "reset", "on"}
	for p := range passwords {
		args = append(args, p)
	}
	for _, u := range was.Users {
		if line, found := lines[u.User]; found && u.User == was.Link.stands() {
			for _, word := range reach(line) {
				args = append(args, word)
			}
			args = append(args, u.lift()[3:]...)
		}
	}
	_, err = c.Do(ctx, args...)
	return err
}

// reach are the parts of a line of ACL LIST that say of which keys, channels and dbs: the
// fence does not touch them.
func reach(line string) []string {
	var list []string
	for i, word := range strings.Fields(line) {
		switch {
		case i < 2, word == "on", word == "off", word == "nopass", strings.ContainsRune("#+-", rune(word[0])):
		case word[0] == '(':
			return list // selectors are the last
		default:
			list = append(list, word)
		}
	}
	return list
}

// connect has a primary connect by the nodes' own user, and a replica as it did.
func (f *ACLFence) connect(ctx context.Context, c *server.Client, was *Link, password string) error {
	info, err := c.Info(ctx, "replication")
	if err != nil {
		return err
	}
	if info["role"] != "master" {
		return f.disconnect(ctx, c, was)
	}
	user, now, err := linked(ctx, c)
	if err != nil || user == f.mover() && (was.Password || now == password) {
		return err
	}
	if user != f.mover() && (user != was.User || (now != "") != was.Password) {
		return fmt.Errorf("%s: masteruser or masterauth was set since its users were refused writes", c.Endpoint().Address)
	}
	args := []any{"CONFIG", "SET", masterUser, f.mover()}
	if !was.Password {
		args = append(args, masterAuth, password)
	}
	_, err = c.Do(ctx, args...)
	return err
}

// disconnect has a node connect as it did before, unless somebody else has set that
// meanwhile.
func (f *ACLFence) disconnect(ctx context.Context, c *server.Client, was *Link) error {
	if was == nil {
		return nil
	}
	user, _, err := c.ConfigGet(ctx, masterUser)
	if err != nil || user != f.mover() {
		return err
	}
	_, err = c.Do(ctx, was.restore()...)
	return err
}
