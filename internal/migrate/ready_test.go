package migrate_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/server"
)

// A source whose stream does not come through, though it answers every
// question, is not ready for a switch within seconds, and ready again after it.
func TestHalfOpenSourceIsNotReady(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	s := newSplitter(t, p.source.Address())
	config := p.config()
	config.From = server.Endpoint{Network: "tcp", Address: s.address}
	m := start(t, config)
	m.ready()
	l := p.load()
	s.hold.Store(true)
	began := time.Now()
	status := m.until("not ready", func(s migrate.Status) bool {
		return !s.Ready && strings.Contains(s.NotReady, "nothing has come") && s.Links[0].LagMS >= 2000
	})
	if took := time.Since(began); took > 5*time.Second || status.Links[0].LagBytes == 0 {
		t.Errorf("noticed after %v: %+v", took, status.Links[0])
	}
	if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), "nothing has come") {
		t.Errorf("cutover: %v", err)
	}
	s.hold.Store(false)
	m.ready()
	m.cutover()
	m.ready()
	p.settled(l, p.target)
}

// Nor is one that writes nothing, not even its PING.
func TestSilentSourceIsNotReady(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0", "--enable-debug-command yes", "--repl-ping-replica-period 1")
	m := start(t, p.config())
	if s := m.ready(); s.Copy.Keys != s.Source.Keys || s.Copy.Keys == 0 {
		t.Errorf("%d keys are said to have been copied of %d", s.Copy.Keys, s.Source.Keys)
	}
	c := connect(t, p.source)
	if _, err := c.Do(t.Context(), "DEBUG", "PAUSE-CRON", "1"); err != nil {
		t.Fatal(err)
	}
	m.until("not ready", func(s migrate.Status) bool { return strings.Contains(s.NotReady, "not even the PING of every 1s") })
	if _, err := c.Do(t.Context(), "DEBUG", "PAUSE-CRON", "0"); err != nil {
		t.Fatal(err)
	}
	m.ready()
}

// splitter passes connections on, and holds back what comes on those that
// carry a replication stream, while it is told to.
type splitter struct {
	address string
	hold    atomic.Bool
	wg      sync.WaitGroup
}

func newSplitter(t *testing.T, target string) *splitter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &splitter{address: listener.Addr().String()}
	t.Cleanup(func() { _ = listener.Close(); s.hold.Store(false); s.wg.Wait() })
	s.wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			var stream atomic.Bool
			s.wg.Go(func() {
				s.pass(up, client, func(b []byte) {
					if bytes.Contains(b, []byte("PSYNC")) {
						stream.Store(true)
					}
				})
			})
			s.wg.Go(func() {
				s.pass(client, up, func([]byte) {
					for stream.Load() && s.hold.Load() {
						time.Sleep(5 * time.Millisecond)
					}
				})
			})
		}
	})
	return s
}

func (s *splitter) pass(to, from net.Conn, before func([]byte)) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		before(b[:n])
		if _, writeErr := to.Write(b[:n]); writeErr != nil {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		if err != nil {
			return
		}
	}
}
