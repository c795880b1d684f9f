package load

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"godwit/internal/resp"
	"godwit/internal/server"
	"godwit/internal/shards"
	"godwit/internal/slot"
)

// router knows where a writer's keys are served, and keeps its connections. That it
// writes to a cluster it learns from the first MOVED.
type router struct {
	config   *Config
	conns    map[string]*conn // by address
	endpoint int              // index of the one in use, or to be tried next
	slots    []string         // by slot, who serves it, empty if not known; nil: the endpoint serves all
	fetched  time.Time        // when slots was asked for
}

// route is where a write is to be sent.
type route struct {
	address string // empty: to the endpoint
	asking  bool   // the slot is being moved there
}

func (r *router) route(key []byte) route {
	switch {
	case r.slots == nil && r.endpoint < r.config.Servers:
		return route{address: r.config.Endpoints[r.config.Divide(string(key))].Address}
	case r.slots == nil:
		return route{}
	}
	return route{address: r.slots[slot.Of([]byte(r.name(string(key))))]}
}

// name is what a key of the load is called at the endpoint.
func (r *router) name(key string) string {
	if r.config.Before == nil || !shards.Begins(key, r.config.Prefix) {
		return key
	}
	return r.config.Before[r.endpoint] + key
}

// wire are commands by the names that their keys have at the endpoint.
func (r *router) wire(commands []byte) []byte {
	if r.config.Before == nil || r.config.Before[r.endpoint] == "" {
		return commands
	}
	var renamed []byte
	for len(commands) > 0 {
		e, err := resp.Scan(commands, nil)
		if err != nil {
			break // it was encoded here
		}
		args := make([]string, len(e.Args))
		for i, arg := range e.Args {
			args[i] = r.name(string(arg))
		}
		renamed = append(renamed, encode(args...)...)
		commands = commands[e.Size:]
	}
	return renamed
}

// at is the server of a route.
func (r *router) at(to route) server.Endpoint {
	e := r.config.Endpoints[r.endpoint]
	if to.address != "" {
		e.Network, e.Address = "tcp", to.address
	}
	return e
}

func (r *router) connect(ctx context.Context, to route) (*conn, error) {
	e := r.at(to)
	if c := r.conns[e.Address]; c != nil {
		return c, nil
	}
	c, err := dial(ctx, e, r.config.Timeout)
	if err == nil {
		r.conns[e.Address] = c
	}
	return c, err
}

// leave closes the connection of a route, to a server that does not take writes, and
// forgets what was learned: the next endpoint is asked.
func (r *router) leave(to route) {
	r.drop(r.at(to).Address)
	r.slots = nil
	r.endpoint = (r.endpoint + 1) % len(r.config.Endpoints)
}

// lost closes the connection of a route, to a server that is not there: the next
// endpoint is asked who serves its slots.
func (r *router) lost(to route) {
	r.drop(r.at(to).Address)
	for at, address := range r.slots {
		if address == to.address {
			r.slots[at] = ""
		}
	}
	r.endpoint = (r.endpoint + 1) % len(r.config.Endpoints)
}

func (r *router) drop(address string) {
	if c := r.conns[address]; c != nil {
		c.close()
		delete(r.conns, address)
	}
}

func (r *router) close() {
	for address := range r.conns {
		r.drop(address)
	}
}

// slotsAge is for how long slots is not asked for again: what it does not yet tell
// rightly, each MOVED does.
const slotsAge = 200 * time.Millisecond

// redirect follows "MOVED slot host:port" or "ASK slot host:port", said by the server
// of a connection (cluster.c clusterRedirectClient).
func (r *router) redirect(ctx context.Context, by *conn, e *refusedError) (route, bool) {
	words := strings.Fields(e.text)
	if len(words) < 3 {
		return route{}, false
	}
	at, err := strconv.ParseUint(words[1], 10, 14)
	if err != nil {
		return route{}, false
	}
	host, port, err := net.SplitHostPort(words[2])
	if err != nil {
		return route{}, false
	}
	if host == "" || host == "?" { // its own, as we see it
		host, _, _ = net.SplitHostPort(by.address)
	}
	to := route{address: net.JoinHostPort(host, port), asking: words[0] == "ASK"}
	if to.asking {
		return to, true
	}
	if r.slots == nil || time.Since(r.fetched) > slotsAge {
		r.fetchSlots(ctx, to)
	}
	r.slots[at] = to.address
	return to, true
}

// fetchSlots asks who serves which slots. Without an answer, MOVEDs tell them one by one.
func (r *router) fetchSlots(ctx context.Context, to route) {
	r.fetched = time.Now()
	if r.slots == nil {
		r.slots = make([]string, slot.Count)
	}
	c, err := r.connect(ctx, to)
	if err != nil {
		return
	}
	reply, err := c.roundTrip(encode("CLUSTER", "SLOTS"), 1)
	if err != nil {
		r.drop(c.address)
		return
	}
	ranges, err := shards.Ranges(reply.value(), r.at(to))
	if err != nil {
		return
	}
	for _, served := range ranges {
		for at := int(served.First); at <= int(served.Last); at++ {
			r.slots[at] = served.Primary.Address
		}
	}
}
