// Package psync speaks the replication protocol from both ends: as a replica
// to a primary (Attach, Stream) and as a primary to a replica (Accept, Peer).
// It carries no state between connections; who resumes what is the engine's
// business. Sources of its rules: replication.c of Redis 6.0 to 8 and of Valkey 8.
package psync

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/resp"
	"godwit/internal/server"
)

// HandshakeTimeout bounds each answer of the handshake but that to PSYNC.
const HandshakeTimeout = 5 * time.Second

// SilenceTimeout is after how long without a byte a connection counts as
// dead: Redis' own default repl-timeout. Both ends send something at least every 10 s.
const SilenceTimeout = 60 * time.Second

// NoOffset asks for a full resync, with the replid "?".
const NoOffset = -1

// Hello is what a replica says of itself before PSYNC.
type Hello struct {
	Username, Password string
	ListeningPort      int    // what the primary shows as the replica's port, and FAILOVER TO finds it by
	IPAddress          string // likewise
	EOF                bool   // takes a snapshot that ends in a marker
	PSYNC2             bool   // takes +CONTINUE with a new replid
	Version            string // the replica's version where it says one (Valkey chooses the RDB format by it)
	// RDBOnly says that the snapshot is all that is wanted: a primary that knows the
	// word (Redis 7.0 on) keeps no stream for this replica meanwhile, and closes the
	// connection at the snapshot's end.
	RDBOnly bool
}

// Answer is a primary's answer to PSYNC.
type Answer struct {
	Full   bool   // a full resync: the snapshot follows
	ReplID string // of the stream; for a partial resync empty when it has not changed
	Offset int64  // of a full resync: the stream's offset at the snapshot
}

// Stream is an attached replica's connection.
type Stream struct {
	conn net.Conn
	r    *bufio.Reader

	ackMu  sync.Mutex // ACKs come from several goroutines, and must not mix
	ackBuf []byte
}

// Attach introduces itself on a fresh connection and asks PSYNC replid offset;
// offset is the first byte wanted. keepalive is called for each newline that
// the primary sends while it prepares its answer. On an error the connection
// is the caller's to close (when ctx is done it is closed already); a refusal
// is a *server.Error.
func Attach(ctx context.Context, conn net.Conn, hello Hello, replid string, offset int64, keepalive func()) (*Stream, Answer, error) {
	s := &Stream{conn: conn, r: bufio.NewReaderSize(conn, 4<<10)}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	answer, err := s.attach(hello, replid, offset, keepalive)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		return nil, Answer{}, err
	}
	return s, answer, nil
}

func (s *Stream) attach(hello Hello, replid string, offset int64, keepalive func()) (Answer, error) {
	if hello.Password != "" {
		args := []string{"AUTH", hello.Password}
		if hello.Username != "" {
			args = []string{"AUTH", hello.Username, hello.Password}
		}
		if err := s.must(args...); err != nil {
			return Answer{}, err
		}
	}
	if err := s.must("PING"); err != nil {
		return Answer{}, err
	}
	if err := s.must("REPLCONF", "listening-port", strconv.Itoa(hello.ListeningPort)); err != nil {
		return Answer{}, err
	}
	if hello.IPAddress != "" {
		if err := s.must("REPLCONF", "ip-address", hello.IPAddress); err != nil {
			return Answer{}, err
		}
	}
	capabilities := []string{"REPLCONF"}
	if hello.EOF {
		capabilities = append(capabilities, "capa", "eof")
	}
	if hello.PSYNC2 {
		capabilities = append(capabilities, "capa", "psync2")
	}
	if len(capabilities) > 1 {
		if err := s.must(capabilities...); err != nil {
			return Answer{}, err
		}
	}
	if hello.Version != "" {
		if err := s.may("REPLCONF", "version", hello.Version); err != nil {
			return Answer{}, err
		}
	}
	if hello.RDBOnly {
		if err := s.may("REPLCONF", "rdb-only", "1"); err != nil {
			return Answer{}, err
		}
	}
	if err := s.send("PSYNC", replid, strconv.FormatInt(offset, 10)); err != nil {
		return Answer{}, err
	}
	line, err := s.line(SilenceTimeout, keepalive)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: PSYNC: %w", s.peer(), err)
	}
	if err := s.conn.SetDeadline(time.Time{}); err != nil {
		return Answer{}, err
	}
	return s.parseAnswer(line)
}

func (s *Stream) parseAnswer(line []byte) (Answer, error) {
	words := strings.Fields(string(line))
	switch {
	case len(words) == 3 && words[0] == "+FULLRESYNC":
		offset, err := strconv.ParseInt(words[2], 10, 64)
		if err != nil || offset < 0 {
			return Answer{}, fmt.Errorf("%s: PSYNC: bad offset in %.80q", s.peer(), line)
		}
		return Answer{Full: true, ReplID: words[1], Offset: offset}, nil
	case len(words) == 1 && words[0] == "+CONTINUE":
		return Answer{}, nil
	case len(words) == 2 && words[0] == "+CONTINUE":
		return Answer{ReplID: words[1]}, nil
	case line[0] == '-':
		return Answer{}, server.NewError(s.peer(), "PSYNC", string(line[1:]))
	}
	return Answer{}, fmt.Errorf("%s: PSYNC: unexpected answer %.80q", s.peer(), line)
}

// Read reads what follows as raw bytes: the snapshot, then the replication stream.
func (s *Stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// Peek gives the next n bytes, a few, and leaves them to be read.
func (s *Stream) Peek(n int) ([]byte, error) { return s.r.Peek(n) }

// Ack tells the primary which offset the replica has applied.
func (s *Stream) Ack(offset int64) error {
	s.ackMu.Lock()
	defer s.ackMu.Unlock()
	s.ackBuf = resp.AppendCommand(s.ackBuf[:0], "REPLCONF", "ACK", strconv.FormatInt(offset, 10))
	if err := s.conn.SetWriteDeadline(time.Now().Add(SilenceTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(s.ackBuf)
	return err
}

// Close ends the connection; a Read under way returns.
func (s *Stream) Close() error { return s.conn.Close() }

func (s *Stream) peer() string { return s.conn.RemoteAddr().String() }

func (s *Stream) send(args ...string) error {
	if err := s.conn.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return err
	}
	if _, err := s.conn.Write(resp.AppendCommand(nil, args...)); err != nil {
		return fmt.Errorf("%s: %s: %w", s.peer(), args[0], err)
	}
	return nil
}

// must sends a command whose answer is +something.
func (s *Stream) must(args ...string) error {
	if err := s.send(args...); err != nil {
		return err
	}
	line, err := s.line(HandshakeTimeout, nil)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.peer(), args[0], err)
	}
	switch line[0] {
	case '+':
		return nil
	case '-':
		return server.NewError(s.peer(), args[0], string(line[1:]))
	}
	return fmt.Errorf("%s: %s: unexpected answer %.80q: not a Redis or Valkey server?", s.peer(), args[0], line)
}

// may sends a command that a primary need not know: then it says so, and nothing
// is lost.
func (s *Stream) may(args ...string) error {
	var reply *server.Error
	if err := s.must(args...); err != nil && !errors.As(err, &reply) {
		return err
	}
	return nil
}

// line reads one line that is not empty, giving each one timeout.
func (s *Stream) line(timeout time.Duration, keepalive func()) ([]byte, error) {
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return nil, err
		}
		line, err := resp.ReadLine(s.r)
		if err != nil {
			return nil, err
		}
		if len(line) > 0 {
			return line, nil
		}
		if keepalive != nil {
			keepalive()
		}
	}
}
