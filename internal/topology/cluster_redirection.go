package topology

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"godwit/internal/server"
)

// RedirectionKind is what a node says that does not serve a key.
type RedirectionKind string

// The kinds of redirections, as the first word of the reply.
const (
	Moved RedirectionKind = "MOVED" // the slot belongs to that node: the map is outdated
	Ask   RedirectionKind = "ASK"   // this key is already there: send the command there once, after ASKING
)

// Redirection is a MOVED or an ASK.
type Redirection struct {
	Kind    RedirectionKind
	Slot    uint16
	Address string // host:port; the host is empty where the node that was asked has it, too
}

// ParseRedirection reads "MOVED 3999 127.0.0.1:6381" and "ASK 3999 host:port" of an
// error that is or wraps a *server.Error (cluster.c clusterRedirectClient). The host
// is empty with cluster-preferred-endpoint-type unknown-endpoint, ? where a node is to
// be called by a hostname that it lacks, and an IPv6 address stands without brackets.
func ParseRedirection(err error) (Redirection, bool) {
	var reply *server.Error
	if !errors.As(err, &reply) {
		return Redirection{}, false
	}
	r := Redirection{Kind: RedirectionKind(reply.Code)}
	if r.Kind != Moved && r.Kind != Ask {
		return Redirection{}, false
	}
	number, address, _ := strings.Cut(reply.Message, " ")
	s, wrong := parseSlot(number)
	colon := strings.LastIndexByte(address, ':')
	if wrong != nil || colon < 0 {
		return Redirection{}, false
	}
	host, port := strings.Trim(address[:colon], "[]"), address[colon+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return Redirection{}, false
	}
	if host == "?" {
		host = ""
	}
	r.Slot, r.Address = s, net.JoinHostPort(host, port)
	return r, true
}

// Endpoint is where a redirection leads, for a client that got it from asked.
func (r Redirection) Endpoint(asked server.Endpoint) server.Endpoint {
	e := asked
	e.Network, e.Address = "tcp", r.Address
	if host, port, err := net.SplitHostPort(r.Address); err == nil && host == "" {
		e.Address = net.JoinHostPort(asked.Host(), port)
	}
	return e
}
