// Package faultproxy is a TCP proxy on the loopback address that breaks what
// passes through it in the ways networks do. Faults are set for either direction
// and take hold at once, on connections that are open and on those to come.
//
// Goroutines: one accepts; each connection has one that dials and then copies
// towards the target, and one that copies towards the client. They end with the
// connection, and all of them with Close or the context of New.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is a way through the proxy.
type Direction int

// The two directions, seen from the client that connects to the proxy.
const (
	ToTarget Direction = iota
	ToClient
	directions
)

func (d Direction) String() string { return [...]string{"to target", "to client"}[d] }

// dialTimeout bounds connecting to the target.
const dialTimeout = 5 * time.Second

// Proxy is a running proxy. Its methods are safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	cancel   context.CancelFunc
	release  func() bool
	running  sync.WaitGroup
	flows    [directions]flow

	mu       sync.Mutex // guards what follows
	refusing bool
	closed   bool
	accepted int64
	open     map[*link]struct{}
}

// New listens on a free port and passes each connection on to target, a host:port.
// The proxy is closed when ctx is done, or by Close.
func New(ctx context.Context, target string) (*Proxy, error) {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("fault proxy for %s: %w", target, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Proxy{target: target, listener: listener, cancel: cancel, open: make(map[*link]struct{})}
	for d := range p.flows {
		p.flows[d].changed = make(chan struct{})
	}
	p.release = context.AfterFunc(ctx, p.shut)
	p.running.Go(func() { p.accept(ctx) })
	return p, nil
}

// Address is the host:port to connect to.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Close ends the proxy and all its connections, and waits for its goroutines.
// Closing twice is harmless.
func (p *Proxy) Close() {
	p.cancel()
	p.shut()
	p.running.Wait()
}

func (p *Proxy) shut() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close() // it only ends accept
	p.CloseAll()
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one connection only, such as one reset before it was accepted
		}
		l := &link{client: client, ended: make(chan struct{})}
		if !p.admit(l) {
			l.reset()
			continue
		}
		p.running.Go(func() {
			defer p.forget(l)
			p.serve(ctx, l)
		})
	}
}

func (p *Proxy) admit(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusing || p.closed {
		return false
	}
	p.accepted++
	p.open[l] = struct{}{}
	return true
}

func (p *Proxy) forget(l *link) {
	l.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, l)
}

// serve copies both ways until either ends.
func (p *Proxy) serve(ctx context.Context, l *link) {
	dialer := net.Dialer{Timeout: dialTimeout}
	target, err := dialer.DialContext(ctx, "tcp", p.target)
	if err != nil {
		l.reset() // as a client sees a port that nobody listens on, nearly
		return
	}
	if !l.join(target) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { p.flows[ToClient].copy(l, l.client, target) })
	p.flows[ToTarget].copy(l, target, l.client)
	back.Wait()
}

// Stall lets nothing through until the next fault or Heal: senders fill their
// buffers and wait, connections stay open.
func (p *Proxy) Stall(d Direction) { p.flows[d].set(fault{mode: stalled}) }

// Slow lets through at most so many bytes a second on each connection.
func (p *Proxy) Slow(d Direction, bytesPerSecond int) {
	p.flows[d].set(fault{mode: slow, rate: max(1, bytesPerSecond)})
}

// Swallow reads and discards, so that the sender sees nothing wrong: the half-open
// connection of a peer that is gone.
func (p *Proxy) Swallow(d Direction) { p.flows[d].set(fault{mode: swallowing}) }

// CutAfter lets exactly n more bytes through, of all connections together, and then
// closes the connection that is next to send one. Later connections are cut at
// their first byte, until the next fault or Heal.
func (p *Proxy) CutAfter(d Direction, n int64) { p.flows[d].set(fault{mode: cutting, left: n}) }

// Refuse resets new connections; open ones go on.
func (p *Proxy) Refuse() { p.setRefusing(true) }

// Heal ends all faults in both directions. What was closed stays closed, what was
// swallowed is gone.
func (p *Proxy) Heal() {
	p.setRefusing(false)
	for d := range p.flows {
		p.flows[d].set(fault{})
	}
}

func (p *Proxy) setRefusing(refusing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = refusing
}

// Reset ends all open connections with a RST on both sides.
func (p *Proxy) Reset() {
	for _, l := range p.links() {
		l.reset()
	}
}

// CloseAll ends all open connections in good order, with a FIN.
func (p *Proxy) CloseAll() {
	for _, l := range p.links() {
		l.close()
	}
}

func (p *Proxy) links() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make([]*link, 0, len(p.open))
	for l := range p.open {
		links = append(links, l)
	}
	return links
}

// Bytes is how many bytes have been let through in a direction.
func (p *Proxy) Bytes(d Direction) int64 { return p.flows[d].passed.Load() }

// Swallowed is how many bytes have been discarded in a direction.
func (p *Proxy) Swallowed(d Direction) int64 { return p.flows[d].swallowed.Load() }

// Accepted is how many connections there have been.
func (p *Proxy) Accepted() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open is how many connections there are.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// link is one connection through the proxy: both its ends.
type link struct {
	client net.Conn
	ended  chan struct{} // closed when the link is

	mu      sync.Mutex // guards what follows
	target  net.Conn   // nil until it is dialed
	over    bool
	byReset bool // how it ended
}

// join adds the target's end; false when the link has been closed meanwhile.
func (l *link) join(target net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		hangUp(target, l.byReset)
		return false
	}
	l.target = target
	return true
}

func (l *link) close() { l.end(false) }
func (l *link) reset() { l.end(true) }

func (l *link) end(reset bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over, l.byReset = true, reset
	close(l.ended)
	hangUp(l.client, reset)
	if l.target != nil {
		hangUp(l.target, reset)
	}
}

func hangUp(conn net.Conn, reset bool) {
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // makes the close a RST
	}
	_ = conn.Close() // nothing can be done about it
}
