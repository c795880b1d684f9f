package migrate

import (
	"context"
	"fmt"
	"log/slog"

	"godwit/internal/apply"
	"godwit/internal/divide"
	"godwit/internal/reserved"
	"godwit/internal/server"
)

// ShardByError says that a migration that goes on was begun with another rule of how keys are
// divided: its data have proven the one, and not the other.
type ShardByError struct{ Name, Was, Now string }

func (e *ShardByError) Error() string {
	return fmt.Sprintf("migration %s was begun with %s, not %s", e.Name, shardBy(e.Was), shardBy(e.Now))
}

// HintText is what the user can do about it.
func (e *ShardByError) HintText() string {
	return "go on with what it was begun with, or end it with `godwit abort " + e.Name + "` and begin anew"
}

// ExitCode is that of a bad usage.
func (e *ShardByError) ExitCode() int { return 2 }

func shardBy(rule string) string {
	if rule == "" {
		return "no --shard-by"
	}
	return "--shard-by " + rule
}

// progress is how far the engines have come that write to a side.
func (r *jointRecord) progress(d *deployment) []apply.Progress {
	if len(d.endpoints) == 1 {
		return []apply.Progress{r.Toward[d.side]}
	}
	all := make([]apply.Progress, len(d.endpoints))
	copy(all, r.Apart)
	return all
}

// setProgress notes how far one of them has come.
func (r *jointRecord) setProgress(d *deployment, part int, p apply.Progress) {
	if len(d.endpoints) == 1 {
		r.Toward[d.side] = p
		return
	}
	r.Apart = r.progress(d)
	r.Apart[part] = p
}

// leadsBack tells whether what is written to the other side goes to this one.
func (r *jointRecord) leadsBack(d *deployment) bool {
	for _, p := range r.progress(d) {
		if p.Owner == "" {
			return false
		}
	}
	return true
}

// rule is that of ShardBy, nil if there is none.
func (c Config) rule() (*divide.Rule, error) {
	if c.ShardBy == "" {
		return nil, nil
	}
	return divide.New(c.ShardBy, len(c.sources()))
}

// tryShardBy sees that a program answers, before anything is begun. It need not know other
// keys than those that there are.
func (c Config) tryShardBy(ctx context.Context) error {
	rule, err := c.rule()
	if err != nil || rule == nil {
		return err
	}
	defer rule.Close()
	for _, e := range c.sources() {
		key, err := anyKey(ctx, e, "godwit:"+c.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", Source, err)
		}
		if key == nil || reserved.Is(key) {
			continue
		}
		if _, err := rule.Of(ctx, key); err != nil {
			return fmt.Errorf("--shard-by: %w", err)
		}
	}
	return nil
}

// anyKey is one that a server has, nil if it has none.
func anyKey(ctx context.Context, e server.Endpoint, name string) ([]byte, error) {
	client, err := server.Dial(ctx, e, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }() // every reply was read
	reply, err := client.Do(ctx, "RANDOMKEY")
	if key, ok := reply.(string); ok {
		return []byte(key), err
	}
	return nil, unlessRefused(err)
}

// refutedLocked tells which key is not where the rule says, where that is in the way of a
// cutover: a way back is wanted. It is empty if all are.
func (m *Joint) refutedLocked() string {
	if m.rule == nil || m.rec.Primary == Target || m.cfg.RollbackWindow == 0 || m.cfg.Cutover == Never {
		return ""
	}
	r := m.rec.Toward[Target].Refuted
	if m.engines != nil {
		r = m.engines.refuted()
	}
	if r == nil {
		return ""
	}
	more := ""
	if r.Count > 1 {
		more = fmt.Sprintf(", and %d more are not where it says", r.Count-1)
	}
	return fmt.Sprintf("--shard-by %s is not how clients have divided their keys: %.200q is at %s, and would be at %s%s",
		m.cfg.ShardBy, r.Key, r.Server, m.sides[Source].endpoints[r.Rule].Address, more)
}

// refuted is refutedLocked.
func (m *Joint) refuted() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refutedLocked()
}

// refutedHint is what the user can do about it.
const refutedHint = "`godwit abort`, and begin anew with the rule that the clients have, or without those keys; or go on without a way back: the same `godwit run` with --rollback-window 0"

// noteRefuted says once that a key was met that is not where the rule says.
func (m *Joint) noteRefuted() {
	if why := m.refuted(); why != "" && !m.toldRefuted {
		m.toldRefuted = true
		m.event(slog.LevelError, why+"; "+refutedHint)
	}
}
