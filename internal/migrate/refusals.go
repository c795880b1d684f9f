package migrate

import (
	"context"

	"godwit/internal/server"
)

// A replica that cannot carry out a command of its stream (it is out of memory
// and does not ignore that, a module is missing, an option is unknown) logs it,
// counts it in INFO as unexpected_error_replies, and goes on: the link is up,
// the offsets are equal and the data is missing (networking.c afterErrorReply).

// refusals is what that counter of a server's process stood at while it was
// known to hold what it should.
type refusals struct {
	RunID string `json:"run_id"`
	Count int64  `json:"count"`
}

const refusalCounter = "unexpected_error_replies"

// intact notes where the counter stands: that of a primary means nothing.
func (m *Migration) intact(e *end, info server.Info) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rec.Refusals == nil {
		m.rec.Refusals = make(map[Side]refusals)
	}
	m.rec.Refusals[e.side] = refusals{RunID: info["run_id"], Count: info.Int(refusalCounter)}
}

// refused fails once the replica's counter has grown.
func (m *Migration) refused(primary, replica *end, runID string, count int64) error {
	m.mu.Lock()
	before, known := m.rec.Refusals[replica.side]
	m.mu.Unlock()
	if known && before.RunID != runID {
		before.Count = 0 // another process
	}
	if n := count - before.Count; known && n > 0 {
		return hinted("see its log for them (CRITICAL) and mend the cause, such as maxmemory with replica-ignore-maxmemory no; then end this migration and begin a new one with --replace",
			"%s has refused %d commands of the stream, so its data is not that of %s any more", replica.address(), n, primary.address())
	}
	return nil
}

// askRefused asks the replica now.
func (m *Migration) askRefused(ctx context.Context, primary, replica *end) error {
	info, err := replica.client.Info(ctx, "stats")
	if err != nil {
		return err
	}
	return m.refused(primary, replica, replica.seen()["run_id"], info.Int(refusalCounter))
}
