package migrate

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"godwit/internal/server"
	"godwit/internal/topology"
)

// end is one of the two servers of a migration, and what is known of it.
type end struct {
	side     Side
	endpoint server.Endpoint
	client   *server.Client
	clock    clock

	mu           sync.Mutex
	node         topology.Node // as the run found it
	probed       topology.Probe
	info         server.Info // as last seen
	unreachable  string      // why it could not be asked the last time
	announceHost string      // where this server finds the listener
	announcePort int
	password     string // what it presents to the listener
	open         bool   // it cannot be made to present one
	addresses    []netip.Addr
}

func newEnd(s Side, e server.Endpoint, clientName string, now func() time.Time) (*end, error) {
	client, err := server.New(e, clientName)
	if err != nil {
		return nil, err
	}
	return &end{side: s, endpoint: e, client: client, clock: clock{ours: now}}, nil
}

// look asks the server for everything that is shown and decided on.
func (e *end) look(ctx context.Context) (server.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	info, err := e.client.Info(ctx, "server", "replication", "memory", "keyspace", "persistence", "stats")
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.unreachable = err.Error()
		return nil, err
	}
	e.info, e.unreachable = info, ""
	return info, nil
}

// seen is what look found last.
func (e *end) seen() server.Info {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.info
}

func (e *end) address() string { return e.endpoint.Address }

// isReplicaOf tells whether the server replicates from the listener, as far as it says.
func (e *end) follows(info server.Info) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return info["role"] == "slave" && info["master_host"] == e.announceHost && info.Int("master_port") == int64(e.announcePort)
}

// ports are those by which the server may call itself when it replicates.
func (e *end) ports() []int {
	info := e.seen()
	return []int{e.endpoint.Port(), int(info.Int("tcp_port"))}
}

// keys is the number of keys in all dbs.
func keys(info server.Info) int64 {
	var total int64
	for name, value := range info {
		var db, n int64
		if _, err := fmt.Sscanf(name, "db%d", &db); err != nil {
			continue
		}
		if _, err := fmt.Sscanf(value, "keys=%d", &n); err == nil {
			total += n
		}
	}
	return total
}

// locate finds the address by which the server reaches the listener: the
// local address of the route to it, unless one is given.
func (e *end) locate(ctx context.Context, announce string, port int) error {
	conn, err := e.endpoint.DialConn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it was opened for its addresses alone
	local, remote := "127.0.0.1", netip.MustParseAddr("127.0.0.1")
	if e.endpoint.Network == "tcp" {
		l, err := netip.ParseAddrPort(conn.LocalAddr().String())
		if err != nil {
			return err
		}
		r, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err != nil {
			return err
		}
		local, remote = l.Addr().Unmap().String(), r.Addr().Unmap()
	}
	addresses := []netip.Addr{remote}
	if ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", e.endpoint.Host()); err == nil {
		for _, ip := range ips {
			addresses = append(addresses, ip.Unmap())
		}
	}
	own := ownAddresses()
	if slices.ContainsFunc(addresses, func(a netip.Addr) bool { return slices.Contains(own, a) }) {
		// A server on this machine may connect from any of its addresses.
		addresses = append(addresses, own...)
	}
	if announce != "" {
		host, p, err := net.SplitHostPort(announce)
		if err != nil {
			return err
		}
		local = host
		if n, err := strconv.Atoi(p); err == nil && n != 0 {
			port = n
		}
	}
	e.mu.Lock()
	e.announceHost, e.announcePort, e.addresses = local, port, addresses
	e.mu.Unlock()
	return nil
}

func (e *end) announced() (host string, port int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.announceHost, e.announcePort
}

// announcedAddress is host:port of the listener as the server finds it, announce if
// that is given, and empty while it is not known.
func (e *end) announcedAddress(announce string) string {
	if host, port := e.announced(); announce == "" && port != 0 {
		return net.JoinHostPort(host, strconv.Itoa(port))
	}
	return announce
}

func (e *end) hasAddress(a netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.addresses, a)
}

// ownAddresses are this machine's.
func ownAddresses() []netip.Addr {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return own // loopback alone is the safe answer
	}
	for _, i := range interfaces {
		if prefix, err := netip.ParsePrefix(i.String()); err == nil {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own
}

// newPassword makes a one-time password of 26 letters and digits.
func newPassword() string { return rand.Text() }
