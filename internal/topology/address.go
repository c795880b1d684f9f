package topology

import (
	"context"
	"fmt"
	"net/netip"

	"godwit/internal/server"
)

// LocalAddr is our own address on the way to a server: the one at which, if no
// addresses are translated in between, the server reaches us. Over a Unix socket
// that is the loopback address.
func LocalAddr(ctx context.Context, e server.Endpoint) (netip.Addr, error) {
	if e.Network == "unix" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	conn, err := e.DialConn(ctx)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("route to %s: %w", e.Address, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was sent
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("route to %s: %w", e.Address, err)
	}
	return local.Addr().Unmap(), nil
}
