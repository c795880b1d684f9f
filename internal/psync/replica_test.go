package psync_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"godwit/internal/psync"
	"godwit/internal/server"
)

const (
	id   = "0123456789012345678901234567890123456789"
	mark = "abcdefghijabcdefghijabcdefghijabcdefghij"
)

func TestAttachSaysAllOfItself(t *testing.T) {
	conn := play(t, func(s *script) error {
		return first(
			func() error { return s.expect("AUTH", "me", "secret") },
			func() error { return s.reply("+O|K\r|\n") },
			func() error { return s.expect("PING") },
			func() error { return s.reply("+PONG\r\n") },
			func() error { return s.expect("REPLCONF", "listening-port", "7000") },
			func() error { return s.reply("+OK\r\n") },
			func() error { return s.expect("REPLCONF", "ip-address", "10.0.0.1") },
			func() error { return s.reply("+OK\r\n") },
			func() error { return s.expect("REPLCONF", "capa", "eof", "capa", "psync2") },
			func() error { return s.reply("+OK\r\n") },
			func() error { return s.expect("REPLCONF", "version", "8.1.0") },
			func() error { return s.reply("-ERR Unrecognized REPLCONF option: version\r\n") }, // Redis
			func() error { return s.expect("PSYNC", "?", "-1") },
			func() error { return s.reply("\n|\n|+FULLRESYNC " + id + " 42\r\n\n|\n$EOF:" + mark[:7]) },
			func() error { return s.reply(mark[7:] + "\r|\nsnap") },
			func() error { return s.reply("shot" + mark) },
			func() error { return s.expect("REPLCONF", "ACK", "42") },
		)
	})
	newlines := 0
	keepalive := func() { newlines++ }
	stream, answer, err := psync.Attach(t.Context(), conn, psync.Hello{
		Username: "me", Password: "secret", ListeningPort: 7000, IPAddress: "10.0.0.1", EOF: true, PSYNC2: true, Version: "8.1.0",
	}, "?", psync.NoOffset, keepalive)
	if err != nil {
		t.Fatal(err)
	}
	if want := (psync.Answer{Full: true, ReplID: id, Offset: 42}); answer != want || newlines != 2 {
		t.Errorf("%+v, %d newlines; want %+v, 2", answer, newlines, want)
	}
	header, err := stream.SnapshotHeader(keepalive)
	if err != nil {
		t.Fatal(err)
	}
	if header.Length != -1 || string(header.Mark) != mark || string(header.Raw) != "$EOF:"+mark+"\r\n" || newlines != 4 {
		t.Errorf("%+v, %d newlines in all", header, newlines)
	}
	snapshot := make([]byte, 48)
	if _, err := io.ReadFull(stream, snapshot); err != nil || string(snapshot) != "snapshot"+mark {
		t.Errorf("%q, %v", snapshot, err)
	}
	if err := stream.Ack(42); err != nil {
		t.Error(err)
	}
}

func TestAttachAnswers(t *testing.T) {
	tests := []struct {
		reply  string
		want   psync.Answer
		hangUp bool
		code   string // of a *server.Error
		err    string
	}{
		{reply: "+FULLRESYNC " + id + " 7\r\n", want: psync.Answer{Full: true, ReplID: id, Offset: 7}},
		{reply: "+FULLRESYNC " + id + " 0\r\n", want: psync.Answer{Full: true, ReplID: id}},
		{reply: "+CONTINUE " + id + "\r\n", want: psync.Answer{ReplID: id}},
		{reply: "\n\n+CON|TINUE\r\n", want: psync.Answer{}},
		{reply: "-LOADING Redis is loading the dataset in memory\r\n", code: "LOADING", err: "LOADING Redis is loading"},
		{reply: "-NOMASTERLINK Can't SYNC while not connected with my master\r\n", code: "NOMASTERLINK", err: "PSYNC: NOMASTERLINK"},
		{reply: "-NOPERM this user has no permissions to run the 'psync' command\r\n", code: "NOPERM", err: "NOPERM"},
		{reply: "+FULLRESYNC " + id + "\r\n", err: `unexpected answer "+FULLRESYNC`},
		{reply: "+FULLRESYNC " + id + " x\r\n", err: "bad offset in"},
		{reply: "+FULLRESYNC " + id + " -1\r\n", err: "bad offset in"},
		{reply: "+OK\r\n", err: `unexpected answer "+OK"`},
		{reply: "$5\r\n", err: `unexpected answer "$5"`},
		{reply: "+CONT", hangUp: true, err: "PSYNC: EOF"},
		{reply: strings.Repeat("x", 5000), err: "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.reply[:min(len(tt.reply), 20)], func(t *testing.T) {
			conn := play(t, func(s *script) error {
				if err := s.handshake(id, "8"); err != nil {
					return err
				}
				_ = s.reply(tt.reply) // of the overlong one not all is read
				if tt.hangUp {
					return s.hangUp()
				}
				return nil
			})
			stream, answer, err := psync.Attach(t.Context(), conn, psync.Hello{}, id, 8, nil)
			checkError(t, err, tt.err, tt.code)
			if answer != tt.want || (stream == nil) != (err != nil) {
				t.Errorf("%+v, want %+v", answer, tt.want)
			}
			conn.Close()
		})
	}
}

func checkError(t *testing.T, err error, says, code string) {
	t.Helper()
	if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
		t.Errorf("error %v, want %q in it", err, says)
	}
	if code != "" && !server.IsCode(err, code) {
		t.Errorf("error %#v, want the code %s", err, code)
	}
}

func TestAttachRefused(t *testing.T) {
	tests := []struct {
		name, reply, code, err string
	}{
		{"wrong password", "-WRONGPASS invalid username-password pair or user is disabled.\r\n", "WRONGPASS", "AUTH: WRONGPASS"},
		{"before 6.0", "-ERR invalid password\r\n", "ERR", "AUTH: ERR invalid password"},
		{"no password set", "-ERR Client sent AUTH, but no password is set\r\n", "ERR", "no password is set"},
		{"not a Redis", "HTTP/1.1 400 Bad Request\r\n", "", "not a Redis or Valkey server?"},
		{"gone", "+O", "", "AUTH: EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := play(t, func(s *script) error {
				return errors.Join(s.expect("AUTH", "secret"), s.reply(tt.reply), s.hangUp())
			})
			_, _, err := psync.Attach(t.Context(), conn, psync.Hello{Password: "secret"}, "?", psync.NoOffset, nil)
			checkError(t, err, tt.err, tt.code)
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("%v shows the password", err)
			}
		})
	}
}

func TestSnapshotHeader(t *testing.T) {
	tests := []struct {
		reply    string
		length   int64
		mark     string
		newlines int
		hangUp   bool
		code     string
		err      string
	}{
		{reply: "$12345\r\n", length: 12345},
		{reply: "\n|\n|\n$|1\r\n", length: 1, newlines: 3},
		{reply: "$EOF:" + mark[:39] + "|" + mark[39:] + "\r\n", length: -1, mark: mark},
		{reply: "$EOF:" + mark[:39] + "\r\n", err: "unexpected \"$EOF:"},
		{reply: "$EOF:" + mark + "x\r\n", err: "unexpected \"$EOF:"},
		{reply: "$0\r\n", err: `unexpected "$0"`},
		{reply: "$-1\r\n", err: `unexpected "$-1"`},
		{reply: "REDIS0011\r\n", err: `unexpected "REDIS0011"`},
		{reply: "-ERR Unable to perform background save\r\n", code: "ERR", err: "Unable to perform background save"},
		{reply: "$EOF:" + mark, hangUp: true, err: "snapshot header: EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.reply[:min(len(tt.reply), 20)], func(t *testing.T) {
			conn := play(t, func(s *script) error {
				return first(
					func() error { return s.handshake("?", "-1") },
					func() error { return s.reply("+FULLRESYNC " + id + " 7\r\n") },
					func() error { return s.reply(tt.reply) },
					func() error {
						if tt.hangUp {
							return s.hangUp()
						}
						return nil
					},
				)
			})
			stream, _, err := psync.Attach(t.Context(), conn, psync.Hello{}, "?", psync.NoOffset, nil)
			if err != nil {
				t.Fatal(err)
			}
			newlines := 0
			header, err := stream.SnapshotHeader(func() { newlines++ })
			checkError(t, err, tt.err, tt.code)
			if newlines != tt.newlines {
				t.Errorf("%d newlines, want %d", newlines, tt.newlines)
			}
			if err == nil && (header.Length != tt.length || string(header.Mark) != tt.mark) {
				t.Errorf("%+v", header)
			}
			if err == nil && !strings.HasSuffix(strings.ReplaceAll(tt.reply, "|", ""), string(header.Raw)) {
				t.Errorf("raw %q", header.Raw)
			}
		})
	}
}

// The time limits, on a clock of their own.

func TestAttachGivesUpOnSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := play(t, func(s *script) error {
			return first(func() error { return s.expect("PING") }, s.closed)
		})
		start := time.Now()
		_, _, err := psync.Attach(t.Context(), conn, psync.Hello{}, "?", psync.NoOffset, nil)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != psync.HandshakeTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestNewlinesKeepThePSYNCAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const newlines = 10
		conn := play(t, func(s *script) error {
			if err := s.handshake("?", "-1"); err != nil {
				return err
			}
			for range newlines {
				time.Sleep(psync.SilenceTimeout - time.Second)
				if err := s.reply("\n"); err != nil {
					return err
				}
			}
			return s.closed()
		})
		start, n := time.Now(), 0
		_, _, err := psync.Attach(t.Context(), conn, psync.Hello{}, "?", psync.NoOffset, func() { n++ })
		if want := newlines*(psync.SilenceTimeout-time.Second) + psync.SilenceTimeout; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != want {
			t.Errorf("%v after %v, want %v", err, time.Since(start), want)
		}
		if n != newlines {
			t.Errorf("%d newlines of %d", n, newlines)
		}
	})
}

func TestAttachIsCancelled(t *testing.T) {
	for _, newlines := range []bool{false, true} {
		t.Run(fmt.Sprintf("newlines=%v", newlines), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			conn := play(t, func(s *script) error {
				if err := s.handshake("?", "-1"); err != nil {
					return err
				}
				if !newlines {
					cancel()
					return s.closed()
				}
				for n := 0; s.reply("\n") == nil; n++ { // until it is closed
					if n == 100 {
						cancel()
					}
				}
				return nil
			})
			_, _, err := psync.Attach(ctx, conn, psync.Hello{}, "?", psync.NoOffset, func() {})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// ACKs of several goroutines do not mix, and a Read under way ends with Close.
func TestAcksAndClose(t *testing.T) {
	const each, senders = 50, 4
	ours, theirs := net.Pipe()
	s := &script{conn: theirs, r: bufio.NewReader(theirs)}
	scripted := make(chan error, 1)
	go func() {
		err := first(
			func() error { return s.handshake(id, "1") },
			func() error { return s.reply("+CONTINUE\r\n") },
		)
		for range each * senders {
			if err == nil {
				err = s.expect("REPLCONF", "ACK", "1234567890")
			}
		}
		scripted <- err
	}()
	stream, _, err := psync.Attach(t.Context(), ours, psync.Hello{}, id, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := stream.Read(make([]byte, 1))
		read <- err
	}()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				if err := stream.Ack(1234567890); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := <-scripted; err != nil {
		t.Error(err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; err == nil {
		t.Error("Read went on")
	}
	if err := stream.Ack(1); err == nil {
		t.Error("an ACK after Close")
	}
	theirs.Close()
}
