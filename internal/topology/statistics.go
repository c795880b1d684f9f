package topology

import (
	"strings"

	"godwit/internal/server"
)

// infoCalls reads INFO commandstats (server.c genRedisInfoString): a line
// cmdstat_hexpire:calls=12,usec=… for each command that has run, with subcommands
// as cmdstat_xgroup|create from 7.0 on, and those of modules in capitals.
func infoCalls(text string) map[string]int64 {
	calls := make(map[string]int64)
	for field, value := range server.ParseInfo(text) {
		if name, ok := strings.CutPrefix(field, "cmdstat_"); ok {
			calls[strings.ToUpper(name)] += infoFields(value).Int("calls")
		}
	}
	return calls
}
