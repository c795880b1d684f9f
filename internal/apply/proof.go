package apply

import (
	"context"
	"slices"

	"godwit/internal/divide"
	"godwit/internal/reserved"
)

// Refutation says that clients have not divided their keys by a rule.
type Refutation struct {
	Key    []byte `json:"key"`    // the first that is not where it should be
	Server string `json:"server"` // where it is
	Rule   int    `json:"rule"`   // which server has it by the rule, from 0 on
	Count  int64  `json:"count"`  // of keys, and of commands since the copy
}

// proof sees that each key that a source has is that server's by a rule.
type proof struct {
	rule    *divide.Rule
	server  int // the source's number among the servers
	refuted func(key []byte, by int) error

	names []byte // of keys that were not asked for yet
	ends  []int  // in names
	keys  [][]byte
	of    []int
}

// begin forgets what was seen of a copy that was given up.
func (p *proof) begin() {
	if p != nil {
		p.names, p.ends = p.names[:0], p.ends[:0]
	}
}

// provenAtOnce is for how many keys somebody is asked at once.
const provenAtOnce = 1000

// see looks at a key, or remembers it for flush.
func (p *proof) see(ctx context.Context, key []byte) error {
	if !p.rule.Asks() {
		of, err := p.rule.Of(ctx, key)
		if err == nil && of != p.server {
			err = p.refuted(key, of)
		}
		return err
	}
	p.names = append(p.names, key...)
	p.ends = append(p.ends, len(p.names))
	if len(p.ends) < provenAtOnce {
		return nil
	}
	return p.flush(ctx)
}

// flush looks at all keys that were seen.
func (p *proof) flush(ctx context.Context) (err error) {
	if p == nil || len(p.ends) == 0 {
		return nil
	}
	p.keys = p.keys[:0]
	begin := 0
	for _, end := range p.ends {
		p.keys = append(p.keys, p.names[begin:end])
		begin = end
	}
	if p.of, err = p.rule.AppendOf(ctx, p.of[:0], p.keys); err != nil {
		return err
	}
	for i, of := range p.of {
		if of != p.server {
			if err := p.refuted(p.keys[i], of); err != nil {
				return err
			}
		}
	}
	p.names, p.ends = p.names[:0], p.ends[:0]
	return nil
}

// prove looks at the keys that a command of a source writes. That a key is deleted says
// nothing: clients may have told all servers so.
func (d *dispatcher) prove(ctx context.Context, args [][]byte) error {
	if is(args[0], "del") || is(args[0], "unlink") {
		return nil
	}
	var err error
	if d.late, err = d.placer.AppendWritten(d.late[:0], args); err != nil {
		return err
	}
	for _, key := range d.late {
		if reserved.Is(key) {
			continue
		}
		if err := d.proof.see(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// proof is of a link's keys, nil where there is no rule to be proven.
func (e *Engine) proof(source int) *proof {
	if e.cfg.Proves == nil {
		return nil
	}
	return &proof{rule: e.cfg.Proves, server: source, refuted: func(key []byte, by int) error { return e.refute(source, key, by) }}
}

// refute notes a key that is not where it should be. Only the first is noted durably: how
// many there are with whatever is noted next.
func (e *Engine) refute(source int, key []byte, by int) error {
	first := &Refutation{Key: slices.Clone(key), Server: e.cfg.Sources[source].Endpoint.Address, Rule: by, Count: 1}
	for {
		was := e.refuted.Load()
		if was == nil {
			if e.refuted.CompareAndSwap(nil, first) {
				return e.noteRefuted(first)
			}
			continue
		}
		more := *was
		more.Count++
		if e.refuted.CompareAndSwap(was, &more) {
			return nil
		}
	}
}

// noteRefuted saves it; that of a copy is saved with it.
func (e *Engine) noteRefuted(r *Refutation) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.progress.copied() {
		return nil
	}
	next := e.progress
	next.Refuted = r
	return e.saveLocked(next)
}

// Refuted tells whether clients have divided their keys otherwise than Config.Proves says,
// by all that was copied and followed so far; nil if they have not. It does not wait for
// progress to be saved.
func (e *Engine) Refuted() *Refutation { return e.refuted.Load() }
