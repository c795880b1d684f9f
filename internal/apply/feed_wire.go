package apply

import (
	"context"
	"fmt"
	"strings"
	"time"

	"godwit/internal/psync"
	"godwit/internal/server"
)

// put hands a transaction to the writer. It is the writer's from then on.
func (s *session) put(ctx context.Context, b *feedBatch) error {
	b.seal()
	s.begun.Add(1)
	select {
	case s.out <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write sends what is put, and pings in between, as a primary does.
func (s *session) write(ctx context.Context) error {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case b := <-s.out:
			// The end first: the replica may confirm it before Write returns.
			s.mu.Lock()
			s.pending = append(s.pending, sentBatch{end: s.sent.Add(int64(len(b.buf))), link: b.link, to: b.to})
			s.mu.Unlock()
			if _, err := s.peer.Write(b.buf); err != nil {
				return server.Failed(s.feed.cfg.Replica.Address, "replication", err)
			}
			if b.free != nil {
				b.free <- b // there is room for all there are
			}
		case <-ping.C:
			const ping = "*1\r\n$4\r\nPING\r\n"
			s.sent.Add(int64(len(ping)))
			if _, err := s.peer.Write([]byte(ping)); err != nil {
				return server.Failed(s.feed.cfg.Replica.Address, "replication", err)
			}
		}
	}
}

// watch ends a connection that has been silent for too long: half-open.
func (s *session) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case now := <-tick.C:
			if silent := now.Sub(time.Unix(0, s.heard.Load())); silent > psync.SilenceTimeout {
				s.cancel(fmt.Errorf("%s: it was silent for %v", s.feed.cfg.Replica.Address, silent.Round(time.Second)))
				_ = s.peer.Close() // ends those that wait for it
				return context.Cause(ctx)
			}
		}
	}
}

// readAcks takes what the replica says by itself.
func (s *session) readAcks() error {
	for {
		offset, err := s.peer.ReadAck()
		if err != nil {
			return fmt.Errorf("%s: %w", s.feed.cfg.Replica.Address, eof(err))
		}
		s.alive()
		s.confirm(offset)
	}
}

// confirm notes that the replica has applied everything up to an offset of its own.
func (s *session) confirm(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset <= s.acked.Load() {
		return
	}
	s.acked.Store(offset)
	n := 0
	for ; n < len(s.pending) && s.pending[n].end <= offset; n++ {
		s.done++
		if p := s.pending[n]; p.link != nil {
			p.link.applied.Store(p.to)
		}
	}
	s.pending = append(s.pending[:0], s.pending[n:]...)
}

// confirmed is how many transactions the replica has applied, by its own count.
func (s *session) confirmed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// poll asks the replica how far it has come, as long as somebody waits for it.
func (s *session) poll(ctx context.Context) {
	var c *server.Client
	defer func() {
		if c != nil {
			_ = c.Close() // nothing was left unsent
		}
	}()
	again := time.NewTicker(pollInterval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		if s.feed.waiting.Load() == 0 || s.acked.Load() >= s.sent.Load() {
			continue
		}
		if c == nil {
			var err error
			if c, err = server.New(s.feed.cfg.Replica, clientName); err != nil {
				return // it was dialed before: its own word comes once a second
			}
		}
		if info, err := c.Info(ctx, "replication"); err == nil && info["role"] == "slave" && strings.EqualFold(info["master_replid"], s.peer.ReplID) {
			s.confirm(info.Int("slave_repl_offset"))
		}
	}
}
