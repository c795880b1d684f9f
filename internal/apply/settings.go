package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/resp"
	"godwit/internal/server"
)

// A shard tells of keys that it lets go of only if its notify-keyspace-events says so.
// What that was is saved before it is changed, for each node: a replica that is promoted
// has a setting of its own. End puts all back.

// Setting is what was changed at a node of the target.
type Setting struct {
	Node string `json:"node"` // its address
	Was  string `json:"was"`
}

// SettingError says that a shard does not tell which keys it lets go of, and that it may
// not be told to.
type SettingError struct {
	Shard string
	Err   error // what it answered to CONFIG; nil if it only says that the setting lacks something
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("%s: %s has not all of %q, and cannot be set: %v", e.Shard, notifySetting, notifyFlags, e.Err)
}
func (e *SettingError) Unwrap() error { return e.Err }

// HintText is what the user can do about it.
func (e *SettingError) HintText() string {
	return fmt.Sprintf("allow CONFIG GET and CONFIG SET to the user, or set %s to %s at every node of the target by the provider's means; godwit goes on by itself then", notifySetting, notifyFlags)
}

// set sets what it takes for the shard to tell which keys it lets go of. changed is given
// what the setting was, before it is set to anything else. unset says why it could not
// be, or could not be seen.
func (l *lane) set(changed func(node, was string) error) (unset, err error) {
	reply, err := l.conn.do("CONFIG", "GET", notifySetting)
	var refused *server.Error
	switch {
	case errors.As(err, &refused):
		return err, nil
	case err != nil:
		return nil, err
	case len(reply) != 2:
		return errors.New("CONFIG GET does not show it"), nil
	}
	was := string(reply[1])
	want := withFlags(was)
	if want == was {
		return nil, nil
	}
	if err := changed(l.shard.Address, was); err != nil {
		return nil, err
	}
	if _, err = l.conn.do("CONFIG", "SET", notifySetting, want); errors.As(err, &refused) {
		return err, nil
	}
	return nil, err
}

// probe makes keys expire, and sees whether the shard tells so: it may have been set to
// by other means than CONFIG. refused is why that has to be tried. (Whether it tells of
// evicted keys cannot be tried; where it evicts, the target is not exact anyhow.)
func (l *lane) probe(ctx context.Context, refused error) error {
	key := string(l.key) + ":probe"
	events := map[string]bool{}
	ask := func(args ...string) (resp.Reply, error) { return l.ask(events, args...) }
	if _, err := ask("SET", key, "", "PX", "1"); err != nil {
		return err
	}
	if err := l.gone(ctx, ask, key); err != nil {
		return err
	}
	told := events["expired"]
	if _, err := ask("HSET", key, "field", ""); err != nil {
		return err
	}
	reply, err := ask("HPEXPIRE", key, "1", "FIELDS", "1", "field")
	if err != nil {
		return err
	}
	if reply.Kind != resp.Failure { // the server has such
		if err := l.gone(ctx, ask, key); err != nil {
			return err
		}
		told = told && events["hexpired"]
	} else if _, err := ask("DEL", key); err != nil {
		return err
	}
	if !told {
		return &SettingError{l.shard.Address, refused}
	}
	return nil
}

// probes is how often a key that is to expire is looked for, once in firstRetry.
const probes = 200

// gone waits until a key is not there any more, and what was told of it has come.
func (l *lane) gone(ctx context.Context, ask func(...string) (resp.Reply, error), key string) error {
	for range probes {
		reply, err := ask("EXISTS", key)
		if err == nil && reply.Kind == resp.Integer && reply.N == 0 {
			_, err = ask("PING")
			return err
		}
		if err != nil {
			return err
		}
		if !wait(ctx, firstRetry) {
			return context.Cause(ctx)
		}
	}
	_, err := ask("DEL", key)
	return err
}

// ask sends a command and gives its reply, noting what the shard tells before.
func (l *lane) ask(events map[string]bool, args ...string) (resp.Reply, error) {
	if _, err := l.conn.Write(resp.AppendCommand(nil, args...)); err != nil {
		return resp.Reply{}, server.Failed(l.shard.Address, args[0], err)
	}
	for {
		reply, err := l.conn.r.Next()
		if err != nil {
			return reply, server.Failed(l.shard.Address, args[0], eof(err))
		}
		texts, err := l.conn.texts(nil, reply)
		if err != nil || reply.Kind != resp.Push {
			return reply, err
		}
		if len(texts) == 4 {
			_, event, _ := strings.Cut(string(texts[2]), "__:")
			events[event] = true
		}
	}
}

// changed notes what a setting was, once.
func (e *Engine) changed(node, was string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.ContainsFunc(e.progress.Settings, func(s Setting) bool { return s.Node == node }) {
		return nil // it has lost what it was set to, by a restart perhaps
	}
	next := e.progress
	next.Settings = append(slices.Clone(next.Settings), Setting{node, was})
	return e.saveLocked(next)
}

// putBack gives a node its setting back, unless somebody else has changed it since.
func (e *Engine) putBack(ctx context.Context, s Setting) error {
	node := e.cfg.Target
	node.Address = s.Node
	c, err := dial(ctx, node)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	now, err := c.do("CONFIG", "GET", notifySetting)
	if err != nil || len(now) != 2 {
		return err
	}
	if is := string(now[1]); !sameFlags(is, withFlags(s.Was)) {
		if !sameFlags(is, s.Was) {
			e.cfg.Log.Warn("somebody has changed a setting: it stays as it is", "node", s.Node, notifySetting, is, "before godwit", s.Was)
		}
		return nil
	}
	_, err = c.do("CONFIG", "SET", notifySetting, s.Was)
	return err
}

// sameFlags compares two values of the setting. A stands for all of g$lshzxet, and for d
// and newer ones where there are any (notify.c).
func sameFlags(a, b string) bool {
	const all = "g$lshzxetd"
	has := func(s string, flag rune) bool {
		return strings.ContainsRune(s, flag) || strings.ContainsRune(s, 'A') && strings.ContainsRune(all, flag)
	}
	for _, flag := range all + "KEmnoc" {
		if has(a, flag) != has(b, flag) {
			return false
		}
	}
	return true
}

// RestoreError says that a node has not got its setting back.
type RestoreError struct {
	Setting
	Err error
}

func (e *RestoreError) Error() string {
	return fmt.Sprintf("%s: %s was not put back: %v", e.Node, notifySetting, e.Err)
}
func (e *RestoreError) Unwrap() error { return e.Err }

// HintText is what the user can do about it.
func (e *RestoreError) HintText() string {
	return fmt.Sprintf("if that node is still there: CONFIG SET %s %q", notifySetting, e.Was)
}
