package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/persist"
	"godwit/internal/rdb"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// File is the engine whose source is what a server has saved.
const File = "file"

// FileContents is what a file was found to hold, and what of it the target cannot be given.
type FileContents struct {
	persist.Description

	Version     string        `json:"version,omitempty"` // of the server that wrote the snapshot; empty if there is none, or it does not say
	Keys        int64         `json:"keys"`              // of the snapshot, that are to be loaded
	Expires     int64         `json:"expires"`           // of these, with a TTL
	Expired     int64         `json:"expired"`           // of the snapshot, whose time has passed: no server loads them
	DBs         []topology.DB `json:"dbs"`               // those with keys in the snapshot, or with commands
	Libraries   []string      `json:"function_libraries"`
	Modules     []string      `json:"modules"`               // whose data it has
	Commands    int64         `json:"commands"`              // after the snapshot
	Left        int64         `json:"left,omitempty"`        // of these, on keys of dbs that stay behind
	LastCommand time.Time     `json:"last_command,omitzero"` // the last time that the server has noted among them

	LeftOut     persist.LeftOut       `json:"left_out"`
	Damage      *FileRefusal          `json:"damage,omitempty"` // what ends the reading
	Refused     []FileRefusal         `json:"refused"`          // the first ones of what the target cannot be given
	RefusedMore int64                 `json:"refused_more"`     // how many there are beside these
	Dropped     map[rdb.Feature]int64 `json:"dropped,omitempty"`
}

// FileRefusal is something in a file that stops the loading.
type FileRefusal struct {
	Text string `json:"text"` // with the place, or the key
	Hint string `json:"hint,omitempty"`
}

// FileFacts are what was found where the source is a file.
type FileFacts struct {
	File   FileContents
	Target topology.Node
	// Cluster is the target as a whole where it is one, and Shards its primaries.
	Cluster *topology.ClusterMap
	Shards  []topology.Node
}

// Whole is the target, of a cluster all of its shards together.
func (f FileFacts) Whole() topology.Node {
	if len(f.Shards) > 0 {
		return Together(f.Shards)
	}
	return f.Target
}

// ForFile makes the plan of loading a file.
func ForFile(f FileFacts, w Wants) Plan {
	w.CopyOnly, w.RollbackWindow, w.Verify = true, 0, false
	in := newInput(Facts{Source: f.File.node(), Target: f.Target, Cluster: f.Cluster, Shards: f.Shards}, w)
	in.file = &f.File
	p := Plan{
		Name: w.Name, Engine: File, EngineWhy: "what a server has saved is read, and written to the target as a client does",
		Source: endOf(in.Source), Target: endOf(in.Target), File: &f.File,
		Sizes:         Sizes{Keys: f.File.Keys, Expires: f.File.Expires, DBs: f.File.DBs, Libraries: len(f.File.Libraries), UsedMemory: in.Source.Memory.Used},
		WayBackReason: "a file takes no writes", MaxPauseMS: 0,
		Blockers: []Finding{}, Warnings: []Finding{}, Notes: []Finding{}, Steps: []Step{},
	}
	p.EstimatedSeconds = float64(f.File.Keys)/loadKeys + float64(f.File.Commands)/playedCommands
	p.Source.Role = string(f.File.Kind)
	if in.toCluster() {
		p.Slots = picture(in.Cluster)
		p.Target.Role = fmt.Sprintf("cluster of %d", len(in.Shards))
		for _, n := range in.Shards {
			p.Shards = append(p.Shards, endOf(n))
		}
	}
	for _, rules := range [][]rule{identityRules(), clusterRules(), dbMapRules(), roleRules(), dataRules(), memoryRules()} {
		for _, r := range rules {
			if concernsFile(r.code, in.toCluster()) {
				p.apply(r, in)
			}
		}
	}
	for _, r := range fileRules(&f.File) {
		p.apply(r, in)
	}
	if !p.Refused() {
		p.Steps = in.fileSteps(&f.File)
	}
	return p
}

// playedCommands is how many commands of a file a server takes in a second, or so.
const playedCommands = 200_000

// concernsFile tells of a rule that holds for a file, too.
func concernsFile(code string, cluster bool) bool {
	if cluster && ofReplica(code) && code != "target-is-replica" {
		return false
	}
	switch code {
	case "target-is-sentinel", "target-too-old", "cluster-unserved", "cluster-moving", "cluster-dbs", "db-map-joint", "db-map-target", "db-map-drop", "db-map", "shard-memory", "shard-versions",
		"target-is-replica", "target-in-use", "target-failing-over", "target-loading",
		"target-has-keys", "target-wiped", "databases", "target-persists", "target-evicts":
		return true
	default:
		return false
	}
}

// node is the file as the rules about a source look at one.
func (f *FileContents) node() topology.Node {
	n := topology.Node{URL: "file:" + f.Path, Version: f.Description.Version(), Mode: topology.Standalone, DBs: f.DBs, Libraries: len(f.Libraries)}
	n.Endpoint = server.Endpoint{Address: f.Path}
	for _, p := range f.Parts {
		if used, err := strconv.ParseInt(p.Aux["used-mem"], 10, 64); err == nil {
			n.Memory.Used = used
		}
	}
	return n
}

// fileRules are about the file itself.
func fileRules(f *FileContents) []rule {
	rules := []rule{
		{"file-damaged", blocker, func(*input) (string, string) {
			if f.Damage == nil {
				return "", ""
			}
			return f.Damage.Text, f.Damage.Hint
		}},
		{"file-more", blocker, func(*input) (string, string) {
			if f.RefusedMore == 0 {
				return "", ""
			}
			return "there are " + number(f.RefusedMore) + " more of what the target cannot be given", ""
		}},
		{"file-tail", warning, func(*input) (string, string) {
			if f.LeftOut.TailBytes == 0 {
				return "", ""
			}
			return fmt.Sprintf("%s: the file ends within a command or a transaction: its last %s are left out, as a server with aof-load-truncated yes would", f.LeftOut.Tail, count(f.LeftOut.TailBytes, "byte", "bytes")), ""
		}},
		{"file-strays", note, func(*input) (string, string) {
			if f.LeftOut.Strays == 0 {
				return "", ""
			}
			return fmt.Sprintf("%s: %s without the other, which servers ignore", f.LeftOut.FirstStray, count(f.LeftOut.Strays, "MULTI or EXEC", "MULTIs or EXECs")), ""
		}},
		{"file-expired", note, func(*input) (string, string) {
			if f.Expired == 0 {
				return "", ""
			}
			return count(f.Expired, "key is", "keys are") + " left out because their time has passed, as a server would", ""
		}},
		{"file-memory", warning, func(in *input) (string, string) {
			if limit := in.Target.Memory.Max; limit == 0 || limit >= in.Source.Memory.Used {
				return "", ""
			}
			return fmt.Sprintf("the target's maxmemory of %s is below the %s that the server used when it wrote the file", bytes(in.Target.Memory.Max), bytes(in.Source.Memory.Used)), raiseLimit(in)
		}},
		{"file-times", note, func(*input) (string, string) {
			if f.Kind == persist.RDB {
				return "", ""
			}
			return "until the end of the loading the target's keys have TTLs that end " + strconv.Itoa(yearsPutOff) + " years late, so that nothing expires between two commands of the file; then they are put right", ""
		}},
		{"file-dropped", warning, func(*input) (string, string) {
			var words []string
			for feature, n := range f.Dropped {
				words = append(words, fmt.Sprintf("%s (%s)", feature, number(n)))
			}
			slices.Sort(words)
			if len(words) == 0 {
				return "", ""
			}
			return "what the target does not have is left out: " + list(words) + " (--drop)", ""
		}},
	}
	var refused []rule
	for _, r := range f.Refused {
		refused = append(refused, rule{"file-refused", blocker, func(*input) (string, string) { return r.Text, r.Hint }})
	}
	return append(refused, rules...)
}

// yearsPutOff is how late, see package apply.
const yearsPutOff = 1115

// fileSteps lists what will be sent.
func (in *input) fileSteps(f *FileContents) []Step {
	target := in.target()
	var steps []Step
	if holdings(in.Target) != "" {
		steps = append(steps, at(target, copying, "FLUSHALL", "(--replace)"))
	}
	if f.Keys > 0 {
		steps = append(steps, at(target, copying, "SET key value; RESTORE key ttl value", count(f.Keys, "key", "keys")+" of the snapshot"))
	}
	if len(f.Libraries) > 0 {
		steps = append(steps, at(target, copying, "FUNCTION LOAD REPLACE", list(f.Libraries)))
	}
	if f.Kind == persist.RDB {
		return steps
	}
	return append(steps,
		at(target, copying, "EVALSHA", count(f.Commands, "command", "commands")+" in batches; a batch ends with its own checkpoint godwit:"+in.Name+":*, so none is carried out twice"),
		at(target, copying, "EVALSHA", "the keys' TTLs are put right"),
		at(target, completed, "DEL godwit:"+in.Name+":*", "the checkpoints go"))
}

// text is the file in a few rows for people.
func (f *FileContents) rows() [][2]string {
	kind := map[persist.Kind]string{persist.RDB: "an RDB file", persist.AOF: "an append only file", persist.MultiPartAOF: "an append only file of several parts"}[f.Kind]
	if f.Version != "" {
		kind += ", written by " + f.Version
	}
	var parts []string
	for _, p := range f.Parts {
		text := fmt.Sprintf("%s (%s, %s", p.File, p.Content, bytes(p.Bytes))
		if !p.Created.IsZero() {
			text += ", of " + p.Created.UTC().Format(time.DateTime+" UTC")
		} else if !p.Modified.IsZero() {
			text += ", last written " + p.Modified.UTC().Format(time.DateTime+" UTC")
		}
		parts = append(parts, text+")")
	}
	holds := count(f.Keys, "key", "keys") + fmt.Sprintf(" (%d with a TTL)", f.Expires)
	if f.Kind != persist.RDB {
		holds += ", then " + count(f.Commands, "command", "commands")
	}
	var dbs []string
	for _, db := range f.DBs {
		dbs = append(dbs, strconv.Itoa(db.Number))
	}
	rows := [][2]string{{"file", kind}, {"parts", strings.Join(parts, ", ")}, {"holds", holds}, {"dbs", strings.Join(dbs, ", ")}}
	if len(f.Libraries) > 0 {
		rows = append(rows, [2]string{"functions", list(f.Libraries)})
	}
	if len(f.Modules) > 0 {
		rows = append(rows, [2]string{"modules", list(f.Modules)})
	}
	end := "complete"
	switch {
	case f.Damage != nil:
		end = "damaged: see below"
	case f.LeftOut.TailBytes > 0:
		end = fmt.Sprintf("cut: %s of its tail are left out", count(f.LeftOut.TailBytes, "byte", "bytes"))
	case !f.LastCommand.IsZero():
		end += ", the last command about " + f.LastCommand.UTC().Format(time.DateTime+" UTC")
	}
	return append(rows, [2]string{"ends", end})
}
