package migrate_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/verify"
)

// lateWrites passes connections on to a server, as a network does that delivers what
// one of them sends long after its sender has gone: from the first RESTORE …
// REPLACE on, not before deliver is called.
type lateWrites struct {
	address string
	came    chan struct{} // closed when something is on its way
	deliver func()
	over    sync.WaitGroup // of what is on its way
}

func newLateWrites(t *testing.T, s *sandbox.Server) *lateWrites {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	released := make(chan struct{})
	l := &lateWrites{address: listener.Addr().String(), came: make(chan struct{}), deliver: sync.OnceFunc(func() { close(released) })}
	come := sync.OnceFunc(func() { close(l.came) })
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); _ = listener.Close(); l.deliver(); group.Wait() })
	serve := func(client net.Conn) {
		defer client.Close()
		target, err := net.Dial("tcp", s.Address())
		if err != nil {
			return
		}
		defer target.Close()
		defer context.AfterFunc(ctx, func() { _, _ = client.Close(), target.Close() })()
		group.Go(func() { copyAll(client, target); _ = client.Close() })
		late := false
		copyEach(target, client, func(b []byte) {
			if late || !bytes.Contains(b, []byte("\r\nREPLACE\r\n")) {
				return
			}
			late = true
			l.over.Add(1)
			come()
			<-released
		})
		if late {
			l.over.Done()
		}
	}
	group.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { serve(client) })
		}
	})
	return l
}

func copyAll(to, from net.Conn) { copyEach(to, from, func([]byte) {}) }

// copyEach copies until either end fails; before is told what comes next.
func copyEach(to, from net.Conn, before func([]byte)) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		before(b[:n])
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			return
		}
	}
}

// What a repair that was given up had sent, and what the network delivers once the
// replica is the primary, is not carried out there.
func TestRepairThatComesLate(t *testing.T) {
	t.Parallel()
	for name, giveUp := range map[string]func(p *pair, c migrate.Config, late *lateWrites){
		"interrupted": func(p *pair, c migrate.Config, late *lateWrites) {
			m := start(p.t, c)
			m.ready()
			p.applied(p.source)
			plant(p.t, p.target, []any{"SET", "planted", "wrong"})
			ctx, interrupt := context.WithCancel(p.t.Context())
			go func() { <-late.came; interrupt() }()
			report, err := m.Verify(ctx, migrate.VerifyOptions{Repair: true})
			if err != nil || report.Result == verify.Equal || !strings.Contains(report.Error, "canceled") {
				p.t.Fatalf("%+v: %v", report, err)
			}
			restored(p.t, p.target, "0")
			m.ready()
			m.cutover()
		},
		"killed": func(p *pair, c migrate.Config, late *lateWrites) {
			run := startChild(p.t, c, "")
			run.must("ready")
			p.applied(p.source)
			plant(p.t, p.target, []any{"SET", "planted", "wrong"})
			go func() { <-late.came; _ = run.cmd.Process.Kill() }()
			if a, ok := run.ask("repair"); ok {
				p.t.Fatalf("not killed: %+v", a)
			}
			m := start(p.t, c)
			m.ready()
			restored(p.t, p.target, "0")
			m.cutover()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-7.0", "redis-7.0")
			from, to := connect(t, p.source), connect(t, p.target)
			if _, err := from.Do(t.Context(), "SET", "planted", "old"); err != nil {
				t.Fatal(err)
			}
			late := newLateWrites(t, p.target)
			config := p.config()
			config.To.Address = late.address
			giveUp(p, config, late)
			if _, err := to.Do(t.Context(), "SET", "planted", "new"); err != nil {
				t.Fatal(err)
			}
			<-late.came
			late.deliver()
			late.over.Wait()
			time.Sleep(100 * time.Millisecond) // for the server to carry it out
			if got, err := to.Do(t.Context(), "GET", "planted"); err != nil || got != "new" {
				t.Errorf("the new primary has %v: %v", got, err)
			}
		})
	}
}
