package migrate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"godwit/internal/psync"
	"godwit/internal/relay"
	"godwit/internal/spool"
)

// listen opens the listener on the port that the servers know, or on a new one.
func (m *Migration) listen(ctx context.Context, wg *sync.WaitGroup) error {
	m.mu.Lock()
	port := m.rec.Port
	m.mu.Unlock()
	if m.cfg.ListenPort != 0 {
		port = m.cfg.ListenPort
	} else if port == 0 && m.cfg.Announce != "" {
		if _, p, err := net.SplitHostPort(m.cfg.Announce); err == nil {
			port, _ = strconv.Atoi(p) // a name or nothing: any port
		}
	}
	c := relay.ListenerConfig{Log: m.log, Authenticate: m.authenticate, Allowed: m.allowed}
	if m.cfg.ListenerCert != "" {
		pair, err := tls.LoadX509KeyPair(m.cfg.ListenerCert, m.cfg.ListenerKey)
		if err != nil {
			return fmt.Errorf("listener certificate: %w", err)
		}
		c.Certificate = &pair
	}
	c.Serve = func(p *psync.Peer) { wg.Go(func() { m.route(ctx, p) }) }
	host, err := m.listenHost(ctx)
	if err != nil {
		return err
	}
	c.Address = net.JoinHostPort(host, strconv.Itoa(port))
	l, err := relay.Listen(c)
	if err != nil && port != 0 && m.cfg.Announce == "" && m.cfg.ListenPort == 0 {
		m.event(slog.LevelWarn, fmt.Sprintf("port %d is taken; the listener takes another", port))
		c.Address = net.JoinHostPort(host, "0")
		l, err = relay.Listen(c)
	}
	if err != nil {
		return err
	}
	for _, e := range []*end{m.source, m.target} {
		if err := e.locate(ctx, m.cfg.Announce, l.Port()); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", e.side, err), l.Close())
		}
	}
	m.mu.Lock()
	m.listener = l
	m.mu.Unlock()
	if err := m.update(func(r *record) { r.Port = l.Port() }); err != nil {
		return errors.Join(err, l.Close())
	}
	wg.Go(func() { _ = l.Run(ctx) }) // returns nil
	return nil
}

// listenHost is the one local address that both servers reach, else all of them.
func (m *Migration) listenHost(ctx context.Context) (string, error) {
	if m.cfg.Announce != "" {
		return "", nil
	}
	hosts := make(map[string]bool)
	for _, e := range []*end{m.source, m.target} {
		if err := e.locate(ctx, "", 0); err != nil {
			return "", fmt.Errorf("%s: %w", e.side, err)
		}
		host, _ := e.announced()
		hosts[host] = true
	}
	if len(hosts) == 1 {
		for host := range hosts {
			return host, nil
		}
	}
	return "", nil
}

func (m *Migration) allowed(a netip.Addr) bool {
	return m.source.hasAddress(a) || m.target.hasAddress(a)
}

const eitherSide = "either"

// authenticate knows a server by the password it presents. An exact match
// goes before a server that presents none.
func (m *Migration) authenticate(_, password string) (identity string, ok bool) {
	var exact, open []Side
	for _, e := range []*end{m.source, m.target} {
		e.mu.Lock()
		switch {
		case e.password != "" && psync.Equal(password, e.password):
			exact = append(exact, e.side)
		case e.open:
			open = append(open, e.side)
		}
		e.mu.Unlock()
	}
	if len(exact) == 0 {
		exact = open
	}
	switch len(exact) {
	case 0:
		return "", false
	case 1:
		return string(exact[0]), true
	}
	return eitherSide, true
}

// identify tells which server a peer is, where its password does not.
func (m *Migration) identify(p *psync.Peer) (*end, error) {
	if p.Identity != eitherSide {
		return m.side(Side(p.Identity)), nil
	}
	remote, err := netip.ParseAddrPort(p.Address())
	if err != nil {
		return nil, err
	}
	ofSource := m.source.hasAddress(remote.Addr().Unmap()) && slices.Contains(m.source.ports(), p.ListeningPort)
	ofTarget := m.target.hasAddress(remote.Addr().Unmap()) && slices.Contains(m.target.ports(), p.ListeningPort)
	switch {
	case ofSource && !ofTarget:
		return m.source, nil
	case ofTarget && !ofSource:
		return m.target, nil
	}
	return nil, fmt.Errorf("%s, port %d, could be either server", p.Address(), p.ListeningPort)
}

// route hands a peer of the listener to who waits for it.
func (m *Migration) route(ctx context.Context, p *psync.Peer) {
	err := m.handOver(ctx, p)
	if err == nil {
		return
	}
	if ctx.Err() == nil && !errors.Is(err, relay.ErrLinkEnded) {
		m.log.Warn("a replica was turned away", "peer", p.Address(), "error", err)
	}
	_ = p.Close() // it asks again
}

func (m *Migration) handOver(ctx context.Context, p *psync.Peer) error {
	e, err := m.identify(p)
	if err != nil {
		return err
	}
	m.mu.Lock()
	votes, link := m.votes, m.link
	m.mu.Unlock()
	if link == nil {
		return errors.New("no link is up")
	}
	if e.side == link.from {
		// The primary asks to be a replica: the vote of a switch, or nobody's wish.
		if votes == nil {
			if p.Failover {
				_ = p.Refuse("no switch is under way") // it becomes a primary again
			}
			return fmt.Errorf("%s asks to replicate, and no switch is under way", e.address())
		}
		select {
		case votes <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return link.link.Serve(ctx, p)
}

func (m *Migration) linkConfig(from, to *end, editor relay.Editor) relay.Config {
	host, port := from.announced()
	return relay.Config{
		Source: from.endpoint, Target: to.address(),
		AnnounceHost: host, AnnouncePort: port, Editor: editor,
		Spool: spool.Options{Dir: m.cfg.dir(), MemoryLimit: m.cfg.SpoolMemory, DiskLimit: m.cfg.SpoolDisk},
		Log:   m.log, Notify: m.linkEvent,
		AllowFull: func(ctx context.Context) error { return m.allowFull(ctx, from, to) },
	}
}

// linkEvent is what a link reports. During a switch and at the end its
// connections end as they should, which is no news.
func (m *Migration) linkEvent(level slog.Level, text string) {
	m.mu.Lock()
	expected := m.quiet || m.votes != nil
	m.mu.Unlock()
	if expected {
		m.log.Debug(text)
		return
	}
	m.event(level, text)
}

// allowFull looks before a full resync replaces what the replica holds: it
// must be able to load the snapshot, and a primary that came back empty must
// not empty the last copy of the data.
func (m *Migration) allowFull(ctx context.Context, from, to *end) error {
	if !to.found().Loads(from.found().SnapshotFor(to.found())) {
		return hinted(to.address()+" keeps what it has; `godwit complete` ends the migration as it is",
			"%s cannot continue the stream by itself any more, and cannot load a snapshot of %s (%s)", to.address(), from.address(), from.version())
	}
	source, err := from.look(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	followed := m.rec.Followed
	m.mu.Unlock()
	if !followed || keys(source) > 0 {
		return nil
	}
	target, err := to.look(ctx)
	if err != nil {
		return err
	}
	if n := keys(target); n > 0 && !m.cfg.Replace {
		return hinted("if the primary is meant to be empty, run again with --replace; if its data was lost, make "+to.address()+" the primary: REPLICAOF NO ONE",
			"%s came back without a single key and asks for a full resync, which would wipe the %d keys of %s", from.address(), n, to.address())
	}
	return nil
}

// connectTimeout is within what time a server must have connected back.
const connectTimeout = 5 * time.Second

// connect makes the replica side replicate through the listener, and the
// first time finds out at once whether it can reach it.
func (m *Migration) connect(ctx context.Context, fresh bool) error {
	primary, replica := m.primary(), m.replica()
	if m.present() == nil {
		editor, err := m.guard(ctx, primary, replica)
		if err != nil {
			return err
		}
		m.startLink(primary, editor)
	}
	link := m.present()
	if !fresh {
		return nil // the keeper attaches it, whatever state it is in now
	}
	if err := m.setPhase(Copying); err != nil {
		return err
	}
	m.event(slog.LevelInfo, fmt.Sprintf("copying from %s to %s", primary.address(), replica.address()))
	if err := m.attach(ctx, replica); err != nil {
		return err
	}
	deadline := time.NewTimer(connectTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for link.State() == relay.Waiting {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-deadline.C:
			host, port := replica.announced()
			err := hinted("name an address that it can reach with --announce host:port, and open the port in the firewall",
				"%s did not connect to the listener at %s within %v", replica.address(), net.JoinHostPort(host, strconv.Itoa(port)), connectTimeout)
			return errors.Join(err, m.detach(ctx, replica))
		}
	}
	return nil
}

// attach makes a server a replica of the listener.
func (m *Migration) attach(ctx context.Context, e *end) error {
	if err := m.arm(ctx, e); err != nil {
		return err
	}
	host, port := e.announced()
	_, err := e.client.Do(ctx, "REPLICAOF", host, port)
	return err
}

// detach makes a server a primary of its own, with its settings as they were.
func (m *Migration) detach(ctx context.Context, e *end) error {
	if _, err := e.client.Do(ctx, "REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	return m.restore(ctx, e)
}
