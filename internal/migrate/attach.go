package migrate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/server"
	"godwit/internal/spool"
)

// listen opens the listener on the port that the servers know, or on a new one.
func (m *Migration) listen(ctx context.Context, wg *sync.WaitGroup) error {
	return m.core.listen(ctx, wg, relay.ListenerConfig{
		Notify: m.listenerEvent, Authenticate: m.authenticate, Allowed: m.allowed,
		Serve: func(p *psync.Peer) { wg.Go(func() { m.route(ctx, p) }) },
	}, m.source, m.target)
}

// listen opens the listener that ends connect to, on the port that they know, or on a
// new one.
func (c *core) listen(ctx context.Context, wg *sync.WaitGroup, lc relay.ListenerConfig, ends ...*end) error {
	c.mu.Lock()
	port := c.head.Port
	c.mu.Unlock()
	if c.cfg.ListenPort != 0 {
		port = c.cfg.ListenPort
	} else if port == 0 && c.cfg.Announce != "" {
		if _, p, err := net.SplitHostPort(c.cfg.Announce); err == nil {
			port, _ = strconv.Atoi(p) // a name or nothing: any port
		}
	}
	if c.cfg.ListenerCert != "" {
		pair, err := tls.LoadX509KeyPair(c.cfg.ListenerCert, c.cfg.ListenerKey)
		if err != nil {
			return fmt.Errorf("listener certificate: %w", err)
		}
		lc.Certificate = &pair
	}
	host, err := c.listenHost(ctx, ends)
	if err != nil {
		return err
	}
	lc.Address = net.JoinHostPort(host, strconv.Itoa(port))
	l, err := relay.Listen(lc)
	if err != nil && port != 0 && c.cfg.Announce == "" && c.cfg.ListenPort == 0 {
		c.event(slog.LevelWarn, fmt.Sprintf("port %d is taken; the listener takes another", port))
		lc.Address = net.JoinHostPort(host, "0")
		l, err = relay.Listen(lc)
	}
	if err != nil {
		return err
	}
	for _, e := range ends {
		if err := e.locate(ctx, c.cfg.Announce, l.Port()); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", e.side, err), l.Close())
		}
	}
	if err := c.change(func(r *header) { r.Port = l.Port() }); err != nil {
		return errors.Join(err, l.Close())
	}
	wg.Go(func() { _ = l.Run(ctx) }) // returns nil
	return nil
}

// listenHost is the one local address that all servers reach, else all of them.
func (c *core) listenHost(ctx context.Context, ends []*end) (string, error) {
	if c.cfg.Announce != "" {
		return "", nil
	}
	hosts := make(map[string]bool)
	for _, e := range ends {
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
		m.listenerEvent(slog.LevelWarn, fmt.Sprintf("a replica at %s was turned away: %v", host(p.Address()), err))
	}
	_ = p.Close() // it asks again
}

func (m *Migration) handOver(ctx context.Context, p *psync.Peer) error {
	e, err := m.identify(p)
	if err != nil {
		return err
	}
	m.mu.Lock()
	link := m.link
	asks := link != nil && e.side == link.from // the primary asks to be a replica: the vote of a switch, or nobody's wish
	if asks && m.votes != nil {
		// Within the lock, so that none is sent after setVotes has seen to those that nobody took.
		defer m.mu.Unlock()
		select {
		case m.votes <- p:
			return nil
		default:
			return fmt.Errorf("%s asks again and again", e.address())
		}
	}
	m.mu.Unlock()
	if link == nil {
		return errors.New("no link is up")
	}
	if asks {
		if p.Failover {
			_ = p.Refuse("no switch is under way") // it becomes a primary again
		}
		return fmt.Errorf("%s asks to replicate, and no switch is under way", e.address())
	}
	return link.link.Serve(ctx, p)
}

func (m *Migration) linkConfig(from, to *end, editor relay.Editor) relay.Config {
	host, port := from.announced()
	conversion, every := m.conversion(from, to)
	return relay.Config{
		Snapshot: conversion, EverySnapshot: every, SnapshotVersion: number(from.version()),
		Source: from.endpoint, Target: to.address(),
		AnnounceHost: host, AnnouncePort: port, Editor: editor,
		Spool: spool.Options{Dir: m.cfg.dir(), MemoryLimit: m.cfg.SpoolMemory, DiskLimit: m.cfg.SpoolDisk},
		Log:   m.log, Notify: m.linkEvent,
		AllowFull: func(ctx context.Context) error {
			if err := m.allowFull(ctx, from, to); err != nil {
				return err
			}
			m.outdated("a full resync has replaced what the target had")
			return nil
		},
		Shared: from.shared,
	}
}

// listenerEvent is what the listener reports. A server tries again every
// second, and the same news is told once in a while only.
func (m *Migration) listenerEvent(level slog.Level, text string) {
	const again = 30 * time.Second
	m.mu.Lock()
	known := time.Since(m.toldAt) < again && m.told == text || m.votes != nil || m.quiet
	if !known {
		m.told, m.toldAt = text, time.Now()
	}
	m.mu.Unlock()
	if known {
		m.log.Debug(text)
		return
	}
	m.event(level, text)
}

// host is an address without its port, which is another at each attempt.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
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

// conversion says what becomes of a snapshot, nil where the replica loads all
// that the primary can send; every tells that this holds for all snapshots, and not
// only for those of formats that the replica does not load.
func (m *Migration) conversion(from, to *end) (o *rdb.ConverterOptions, every bool) {
	source, target := from.found().RDBFormat(), to.found().RDBFormat()
	every = to.found().LacksModules(from.found(), m.cfg.AcceptModules)
	if !source.Known() || !target.Known() {
		return nil, false
	}
	if source == target || target.Loads(source) {
		if !every {
			return nil, false
		}
		target = source // what modules hold is all that cannot pass
	}
	return &rdb.ConverterOptions{To: target, Transcoder: rdb.TranscoderOptions{
		Drop:   m.cfg.Drop,
		Module: m.loadsModules(from, to),
	}}, every
}

// number is a version as servers tell it to each other.
func number(v server.Version) string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// allowFull looks before a full resync replaces what the replica holds: a
// primary that came back empty must not empty the last copy of the data.
func (m *Migration) allowFull(ctx context.Context, from, to *end) error {
	source, err := from.look(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	followed, t := m.rec.Followed, m.rec.Track
	m.mu.Unlock()
	if !followed {
		return nil
	}
	target, err := to.look(ctx)
	if err != nil {
		return err
	}
	older := strings.EqualFold(source["master_replid2"], target["master_replid"]) && source.Int("second_repl_offset") <= target.Int("slave_repl_offset")
	if t != nil && t.From == from.side {
		lost := t.Source.Offset - source.Int("second_repl_offset") // of what was known at the checkpoint
		older = strings.EqualFold(source["master_replid2"], t.Source.ReplID) &&
			(lost > 0 || lost == 0 && target.Int("slave_repl_offset") >= t.Target.Offset)
	}
	if older {
		return hinted(fmt.Sprintf("make %s, which has what was lost, the primary: REPLICAOF NO ONE; if %s is as it should be, end this migration and begin a new one with --replace", to.address(), from.address()),
			"%s came back from an older snapshot, at offset %d, and would have a full resync wipe what %s has up to offset %d",
			from.address(), source.Int("second_repl_offset")-1, to.address(), target.Int("slave_repl_offset"))
	}
	// It may have been written to since it came back, so few keys are as bad as none.
	if has, had := keys(source), keys(target); has < had/2 || has == 0 && had > 0 {
		return hinted(fmt.Sprintf("if its data was lost, make %s the primary: REPLICAOF NO ONE; if it is as it should be, end this migration and begin a new one with --replace", to.address()),
			"%s came back with %d keys and would have a full resync wipe the %d keys of %s", from.address(), has, had, to.address())
	}
	m.event(slog.LevelWarn, fmt.Sprintf("%s cannot go on where it stands: a full resync from %s begins", to.address(), from.address()))
	return nil
}

// connectTimeout is within what time a server must have connected back.
const connectTimeout = 5 * time.Second

// connect makes the replica side replicate through the listener, and the
// first time finds out at once whether it can reach it.
func (m *Migration) connect(ctx context.Context, fresh bool) error {
	primary, replica := m.primary(), m.replica()
	if m.present() == nil {
		m.startLink(primary, m.onward(primary, m.editor(ctx, primary, replica))) //nolint:contextcheck // a link lives as long as Run, not as its caller
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
	for link.State() == relay.Waiting && link.Snapshot().FullResyncs == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-deadline.C:
			if info, err := replica.look(ctx); err == nil && info["role"] == "slave" && !replica.follows(info) {
				err := hinted("see who it is: an operator, or another godwit with another state directory; it is left as it is",
					"%s was made a replica of %s:%s by somebody else", replica.address(), info["master_host"], info["master_port"])
				return errors.Join(err, m.giveWay(ctx, replica))
			}
			host, port := replica.announced()
			err := hinted("name an address that it can reach with --announce host:port, and open the port in the firewall",
				"%s did not connect to the listener at %s within %v", replica.address(), net.JoinHostPort(host, strconv.Itoa(port)), connectTimeout)
			return errors.Join(err, m.detach(ctx, replica))
		}
	}
	return nil
}

// announceTo notes where a server is about to be sent to find the listener, so
// that a later run on another port knows its own.
func (c *core) announceTo(e *end) error {
	host, port := e.announced()
	return c.change(func(r *header) {
		announced := map[Side]string{e.side: net.JoinHostPort(host, strconv.Itoa(port))}
		if other, found := r.Announced[e.side.other()]; found {
			announced[e.side.other()] = other
		}
		r.Announced = announced
	})
}

// detach makes a server a primary of its own, with its settings as they were.
func (m *Migration) detach(ctx context.Context, e *end) error {
	if _, err := e.client.Do(ctx, "REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	if err := m.restore(ctx, e); err != nil {
		return err
	}
	return m.forgetAnnounced(e)
}

// giveWay leaves a server to somebody else who has taken it: the one-time
// password goes if it is still there, and nothing of the server is ours any more.
func (m *Migration) giveWay(ctx context.Context, e *end) error {
	e.mu.Lock()
	password := e.password
	e.mu.Unlock()
	current, _, err := e.client.ConfigGet(ctx, masterauth)
	if err == nil && current == password {
		err = m.restore(ctx, e)
	}
	m.forgetSetting(e.side, masterauth)
	return errors.Join(err, m.forgetAnnounced(e))
}

func (c *core) forgetAnnounced(e *end) error {
	return c.change(func(r *header) {
		r.Announced = maps.Clone(r.Announced)
		delete(r.Announced, e.side)
	})
}
