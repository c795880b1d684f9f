package census

import (
	"strconv"
	"strings"
)

// client is who connects, as far as it is known: connections of the same name, host
// and library count as one.
type client struct {
	Name    string `json:"name"`    // CLIENT SETNAME, empty if it has none
	Address string `json:"address"` // the host, without the port; a Unix socket's path
	Library string `json:"library"` // CLIENT SETINFO lib-name and lib-ver, from 7.2 on
}

// host is an address without its port, which every connection has for itself.
func host(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return address
	}
	if i := strings.LastIndexByte(address, ':'); i > 0 {
		return address[:i]
	}
	return address
}

// listed is one connection of CLIENT LIST.
type listed struct {
	address string
	client  client
	buffer  int64 // bytes of replies that it has not taken yet
}

// clientList reads the reply to CLIENT LIST (networking.c catClientInfoString).
func clientList(text string) []listed {
	var all []listed
	for line := range strings.Lines(text) {
		var l listed
		var version string
		for field := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "addr":
				l.address, l.client.Address = value, host(value)
			case "name":
				l.client.Name = value
			case "lib-name":
				l.client.Library = value
			case "lib-ver":
				version = value
			case "omem":
				l.buffer, _ = strconv.ParseInt(value, 10, 64)
			}
		}
		if l.client.Library != "" && version != "" {
			l.client.Library += " " + version
		}
		if l.address != "" {
			all = append(all, l)
		}
	}
	return all
}

// introduced takes what a client says of itself, where MONITOR shows it (7.0 and later).
func (c *client) introduced(args [][]byte) {
	if len(args) < 3 {
		return
	}
	switch last := Show(args[len(args)-1]); word(args) {
	case "SETNAME":
		c.Name = last
	case "SETINFO":
		if find(args, 2, "LIB-NAME") > 0 {
			c.Library = last
		} else if c.Library != "" && find(args, 2, "LIB-VER") > 0 {
			c.Library, _, _ = strings.Cut(c.Library, " ")
			c.Library += " " + last
		}
	}
}

// clients takes the connections that the server has now, from CLIENT LIST. Those of
// the name own are left out from now on.
func (c *Census) clients(list []listed, own string) {
	c.listed = make(map[string]client, len(list))
	for _, l := range list {
		c.listed[l.address] = l.client
		if l.client.Name == own {
			c.Ignore(l.address)
			continue
		}
		if k := c.conns[l.address]; k != nil {
			k.client = l.client
		}
	}
}
