package topology

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/server"
)

// readInfo fills in all that INFO says (server.c genRedisInfoString).
func (n *Node) readInfo(text string) {
	info := server.ParseInfo(text)
	n.RunID = info["run_id"]
	n.Version = info.Version()
	n.Mode = infoMode(info)
	n.Replication = infoReplication(info)
	n.DBs = infoDBs(info)
	n.Libraries = int(info.Int("number_of_libraries"))
	n.Modules = infoModules(text)
	n.RDBVersion, n.RDBJudge = rdbVersion(n.Version), ByVersion
	n.Memory = Memory{
		Used:   info.Int("used_memory"),
		Max:    info.Int("maxmemory"),
		Policy: info["maxmemory_policy"],
		System: info.Int("total_system_memory"),
	}
	n.Persistence = Persistence{
		Loading:    info["loading"] == "1" || info["async_loading"] == "1",
		LoadedPerc: infoFloat(info, "loading_loaded_perc"),
		Saving:     info["rdb_bgsave_in_progress"] == "1",
		AOF:        info["aof_enabled"] == "1",
	}
	n.Traffic = Traffic{
		Commands:   info.Int("instantaneous_ops_per_sec"),
		InputBytes: infoFloat(info, "instantaneous_input_kbps") * 1024,
	}
	n.Clients.Connected = info.Int("connected_clients")
	n.Clients.Blocked = info.Int("blocked_clients")
	n.Monitors = infoMonitors(info)
}

// ModeOf asks a server what it is run as.
func ModeOf(ctx context.Context, c *server.Client) (Mode, error) {
	info, err := c.Info(ctx, "server")
	if err != nil {
		return "", err
	}
	return infoMode(info), nil
}

func infoMode(info server.Info) Mode {
	for _, field := range []string{"redis_mode", "server_mode", "redict_mode"} {
		if mode := info[field]; mode != "" {
			return Mode(mode)
		}
	}
	if info["cluster_enabled"] == "1" {
		return Cluster
	}
	return Standalone
}

func infoReplication(info server.Info) Replication {
	r := Replication{
		Role:         Primary,
		ReplID:       info["master_replid"],
		ReplID2:      info["master_replid2"],
		Offset:       info.Int("master_repl_offset"),
		SecondOffset: info.Int("second_repl_offset"),
		Backlog: Backlog{
			Active:      info["repl_backlog_active"] == "1",
			Size:        info.Int("repl_backlog_size"),
			FirstOffset: info.Int("repl_backlog_first_byte_offset"),
			Length:      info.Int("repl_backlog_histlen"),
		},
		FailoverState: info["master_failover_state"],
		Replicas:      []Downstream{},
	}
	if info["role"] == "slave" {
		r.Role = Replica
		r.Offset = info.Int("slave_repl_offset")
		r.Upstream = Upstream{
			Host:    info["master_host"],
			Port:    int(info.Int("master_port")),
			Link:    info["master_link_status"],
			Syncing: info["master_sync_in_progress"] == "1",
		}
	}
	for i := int64(0); i < info.Int("connected_slaves"); i++ {
		fields := infoFields(info["slave"+strconv.FormatInt(i, 10)])
		r.Replicas = append(r.Replicas, Downstream{
			Address: net.JoinHostPort(fields["ip"], fields["port"]),
			State:   fields["state"],
			Offset:  fields.Int("offset"),
		})
	}
	return r
}

func infoDBs(info server.Info) []DB {
	dbs := []DB{}
	for name, value := range info {
		digits, ok := strings.CutPrefix(name, "db")
		if !ok {
			continue
		}
		number, err := strconv.Atoi(digits)
		if err != nil {
			continue
		}
		fields := infoFields(value)
		dbs = append(dbs, DB{
			Number:  number,
			Keys:    fields.Int("keys"),
			Expires: fields.Int("expires"),
			// Redis's name and Valkey's; no server has both.
			FieldExpires: fields.Int("subexpiry") + fields.Int("keys_with_volatile_items"),
		})
	}
	slices.SortFunc(dbs, func(a, b DB) int { return a.Number - b.Number })
	return dbs
}

// Monitor is a primary that a Sentinel watches.
type Monitor struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// infoMonitors reads "master0:name=...,status=ok,address=IP:PORT,..." of a Sentinel.
func infoMonitors(info server.Info) []Monitor {
	var monitors []Monitor
	for i := int64(0); i < info.Int("sentinel_masters"); i++ {
		fields := infoFields(info["master"+strconv.FormatInt(i, 10)])
		monitors = append(monitors, Monitor{Name: fields["name"], Address: fields["address"]})
	}
	return monitors
}

// infoFields splits "name=value,name=value".
func infoFields(value string) server.Info {
	fields := make(server.Info)
	for pair := range strings.SplitSeq(value, ",") {
		if name, text, ok := strings.Cut(pair, "="); ok {
			fields[name] = text
		}
	}
	return fields
}

func infoFloat(info server.Info, field string) float64 {
	f, err := strconv.ParseFloat(info[field], 64)
	if err != nil {
		return 0
	}
	return f
}
