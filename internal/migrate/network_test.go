package migrate_test

import (
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/faultproxy"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// network is what lies between godwit and the servers: one proxy on the way to
// the source, for commands and the stream, and one on the servers' way to the
// listener.
type network struct {
	*pair
	toSource, toListener *faultproxy.Proxy
	cfg                  migrate.Config
}

func newNetwork(t *testing.T, version string) *network {
	t.Helper()
	n := &network{pair: newPair(t, version, version)}
	n.toSource = newProxy(t, n.source.Address())
	n.cfg = n.config()
	n.cfg.From = server.Endpoint{Network: "tcp", Address: n.toSource.Address()}
	port, err := sandbox.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.toListener = newProxy(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	n.cfg.Announce, n.cfg.ListenPort = n.toListener.Address(), port
	return n
}

func newProxy(t *testing.T, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.New(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func (n *network) heal() {
	n.toSource.Heal()
	n.toListener.Heal()
}

// fault is something that befalls one of the connections.
type fault struct {
	name   string
	strike func(n *network)
	lasts  time.Duration
	after  func(n *network) // before it is healed, nil for nothing
}

const toTarget, toClient = faultproxy.ToTarget, faultproxy.ToClient

// resets end what was swallowed into: TCP never goes on behind a gap.
func resetSource(n *network)   { n.toSource.Reset() }
func resetListener(n *network) { n.toListener.Reset() }

func faults() []fault {
	return []fault{
		{"source: closed", func(n *network) { n.toSource.CloseAll() }, 0, nil},
		{"source: reset", resetSource, 0, nil},
		{"source: cut within the stream", func(n *network) { n.toSource.CutAfter(toClient, 10_001) }, 300 * time.Millisecond, nil},
		{"source: refused for a while", func(n *network) { n.toSource.Refuse(); n.toSource.Reset() }, 700 * time.Millisecond, nil},
		{"source: stream stalled", func(n *network) { n.toSource.Stall(toClient) }, time.Second, nil},
		{"source: commands stalled", func(n *network) { n.toSource.Stall(toTarget) }, time.Second, nil},
		{"source: slow", func(n *network) { n.toSource.Slow(toClient, 50_000) }, time.Second, nil},
		{"source: half-open", func(n *network) { n.toSource.Swallow(toClient) }, 500 * time.Millisecond, resetSource},
		{"source: ACKs swallowed", func(n *network) { n.toSource.Swallow(toTarget) }, 500 * time.Millisecond, resetSource},
		{"target: closed", func(n *network) { n.toListener.CloseAll() }, 0, nil},
		{"target: reset", resetListener, 0, nil},
		{"target: cut within the stream", func(n *network) { n.toListener.CutAfter(toClient, 10_001) }, 300 * time.Millisecond, nil},
		{"target: refused for a while", func(n *network) { n.toListener.Refuse(); n.toListener.Reset() }, 700 * time.Millisecond, nil},
		{"target: stream stalled", func(n *network) { n.toListener.Stall(toClient) }, time.Second, nil},
		{"target: slow", func(n *network) { n.toListener.Slow(toClient, 50_000) }, time.Second, nil},
		{"target: half-open", func(n *network) { n.toListener.Swallow(toClient) }, 500 * time.Millisecond, resetListener},
		{"target: ACKs swallowed", func(n *network) { n.toListener.Swallow(toTarget) }, 500 * time.Millisecond, resetListener},
	}
}

// A copy that is torn begins again.
func TestNetworkFaultsWhileCopying(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "redis-7.0")
	l := n.load()
	c := connect(t, n.source)
	if err := c.ConfigSet(t.Context(), "rdb-key-save-delay", "300"); err != nil { // µs: no copy ends before it is torn
		t.Fatal(err)
	}
	m := start(t, n.cfg)
	m.until("the copy", func(s migrate.Status) bool { return s.Phase == migrate.Copying })
	before := n.toSource.Bytes(toClient)
	n.toSource.CutAfter(toClient, 60_000)
	m.until("the cut", func(migrate.Status) bool { return n.toSource.Bytes(toClient) >= before+60_000 })
	n.heal()
	for _, tear := range []func(){
		func() { n.toSource.Reset() },
		func() { n.toListener.Reset() },
		func() { n.toListener.CutAfter(toClient, 5_000); time.Sleep(300 * time.Millisecond); n.heal() },
		func() { n.toSource.Stall(toClient); time.Sleep(time.Second); n.heal() },
		func() { n.toListener.Stall(toClient); time.Sleep(time.Second); n.heal() },
	} {
		m.until("copying", func(s migrate.Status) bool {
			return s.Phase == migrate.Copying && len(s.Links) == 1 && s.Links[0].State == "copying" && s.Copy.Bytes > 0
		})
		tear()
	}
	if err := c.ConfigSet(t.Context(), "rdb-key-save-delay", "0"); err != nil {
		t.Fatal(err)
	}
	n.toSource.Reset() // the next one takes no longer than it must
	m.ready()
	m.cutover()
	m.ready()
	n.settled(l, n.target)
}

// Whatever befalls the network at whichever step of a cutover, it either
// succeeds or gives up, with the source serving as before.
func TestNetworkFaultsAtTheSwitch(t *testing.T) {
	t.Parallel()
	for _, version := range some(1, versions()) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t, version)
			l := n.load()
			n.cfg.MaxPause = 500 * time.Millisecond
			var at atomic.Pointer[strike]
			n.cfg.Trace = func(point string) {
				if s := at.Load(); s != nil && point == "cutover-"+s.step {
					s.befall(n)
				}
			}
			m := start(t, n.cfg)
			for i, f := range faults() {
				for j, step := range []string{"pause-before", "pause-after", "demote-after"} {
					if !long && i%3 != j {
						continue
					}
					// A busy machine can be late without our help, so that the step is not reached.
					for s := new(strike); s.healed == nil; {
						*s = strike{fault: f, step: step}
						at.Store(s)
						n.cutover(m, s)
						at.Store(nil)
					}
				}
			}
			m.ready()
			n.settled(l, n.source)
		})
	}
}

// strike is a fault at a step of a cutover.
type strike struct {
	fault
	step   string
	healed chan struct{} // nil until it has befallen
}

func (s *strike) befall(n *network) {
	s.healed = make(chan struct{})
	s.strike(n)
	time.AfterFunc(max(s.lasts, 50*time.Millisecond), func() {
		if s.after != nil {
			s.after(n)
		}
		n.heal()
		close(s.healed)
	})
}

// cutover cuts over, sees that it is done or given up, and goes back.
func (n *network) cutover(m *running, s *strike) {
	n.t.Helper()
	m.ready()
	began := time.Now()
	result, err := m.Cutover(n.t.Context(), migrate.SwitchOptions{})
	took := time.Since(began)
	if s.healed != nil {
		<-s.healed
	}
	var gaveUp *migrate.GaveUpError
	switch {
	case err == nil && result.Done:
		n.t.Logf("%s at %s: done in %v, %s", s.name, s.step, took, result.Reason)
		m.ready()
		if _, err := m.Rollback(n.t.Context(), migrate.SwitchOptions{MaxPauseMS: 10_000}); err != nil {
			n.t.Fatalf("rollback after %s at %s: %v", s.name, s.step, err)
		}
	case errors.As(err, &gaveUp):
		n.t.Logf("%s at %s: gave up after %v: %v", s.name, s.step, took, err)
		untouched(n.t, n.source)
	default:
		n.t.Fatalf("%s at %s: %+v: %v", s.name, s.step, result, err)
	}
}
