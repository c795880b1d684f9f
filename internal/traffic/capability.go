package traffic

import (
	"context"
	"fmt"
	"strings"

	"godwit/internal/server"
)

// capability is what a server is and has.
type capability struct {
	version  server.Version
	commands map[string]bool // in lower case, without subcommands
}

func ask(ctx context.Context, c *server.Client) (capability, error) {
	s := capability{commands: make(map[string]bool)}
	info, err := c.Info(ctx, "server")
	if err != nil {
		return s, err
	}
	s.version = info.Version()
	reply, err := c.Do(ctx, "COMMAND")
	if err != nil {
		return s, err
	}
	list, _ := reply.([]any)
	for _, entry := range list {
		if fields, ok := entry.([]any); ok && len(fields) > 0 {
			s.commands[strings.ToLower(fmt.Sprint(fields[0]))] = true
		}
	}
	if len(s.commands) == 0 {
		return s, fmt.Errorf("%s: COMMAND: unexpected reply", c.Endpoint().Address)
	}
	return s, nil
}

// has tells whether the server has a command.
func (s capability) has(command string) bool { return s.commands[command] }

// since tells whether the version is at least that of Redis; Valkey and Redict
// have all that Redis 7.2 has.
func (s capability) since(major, minor int) bool {
	if s.version.Product != server.Redis {
		return major < 7 || major == 7 && minor <= 2
	}
	return s.version.AtLeast(major, minor)
}

// comparesOnSet tells whether SET has IFEQ.
func (s capability) comparesOnSet() bool {
	return s.since(8, 4) || s.version.Product == server.Valkey && s.version.AtLeast(8, 1)
}

// holds tells whether the server has a feature.
func (s capability) holds(f Feature) bool {
	switch f {
	case HashFieldTTL:
		return s.has("hpexpire")
	case Function:
		return s.has("function")
	case VectorSet:
		return s.has("vadd")
	case StreamIDMP:
		return s.has("xcfgset")
	case BitOps:
		return s.since(8, 2)
	case GeoSearch:
		return s.has("geosearchstore")
	default:
		return true
	}
}

// Held lists the features that a server has.
func Held(ctx context.Context, c *server.Client) ([]Feature, error) {
	s, err := ask(ctx, c)
	if err != nil {
		return nil, err
	}
	var held []Feature
	for _, f := range Features() {
		if s.holds(f) {
			held = append(held, f)
		}
	}
	return held, nil
}
