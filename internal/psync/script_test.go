package psync_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"godwit/internal/resp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is the other end of a connection, in a goroutine of its own.
type script struct {
	conn net.Conn
	r    *bufio.Reader
	done chan error
}

// play runs steps on one end of a connection and returns the other. After its
// steps the script stays connected and reads on until the other end closes; a
// step that fails closes the connection at once, and fails the test.
func play(t *testing.T, steps func(s *script) error) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	s := &script{conn: theirs, r: bufio.NewReader(theirs), done: make(chan error, 1)}
	go func() {
		err := steps(s)
		if err == nil {
			_, _ = io.Copy(io.Discard, s.r)
		}
		s.conn.Close()
		s.done <- err
	}()
	t.Cleanup(func() {
		ours.Close()
		if err := <-s.done; err != nil {
			t.Errorf("script: %v", err)
		}
	})
	return ours
}

// expect reads one command.
func (s *script) expect(args ...string) error {
	cmd, _, err := resp.ReadCommand(s.r)
	if err != nil {
		return fmt.Errorf("expecting %q: %w", args, err)
	}
	got := make([]string, len(cmd.Args))
	for i, a := range cmd.Args {
		got[i] = string(a)
	}
	if !slices.Equal(got, args) {
		return fmt.Errorf("got %q, want %q", got, args)
	}
	return nil
}

// reply sends raw text, in pieces where it says | .
func (s *script) reply(text string) error {
	for piece := range strings.SplitSeq(text, "|") {
		if _, err := io.WriteString(s.conn, piece); err != nil {
			return fmt.Errorf("replying %q: %w", text, err)
		}
	}
	return nil
}

// line expects a reply line.
func (s *script) line(want string) error {
	got, err := s.r.ReadString('\n')
	if err != nil || got != want+"\r\n" {
		return fmt.Errorf("got %q, %w, want %q", got, err, want)
	}
	return nil
}

// closed expects the end of the connection.
func (s *script) closed() error {
	rest, err := io.ReadAll(s.r)
	if len(rest) > 0 || err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("got %q, %w, want the end", rest, err)
	}
	return nil
}

// hangUp closes the connection.
func (s *script) hangUp() error { return s.conn.Close() }

// handshake answers a replica's introduction, up to its PSYNC.
func (s *script) handshake(psync ...string) error {
	return first(
		func() error { return s.expect("PING") },
		func() error { return s.reply("+PONG\r\n") },
		func() error { return s.expect("REPLCONF", "listening-port", "0") },
		func() error { return s.reply("+OK\r\n") },
		func() error { return s.expect(append([]string{"PSYNC"}, psync...)...) },
	)
}

// first runs steps up to the first error.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
