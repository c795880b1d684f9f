// Package relay is the relay engine: to the source a replica, to the target a
// primary, and between the two a link that passes the snapshot and the
// replication stream on, byte for byte. Offsets are the source's own, so the
// target resumes by asking PSYNC, and the question is passed on.
//
// Listener accepts the servers that connect back. Link carries one direction;
// after a cutover a second Link carries the other.
package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"godwit/internal/psync"
)

// Listener is where the servers of a migration connect back as replicas. It
// serves no one else: a peer needs an address that is allowed and credentials
// that are.
type Listener struct {
	notify       func(level slog.Level, text string)
	listener     net.Listener
	tls          *tls.Config
	authenticate psync.Authenticate
	allowed      func(netip.Addr) bool
	serve        func(*psync.Peer)
	conns        sync.WaitGroup
}

// ListenerConfig says who is served and by whom.
type ListenerConfig struct {
	Address      string                // host:port; port 0 takes a free one
	Certificate  *tls.Certificate      // for servers that replicate over TLS; such a peer is recognised by its first byte
	Authenticate psync.Authenticate    // judges credentials, see there
	Allowed      func(netip.Addr) bool // judges the peer's address
	Serve        func(*psync.Peer)     // takes over a peer that has asked PSYNC; must not block
	// Notify is told of peers that are turned away; it must not block.
	Notify func(level slog.Level, text string)
}

// Listen opens the listener; Run accepts.
func Listen(c ListenerConfig) (*Listener, error) {
	l, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listener: %w", err)
	}
	ln := &Listener{notify: c.Notify, listener: l, authenticate: c.Authenticate, allowed: c.Allowed, serve: c.Serve}
	if c.Certificate != nil {
		ln.tls = &tls.Config{Certificates: []tls.Certificate{*c.Certificate}, MinVersion: tls.VersionTLS12}
	}
	return ln, nil
}

// Port is the port it listens on.
func (l *Listener) Port() int { return l.listener.Addr().(*net.TCPAddr).Port }

// Run accepts until ctx is done; then it closes the listener, waits for the
// handshakes under way and returns nil.
func (l *Listener) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = l.listener.Close() })
	defer stop()
	defer l.conns.Wait()
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, most likely: it passes, and ending the link would not help.
			l.notify(slog.LevelWarn, fmt.Sprintf("the listener cannot accept: %v", err))
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		l.conns.Go(func() { l.handshake(ctx, conn) })
	}
}

// Close ends a listener that never ran.
func (l *Listener) Close() error { return l.listener.Close() }

func (l *Listener) handshake(ctx context.Context, conn net.Conn) {
	peer, err := l.accept(ctx, conn)
	if err != nil {
		_ = conn.Close() // the handshake's error is the one that tells
		if errors.Is(err, psync.ErrStranger) {
			err = psync.ErrStranger // without the port, which is another each time
		}
		if ctx.Err() == nil {
			l.notify(slog.LevelWarn, fmt.Sprintf("a connection from %s was turned away: %v", remoteHost(conn), err))
		}
		return
	}
	l.serve(peer)
}

// remoteHost is a peer's address without its port, which is another each time.
func remoteHost(conn net.Conn) string {
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return from.Addr().Unmap().String()
}

func (l *Listener) accept(ctx context.Context, conn net.Conn) (*psync.Peer, error) {
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return nil, err
	}
	if !l.allowed(from.Addr().Unmap()) {
		return nil, errors.New("its address is neither the source's nor the target's")
	}
	if l.tls != nil {
		conn, err = l.sniff(ctx, conn)
		if err != nil {
			return nil, err
		}
	}
	return psync.Accept(ctx, conn, l.authenticate)
}

// sniff wraps the connection in TLS when the peer begins with a ClientHello
// (record type 22), so that one listener serves servers with and without
// tls-replication.
func (l *Listener) sniff(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if err := conn.SetReadDeadline(time.Now().Add(psync.HandshakeTimeout)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		return nil, err
	}
	whole := &prefixConn{Conn: conn, prefix: first} // conn stays what it is: the function above may be at work
	if first[0] != 22 {
		return whole, nil
	}
	secure := tls.Server(whole, l.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}

// prefixConn gives back bytes that were read ahead.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
