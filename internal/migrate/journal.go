package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/topology"
)

// Side names one of the two servers.
type Side string

// The sides.
const (
	Source Side = "source"
	Target Side = "target"
)

// other is the opposite side.
func (s Side) other() Side {
	if s == Source {
		return Target
	}
	return Source
}

// header is what the journal of every migration holds.
type header struct {
	Name     string        `json:"name"`
	From, To string        // URLs without passwords
	Engine   string        `json:"engine,omitempty"` // plan.Relay if empty
	Joint    bool          `json:"joint,omitempty"`  // see Joint
	Phase    Phase         `json:"phase"`
	Primary  Side          `json:"primary"` // by the last switch that was committed
	Started  time.Time     `json:"started"`
	Updated  time.Time     `json:"updated"`
	PID      int           `json:"pid"`
	Port     int           `json:"port"`               // of the listener; kept, because the servers know it
	Settings []setting     `json:"settings,omitempty"` // changed at the servers and to be restored
	Followed bool          `json:"followed"`           // the target has followed the source
	Fenced   bool          `json:"fenced,omitempty"`   // users of a side have been refused writes, see deployment
	Cutover  CutoverStatus `json:"cutover"`
	// Completing tells that a complete was begun, see beginCompleting.
	Completing bool         `json:"completing,omitempty"`
	Verify     VerifyStatus `json:"verify"`
	// Left is what a comparison is to put back at the primaries that it has asked.
	Left   map[Side]verifyLeft `json:"verify_sides,omitempty"`
	Last   Status              `json:"last"` // as last shown, for a dead run's status
	Events []Event             `json:"events"`
	Error  string              `json:"error,omitempty"`
	Hint   string              `json:"hint,omitempty"`
	DBMap  []string            `json:"db_map,omitempty"` // Config.Route, as flags
	// ShardBy is Config.ShardBy.
	ShardBy string `json:"shard_by,omitempty"`
	// Announced is where each server was last sent to find the listener; one
	// that was let go again is not in it.
	Announced map[Side]string `json:"announced,omitempty"`
	// Dropped is what was left out, by the side that does not have it; of a link's stream
	// up to Track, from which it is read again.
	Dropped map[Side]rdb.Dropped `json:"dropped,omitempty"`
}

// record is what the journal holds. It tells what was intended and what must
// be put back; what really is, the servers are asked. It holds no password.
type record struct {
	header

	// Switch is the switch under way, nil when there is none.
	Switch *switchRecord `json:"switch,omitempty"`
	// Track is for a link whose target counts otherwise than its source; nil where
	// both count alike.
	Track    *track            `json:"track,omitempty"`
	RunIDs   map[Side]string   `json:"run_ids,omitempty"`
	Refusals map[Side]refusals `json:"refusals,omitempty"`
	// Probes are what the servers said they load.
	Probes map[Side]topology.Probe `json:"probes,omitempty"`
	// Doubtful is set when the target may have been promoted by a switch that was given up.
	Doubtful bool `json:"doubtful,omitempty"`
}

// untouched tells whether a run failed before it had any effect, or took it
// all back: the next one begins anew.
func (r *header) untouched() bool {
	return r.Phase == Failed && !r.Followed && !r.Fenced && len(r.Settings) == 0 && len(r.Announced) == 0
}

// switchRecord is the intent of a switch, journaled before its first effect.
type switchRecord struct {
	Direction string    `json:"direction"`
	Method    string    `json:"method"`
	ReplID    string    `json:"replid"`
	NewRunID  string    `json:"new_run_id"` // of the new primary before its promotion
	Before    Phase     `json:"before,omitempty"`
	At        time.Time `json:"at"`
}

// to is the side that it makes the primary.
func (r *switchRecord) to() Side {
	if r.Direction == DirectionRollback {
		return Source
	}
	return Target
}

// track is a place of a link's stream, as its source and its target call it.
type track struct {
	From   Side           `json:"from"` // the link's source
	Source relay.Position `json:"source"`
	Target relay.Position `json:"target"`
	Rules  string         `json:"rules,omitempty"` // by which the one becomes the other after it
}

// setting is a server's setting as it was before godwit changed it.
type setting struct {
	Server Side   `json:"server"`
	Name   string `json:"name"`
	Value  string `json:"value"`
}

// LockedError says that another process runs the same migration.
type LockedError struct {
	Name string
	PID  int // 0 when it is not known
	Dir  string
}

func (e *LockedError) Error() string {
	if e.PID != 0 {
		return fmt.Sprintf("migration %s is already being run, by process %d", e.Name, e.PID)
	}
	return fmt.Sprintf("migration %s is already being run by another process", e.Name)
}

// HintText is what the user can do about it.
func (e *LockedError) HintText() string {
	return "see it with `godwit status " + e.Name + "`; for another migration use another --name"
}

// journal keeps a record in a bbolt file; the file's lock keeps a second process out.
type journal struct {
	db *bolt.DB
}

const journalFile = "journal.db"

// openJournal opens or makes the journal in dir, takes its lock, and reads the record
// that it holds, if there is one.
func openJournal(dir, name string, record any) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	path := filepath.Join(dir, journalFile)
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 200 * time.Millisecond})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, &LockedError{Name: name, PID: readPID(dir), Dir: dir}
	}
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	j := &journal{db: db}
	if err := j.load(record); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), db.Close())
	}
	return j, nil
}

func (j *journal) load(record any) error {
	return j.db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte("migration")); b != nil {
			if data := b.Get([]byte("record")); data != nil {
				return json.Unmarshal(data, record)
			}
		}
		return nil
	})
}

// save makes the record durable before it returns.
func (j *journal) save(record any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	err = j.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("migration"))
		if err != nil {
			return err
		}
		return b.Put([]byte("record"), data)
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.db.Close() }

// What others need of a running migration stands in files of their own,
// because its journal cannot be opened.
const (
	pidFile    = "pid"
	targetFile = "target" // its address
)

func writeMarks(dir, target string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, pidFile), fmt.Appendln(nil, os.Getpid()), 0o600),
		os.WriteFile(filepath.Join(dir, targetFile), []byte(target), 0o600))
}

func readPID(dir string) int {
	var pid int
	data, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(data), &pid); err != nil {
		return 0
	}
	return pid
}

// ReadStatus is the status of a migration that no process runs, from its
// journal. It returns fs.ErrNotExist when there is none, and *LockedError when
// a process runs it: that one is to be asked.
func ReadStatus(stateDir, name string) (Status, error) {
	r, err := readHeader(stateDir, name)
	if err != nil {
		return Status{}, err
	}
	return r.status(), nil
}

// readHeader is ReadStatus for what the journal holds.
func readHeader(stateDir, name string) (header, error) {
	dir := filepath.Join(stateDir, name)
	if _, err := os.Stat(filepath.Join(dir, journalFile)); err != nil {
		return header{}, err
	}
	var r header
	j, err := openJournal(dir, name, &r)
	if err != nil {
		return header{}, err
	}
	if err := j.close(); err != nil {
		return header{}, err
	}
	if r.Name == "" {
		return header{}, fs.ErrNotExist
	}
	return r, nil
}

// List names the migrations under a state directory.
func List(stateDir string) ([]string, error) {
	entries, err := os.ReadDir(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(stateDir, e.Name(), journalFile)); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
