package psync_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"godwit/internal/psync"
	"godwit/internal/resp"
)

func open(string, string) (string, bool) { return "anyone", true }

func onlyTarget(username, password string) (string, bool) {
	return "target", username == "" && psync.Equal(password, "secret")
}

// say is a command on the wire.
func say(args ...string) string { return string(resp.AppendCommand(nil, args...)) }

func TestAcceptLearnsAllOfTheReplica(t *testing.T) {
	conn := play(t, func(s *script) error {
		return first(
			func() error { return s.reply(say("PING")) },
			func() error { return s.line("-NOAUTH Authentication required.") },
			func() error { return s.reply(say("AUTH", "secret")) },
			func() error { return s.line("+OK") },
			func() error { return s.reply(say("REPLCONF", "listening-port", "7001", "ip-address", "10.0.0.2")) },
			func() error { return s.line("+OK") },
			func() error {
				return s.reply(say("replconf", "capa", "eof", "CAPA", "PSYNC2", "capa", "dual-channel"))
			},
			func() error { return s.line("+OK") },
			func() error { return s.reply(say("REPLCONF", "version", "8.1.0")) },
			func() error { return s.line("+OK") },
			func() error { return s.reply(say("REPLCONF", "something-new", "1")) },
			func() error { return s.line(`-ERR Unrecognized REPLCONF option: "something-new"`) },
			func() error { return s.reply(say("REPLCONF", "capa")) },
			func() error { return s.line("-ERR syntax error") },
			func() error { return s.reply(say("REPLCONF", "listening-port", "x")) },
			func() error { return s.line("-ERR value is not an integer or out of range") },
			func() error { return s.reply(say("PSYNC", id, "1000", "FAILOVER")) },
		)
	})
	p, err := psync.Accept(t.Context(), conn, onlyTarget)
	if err != nil {
		t.Fatal(err)
	}
	want := psync.Hello{ListeningPort: 7001, IPAddress: "10.0.0.2", EOF: true, PSYNC2: true, Version: "8.1.0"}
	if p.Hello != want {
		t.Errorf("%+v, want %+v", p.Hello, want)
	}
	if p.Identity != "target" || p.ReplID != id || p.Offset != 1000 || !p.Failover {
		t.Errorf("%s asks PSYNC %s %d, failover %v", p.Identity, p.ReplID, p.Offset, p.Failover)
	}
}

func TestAcceptAuthenticates(t *testing.T) {
	tests := []struct {
		name     string
		judge    psync.Authenticate
		say      []string
		reply    []string
		identity string // "": turned away as a stranger
	}{
		{"right", onlyTarget, []string{say("AUTH", "secret"), say("PSYNC", "?", "-1")}, []string{"+OK"}, "target"},
		{"wrong", onlyTarget, []string{say("AUTH", "secreT")}, []string{"-WRONGPASS invalid username-password pair or user is disabled."}, ""},
		{"wrong user", onlyTarget, []string{say("AUTH", "admin", "secret")}, []string{"-WRONGPASS invalid username-password pair or user is disabled."}, ""},
		{"missing", onlyTarget, []string{say("PING"), say("REPLCONF", "capa", "eof")}, []string{"-NOAUTH Authentication required.", "-NOAUTH Authentication required."}, ""},
		{"missing, PSYNC at once", onlyTarget, []string{say("PSYNC", "?", "-1")}, []string{"-NOAUTH Authentication required."}, ""},
		{"missing, SYNC", onlyTarget, []string{say("SYNC")}, []string{"-NOAUTH Authentication required."}, ""},
		{"none wanted", open, []string{say("PING"), say("PSYNC", "?", "-1")}, []string{"+PONG"}, "anyone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := play(t, func(s *script) error {
				for i, command := range tt.say {
					if err := s.reply(command); err != nil {
						return err
					}
					if i < len(tt.reply) {
						if err := s.line(tt.reply[i]); err != nil {
							return err
						}
					}
				}
				return nil
			})
			p, err := psync.Accept(t.Context(), conn, tt.judge)
			if tt.identity == "" {
				if !errors.Is(err, psync.ErrStranger) || strings.Contains(err.Error(), "secre") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || p.Identity != tt.identity || p.Offset != psync.NoOffset || p.ReplID != "?" || p.Failover {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func TestAcceptRefuses(t *testing.T) {
	tests := []struct {
		name, say, reply, err string
	}{
		{"another command", say("GET", "key"), "-ERR only replication is served here", `unexpected command "GET"`},
		{"a long command", say(strings.Repeat("X", 100)), "-ERR only replication is served here", `unexpected command "XXXXXXXXXXXXXXXXXXXX" in`},
		{"PSYNC without an offset", say("PSYNC", "?"), "-ERR only replication is served here", `unexpected command "PSYNC"`},
		{"AUTH without a password", say("AUTH"), "-ERR only replication is served here", `unexpected command "AUTH"`},
		{"PSYNC of a bad offset", say("PSYNC", id, "x"), "", `bad offset "x"`},
		{"PSYNC of another word", say("PSYNC", id, "1", "NOW"), "", `unexpected word "NOW"`},
		{"commands of nothing", "*0\r\n  \r\n*0\r\n", "", "handshake: EOF"},
		{"HTTP", "GET / HTTP/1.1\r\n", "-ERR only replication is served here", `unexpected command "GET"`},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "-ERR only replication is served here", "unexpected command"},
		{"gone", "*2\r\n$4\r\nPI", "", "handshake: unexpected EOF"},
		{"too many arguments", "*1000000\r\n", "", "too large"},
		{"too large an argument", "*1\r\n$1000000000\r\n", "", "too large"},
		{"a line without end", strings.Repeat("x", 4096), "", "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := play(t, func(s *script) error {
				err := s.reply(tt.say)
				if err == nil && tt.reply != "" {
					err = s.line(tt.reply)
				}
				if strings.HasSuffix(tt.err, "EOF") {
					err = errors.Join(err, s.hangUp())
				}
				return err
			})
			p, err := psync.Accept(t.Context(), conn, open)
			if p != nil {
				t.Errorf("accepted %+v", p)
			}
			checkError(t, err, tt.err, "")
			conn.Close()
		})
	}
}

func TestAcceptLimitsTheHandshake(t *testing.T) {
	t.Run("commands", func(t *testing.T) {
		conn := play(t, func(s *script) error {
			for s.reply(say("PING")) == nil && s.line("-NOAUTH Authentication required.") == nil {
			}
			return nil
		})
		_, err := psync.Accept(t.Context(), conn, onlyTarget)
		checkError(t, err, "no PSYNC within 32 commands", "")
		conn.Close()
	})
	t.Run("time of each", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn := play(t, func(s *script) error {
				for s.reply("\n") == nil { // no newline buys time
					time.Sleep(time.Second)
				}
				return nil
			})
			start := time.Now()
			_, err := psync.Accept(t.Context(), conn, open)
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != psync.HandshakeTimeout {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			conn.Close()
		})
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		conn := play(t, func(s *script) error {
			if err := first(func() error { return s.reply(say("PING")) }, func() error { return s.line("+PONG") }); err != nil {
				return err
			}
			cancel()
			return s.closed()
		})
		if _, err := psync.Accept(ctx, conn, open); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// peerOf is an accepted replica, and what it does after its PSYNC.
func peerOf(t *testing.T, hello []string, steps func(s *script) error) *psync.Peer {
	t.Helper()
	conn := play(t, func(s *script) error {
		for _, command := range hello {
			if err := first(func() error { return s.reply(command) }, func() error { return s.line("+OK") }); err != nil {
				return err
			}
		}
		if err := s.reply(say("PSYNC", id, "1")); err != nil {
			return err
		}
		return steps(s)
	})
	p, err := psync.Accept(t.Context(), conn, open)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPeerAnswers(t *testing.T) {
	psync2 := []string{say("REPLCONF", "capa", "psync2")}
	tests := []struct {
		name   string
		hello  []string
		answer func(p *psync.Peer) error
		want   string
	}{
		{"full resync", nil, func(p *psync.Peer) error { return p.FullResync(id, 42) }, "+FULLRESYNC " + id + " 42\r\n"},
		{"continue", psync2, func(p *psync.Peer) error { return p.Continue(id) }, "+CONTINUE " + id + "\r\n"},
		{"continue for an old replica", nil, func(p *psync.Peer) error { return p.Continue(id) }, "+CONTINUE\r\n"},
		{"refuse", nil, func(p *psync.Peer) error { return p.Refuse("no switch is under way") }, "-ERR no switch is under way\r\n"},
		{"keepalive", nil, func(p *psync.Peer) error { return p.Keepalive() }, "\n"},
		{"raw bytes", nil, func(p *psync.Peer) error { _, err := p.Write([]byte("REDIS\r\n")); return err }, "REDIS\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := peerOf(t, tt.hello, func(s *script) error {
				got := make([]byte, len(tt.want))
				if _, err := io.ReadFull(s.r, got); err != nil || string(got) != tt.want {
					return fmt.Errorf("got %q, %w", got, err)
				}
				return nil
			})
			if err := tt.answer(p); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReadAck(t *testing.T) {
	p := peerOf(t, nil, func(s *script) error {
		return errors.Join(s.reply("\n"+say("REPLCONF", "ACK", "0")+"\n\n|*3\r\n$8\r\nREPL|CONF\r\n$3\r\nACK\r\n$2\r\n1|2\r\n"+
			say("replconf", "ack", "123456789012", "FACK", "12")+ // 7.2 and up
			say("PING")+say("REPLCONF", "GETACK", "*")+"\r\n"+
			say("REPLCONF", "ACK", "13")), s.hangUp())
	})
	for i, want := range []int64{-1, 0, -1, -1, 12, 123456789012, -1, -1, 13} {
		got, err := p.ReadAck()
		if err != nil || got != want {
			t.Fatalf("%d: %d, %v, want %d", i, got, err, want)
		}
	}
	if _, err := p.ReadAck(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestReadAckRefuses(t *testing.T) {
	tests := []struct{ say, err string }{
		{say("SET", "key", "value"), `unexpected command "SET" from a replica`},
		{say("REPLCONF", "ACK", "x"), `REPLCONF ACK: bad offset "x"`},
		{say("REPLCONF", "ACK", "-1"), `REPLCONF ACK: bad offset "-1"`},
		{"*9999\r\n", "too large"},
		{"*1\r\n$999999\r\n", "too large"},
		{"*3\r\n$8\r\nREPL", "unexpected EOF"},
	}
	for _, tt := range tests {
		p := peerOf(t, nil, func(s *script) error { return errors.Join(s.reply(tt.say), s.hangUp()) })
		_, err := p.ReadAck()
		checkError(t, err, tt.err, "")
	}
}

// A write to a replica that does not read, and a wait for its ACK, end with Close.
func TestClosePeer(t *testing.T) {
	release := make(chan struct{})
	p := peerOf(t, nil, func(*script) error { <-release; return nil })
	ended := make(chan error, 2)
	go func() { _, err := p.Write(make([]byte, 1<<20)); ended <- err }()
	go func() { _, err := p.ReadAck(); ended <- err }()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	close(release)
}
