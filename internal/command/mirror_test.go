package command_test

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// mirror is a replica that is given one command at a time, by the test as its
// primary: so it stands at the very command when its values are read.
type mirror struct {
	t      testing.TB
	server *sandbox.Server
	client *server.Client
	peer   *psync.Peer
	offset int
}

func newMirror(t testing.TB, s subject) *mirror {
	t.Helper()
	m := &mirror{t: t, server: start(t, s), offset: firstOffset}
	m.client = sandboxtest.Client(t, m.server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.client.Do(t.Context(), "REPLICAOF", "127.0.0.1", port); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if m.peer, err = psync.Accept(t.Context(), conn, func(string, string) (string, bool) { return "", true }); err != nil {
		t.Fatal(err)
	}
	var snapshot bytes.Buffer
	if err := rdb.NewWriter(&snapshot, s.format, rdb.WriterOptions{}).End(); err != nil {
		t.Fatal(err)
	}
	if err := m.peer.FullResync(strings.Repeat("a", 40), firstOffset); err != nil {
		t.Fatal(err)
	}
	header := []byte("$" + strconv.Itoa(snapshot.Len()) + "\r\n")
	if _, err := m.peer.Write(append(header, snapshot.Bytes()...)); err != nil {
		t.Fatal(err)
	}
	return m
}

// play gives the mirror a command.
func (m *mirror) play(args [][]byte) {
	m.t.Helper()
	command := resp.AppendArgs(nil, args...)
	if _, err := m.peer.Write(command); err != nil {
		m.t.Fatal(err)
	}
	m.offset += len(command)
}

// settle returns when it has played all.
func (m *mirror) settle() {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		info, err := m.client.Info(m.t.Context(), "replication")
		if err != nil {
			m.t.Fatal(err)
		}
		if info["slave_repl_offset"] == strconv.Itoa(m.offset) {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the mirror stands at %s rather than %d", info["slave_repl_offset"], m.offset)
		}
	}
}
