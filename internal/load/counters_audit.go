package load

import (
	"context"
	"strconv"

	"godwit/internal/shards"
)

func (a *audit) counters(ctx context.Context) error {
	if err := a.sharedCounter(ctx); err != nil {
		return err
	}
	for _, w := range a.load.writers {
		if err := a.ownCounter(ctx, w); err != nil {
			return err
		}
		if err := a.uniqueKeys(ctx, w); err != nil {
			return err
		}
		if err := a.list(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) counter(ctx context.Context, key string, low, high int64) error {
	text, err := a.askText(ctx, "GET", key)
	if err != nil {
		return err
	}
	var found int64
	if text != "" {
		if found, err = strconv.ParseInt(text, 10, 64); err != nil {
			return err
		}
	}
	a.number(key, found, low, high)
	return nil
}

func (a *audit) sharedCounter(ctx context.Context) error {
	var low, high int64
	for _, w := range a.load.writers {
		acks, unknowns := w.counters.history.count(IncrShared)
		low += acks
		high += acks + unknowns
	}
	return a.counter(ctx, sharedKey(a.load.keyPrefix), low, high)
}

func (a *audit) ownCounter(ctx context.Context, w *writer) error {
	key, b := ownKey(a.load.keyPrefix, w.id), w.counters.history.counter
	a.replied(key, b)
	return a.counter(ctx, key, b.low, b.high)
}

func (a *audit) uniqueKeys(ctx context.Context, w *writer) error {
	prefix := uniqueKey(a.load.keyPrefix, w.id)
	total := w.counters.history.sequences(SetUnique)
	for first := int64(0); first < total; first += pageSize {
		last := min(first+pageSize, total)
		gets := make([]shards.Command, 0, pageSize)
		for seq := first; seq < last; seq++ {
			gets = append(gets, shards.Command{"GET", prefix + strconv.FormatInt(seq, 10)})
		}
		values, err := a.ask(ctx, gets...)
		if err != nil {
			return err
		}
		for i, value := range values {
			a.uniqueKey(w, prefix, first+int64(i), value)
		}
	}
	return nil
}

func (a *audit) uniqueKey(w *writer, prefix string, seq int64, value any) {
	outcome := w.counters.history.outcome(SetUnique, seq)
	switch {
	case value == strconv.FormatInt(seq, 10):
		a.report.Found++
		if outcome == refused {
			a.doubled(1, "%s%d is there, its SET was answered by an error", prefix, seq)
		}
	case value != nil:
		a.lost(1, "%s%d has the value %.40q", prefix, seq, value)
	case outcome == acked:
		a.lost(1, "%s%d is not there", prefix, seq)
	}
}

func (a *audit) list(ctx context.Context, w *writer) error {
	key, history := listKey(a.load.keyPrefix, w.id), &w.counters.history
	t := a.newTokens(key, "pushed", func(_ int, seq int64) outcome { return history.outcome(PushUnique, seq) })
	for first := int64(0); ; first += pageSize {
		replies, err := a.ask(ctx, shards.Command{"LRANGE", key, first, first + pageSize - 1})
		if err != nil {
			return err
		}
		elements, _ := replies[0].([]any)
		for _, element := range elements {
			text, _ := element.(string)
			seq, err := strconv.ParseInt(text, 10, 64)
			t.see(token{w.id, seq}, text, err == nil)
		}
		if len(elements) < pageSize {
			break
		}
	}
	t.missing(w.id, 0, history.sequences(PushUnique))
	return nil
}
