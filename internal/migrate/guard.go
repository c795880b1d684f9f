package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"godwit/internal/relay"
)

// guard is the editor of a link from one server to another: none where the
// target knows whatever the source can send and has every db it has.
func (m *Migration) guard(ctx context.Context, from, to *end) (relay.Editor, error) {
	source, target := from.version(), to.version()
	databases, fewer := databases(from, to)
	if to.found().KnowsCommandsOf(source) && !fewer {
		return nil, nil
	}
	reply, err := to.client.Do(ctx, "COMMAND")
	if err != nil {
		return nil, fmt.Errorf("asking %s which commands it knows: %w", to.address(), err)
	}
	list, ok := reply.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("%s: COMMAND: unexpected reply", to.address())
	}
	names := make([]string, 0, len(list))
	for _, entry := range list {
		if fields, ok := entry.([]any); ok && len(fields) > 0 {
			if name, ok := fields[0].(string); ok {
				names = append(names, name)
			}
		}
	}
	m.log.Log(ctx, slog.LevelDebug, "each command is checked", "source", source.String(), "target", target.String(), "known", len(names))
	return relay.NewGuard(names, target, databases), nil
}

// databases is how many dbs the target has, 0 when it does not say, and
// whether the source has more.
func databases(from, to *end) (n int, fewer bool) {
	n, err := strconv.Atoi(to.found().Settings["databases"])
	if err != nil {
		return 0, false
	}
	source, err := strconv.Atoi(from.found().Settings["databases"])
	return n, err == nil && source > n
}
