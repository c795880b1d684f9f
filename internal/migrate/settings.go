package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"godwit/internal/server"
)

// Settings that godwit changes at a server. Each is journaled as it was
// before it is changed, and put back at the end. masterauth is only ever
// changed where none is set, so that no password needs to be kept.
const (
	masterauth         = "masterauth"
	masteruser         = "masteruser"
	minReplicasToWrite = "min-replicas-to-write"
	// Of a replica that is compared with its primary, and repaired.
	disklessSyncDelay = "repl-diskless-sync-delay"
	replicaReadOnly   = "replica-read-only"
)

// verifySettings are those that a comparison changes.
func verifySettings() []string { return []string{replicaReadOnly, disklessSyncDelay} }

// has tells whether any of these is noted of a server.
func (r *header) has(s Side, names ...string) bool {
	for _, x := range r.Settings {
		if x.Server == s && contains(names, x.Name) {
			return true
		}
	}
	return false
}

// arm sees that the server, when it connects to the listener, presents
// something by which it is known: the masterauth it has, or a one-time one.
func (c *core) arm(ctx context.Context, e *end) error {
	current, found, err := e.client.ConfigGet(ctx, masterauth)
	ours := c.saved(e.side, masterauth) != nil
	if err == nil && found && current != "" && !ours {
		e.mu.Lock()
		e.password, e.open = current, false
		e.mu.Unlock()
		return nil
	}
	if err == nil && found {
		if err := c.save(e.side, masterauth, ""); err != nil {
			return err
		}
		password := newPassword()
		// The server may connect before the answer is here.
		e.mu.Lock()
		e.password, e.open = password, false
		e.mu.Unlock()
		if err = e.client.ConfigSet(ctx, masterauth, password); err == nil {
			return nil
		}
	}
	// LOADING, BUSY and the like pass; only a server that never lets godwit may
	// go without a password.
	var refused *server.Error
	if err != nil && (!errors.As(err, &refused) || refused.Code != "NOPERM" && refused.Code != "ERR") {
		return err
	}
	c.event(slog.LevelWarn, fmt.Sprintf("%s does not let godwit set masterauth: the listener knows it by its address alone", e.address()))
	e.mu.Lock()
	e.open = true
	e.mu.Unlock()
	return nil
}

// save notes a setting's value before it is changed, the first time.
func (c *core) save(s Side, name, value string) error {
	return c.change(func(r *header) {
		for _, x := range r.Settings {
			if x.Server == s && x.Name == name {
				return
			}
		}
		r.Settings = append(r.Settings, setting{Server: s, Name: name, Value: value})
	})
}

// saved is what was noted, nil when nothing was.
func (c *core) saved(s Side, name string) *setting {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.head.Settings {
		if x.Server == s && x.Name == name {
			return &x
		}
	}
	return nil
}

// restore puts back what was changed at a server: the named settings, or all.
func (c *core) restore(ctx context.Context, e *end, names ...string) error {
	c.mu.Lock()
	settings := append([]setting(nil), c.head.Settings...)
	c.mu.Unlock()
	for _, s := range settings {
		if s.Server != e.side || len(names) > 0 && !contains(names, s.Name) {
			continue
		}
		if err := putBackSetting(ctx, e.client, s.Name, s.Value); err != nil {
			return fmt.Errorf("restoring %s: %w", s.Name, err)
		}
		if err := c.change(func(r *header) {
			var kept []setting
			for _, x := range r.Settings {
				if x != s {
					kept = append(kept, x)
				}
			}
			r.Settings = kept
		}); err != nil {
			return err
		}
	}
	return nil
}

// putBackSetting sets what was changed, as it was. It is noted before it is changed: a server
// that does not let godwit do either has it as it was.
func putBackSetting(ctx context.Context, c *server.Client, name, value string) error {
	err := c.ConfigSet(ctx, name, value)
	if err == nil || unlessRefused(err) != nil {
		return err
	}
	if now, found, askErr := c.ConfigGet(ctx, name); askErr == nil && found && now == value {
		return nil
	}
	return err
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
