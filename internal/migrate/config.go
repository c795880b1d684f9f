package migrate

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
)

// CutoverMode says who decides when to switch.
type CutoverMode string

// The modes.
const (
	Manual CutoverMode = "manual" // godwit cutover, or the live view
	Auto   CutoverMode = "auto"   // as soon as the migration is ready
	Never  CutoverMode = "never"  // it only follows
)

// VerifyMode says when both sides are compared without being asked to.
type VerifyMode string

// The modes.
const (
	VerifyAsked         VerifyMode = ""               // only by godwit verify
	VerifyBeforeCutover VerifyMode = "before-cutover" // once the target follows; a cutover waits until both are equal
)

// Defaults of a Config.
const (
	DefaultName        = "default"
	DefaultMaxPause    = time.Second
	DefaultSpoolMemory = 64 << 20
	DefaultSpoolDisk   = 16 << 30
	// UntilComplete is the rollback window that only `complete` ends.
	UntilComplete = time.Duration(-1)
)

// Config says what to migrate and how. NewConfig sets the defaults.
type Config struct {
	Name     string
	StateDir string // the migration's files are in StateDir/Name
	From, To server.Endpoint
	// Others are standalone servers beside From, among which clients have divided their
	// keys; for a target that is a cluster, or one server.
	Others []server.Endpoint
	File   string // path of what a server has saved, which is the source in From's place; see persist.Open

	Replace        bool          // wipe the keys that the target holds
	Announce       string        // host:port by which the servers reach the listener; found from the route when empty
	ListenPort     int           // where the listener listens; 0 for the announced port, or any
	Cutover        CutoverMode   // who decides
	Verify         VerifyMode    // when both sides are compared by itself
	MaxPause       time.Duration // bound of a switch's write stall
	RollbackWindow time.Duration // how long the way back is kept; UntilComplete, or 0 for none
	NoKill         bool          // leave the demoted server's clients connected
	AbortOnExit    bool          // an interruption before the switch detaches the target
	Drop           []rdb.Feature // what is left out where the server that receives it lacks it
	AcceptModules  []string      // modules that may be of another version at the other server
	Route          route.Route   // where the source's dbs go in a cluster
	// ShardBy is by what rule clients have divided their keys among From and Others: one of
	// package divide, or a program; empty if nobody knows, and then there is no way back.
	ShardBy string

	SpoolMemory, SpoolDisk    int64  // bytes
	ListenerCert, ListenerKey string // PEM files for servers that replicate over TLS

	// Now is our clock, time.Now but in tests that have it wrong.
	Now func() time.Time
	// Trace is told each point that a test may kill the process at; nil otherwise.
	Trace func(point string)
}

// NewConfig is a Config with its defaults.
func NewConfig() Config {
	return Config{
		Name: DefaultName, Cutover: Manual, MaxPause: DefaultMaxPause, RollbackWindow: UntilComplete,
		SpoolMemory: DefaultSpoolMemory, SpoolDisk: DefaultSpoolDisk, Now: time.Now,
	}
}

// Validate checks everything that can be checked without a server.
func (c Config) Validate() error {
	switch {
	case !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`).MatchString(c.Name):
		return fmt.Errorf("name %q: use letters, digits, '.', '_' and '-', 64 at most", c.Name)
	case c.StateDir == "":
		return errors.New("no state directory is given")
	case c.From.Address == "" && c.File == "":
		return errors.New("no source is given: --from redis://host:port, or --from file:PATH")
	case c.To.Address == "":
		return errors.New("no target is given: --to redis://host:port")
	case c.From.Address == c.To.Address:
		return fmt.Errorf("source and target are the same address, %s", c.From.Address)
	case slices.ContainsFunc(c.Others, func(e server.Endpoint) bool { return e.Address == c.From.Address || e.Address == c.To.Address }):
		return errors.New("a source is given twice, or is the target, too")
	case slices.ContainsFunc(c.Others, func(e server.Endpoint) bool { return e.DB != 0 || e.Master != "" }):
		return errors.New("several sources: give each as redis://host:port, without a db or ?master=")
	case c.ShardBy != "" && len(c.Others) == 0:
		return hinted("leave it out, or give --from for each of the servers", "shard by %q: it says how clients have divided their keys among several sources, and there is one", c.ShardBy)
	case c.ShardBy != "" && strings.TrimSpace(c.ShardBy) == "":
		return errors.New("shard by: use crc32, crc16, or a program")
	case c.ShardBy != "" && c.Route.Maps():
		return hinted("leave --shard-by out, and there is no way back; or move the keys to db 0 first", "shard by %q and a mapping of dbs: the rule is asked for names, and the mapping changes these", c.ShardBy)
	case c.File != "" && c.Cutover != Manual:
		return errors.New("a cutover mode: a file takes no writes, so there is no cutover; leave it out")
	case c.File != "" && c.Verify != VerifyAsked:
		return hinted("leave it out; "+verifyFile(c.To, c.Route), "verify before-cutover: a file takes no writes, so there is no cutover, and it cannot be asked for its keys")
	case c.From.DB != 0 || c.To.DB != 0:
		return errors.New("a db in a URL: every db is moved, to the same number; leave it out")
	case c.From.Master != "" || c.To.Master != "":
		return errors.New("?master= names a Sentinel-managed deployment, which is not supported yet: give the primary's own address")
	case c.Cutover != Manual && c.Cutover != Auto && c.Cutover != Never:
		return fmt.Errorf("cutover mode %q: use manual, auto or never", c.Cutover)
	case c.Verify != VerifyAsked && c.Verify != VerifyBeforeCutover:
		return fmt.Errorf("verify %q: use before-cutover, or leave it out", c.Verify)
	case c.Verify == VerifyBeforeCutover && c.Cutover == Never:
		return errors.New("verify before-cutover: with --cutover never there is no cutover; use `godwit verify`")
	case c.MaxPause < 10*time.Millisecond || c.MaxPause > time.Minute:
		return fmt.Errorf("max pause %v: use 10ms to 1m", c.MaxPause)
	case c.ListenPort < 0 || c.ListenPort > 65535:
		return fmt.Errorf("listen port %d: use 1 to 65535, or 0 for any", c.ListenPort)
	case c.SpoolMemory < 1<<20:
		return fmt.Errorf("spool memory of %d bytes: use at least 1mb", c.SpoolMemory)
	case (c.ListenerCert == "") != (c.ListenerKey == ""):
		return errors.New("a listener certificate needs its key, and a key its certificate")
	}
	for _, f := range c.Drop {
		if !slices.Contains(command.Features(), f) {
			return fmt.Errorf("drop %q: no such feature", f)
		}
	}
	if c.Announce != "" {
		if _, _, err := net.SplitHostPort(c.Announce); err != nil {
			return fmt.Errorf("announce %q: use host:port", c.Announce)
		}
	}
	return nil
}

// sources are all that data is taken from.
func (c Config) sources() []server.Endpoint { return append([]server.Endpoint{c.From}, c.Others...) }

// dir is where the migration's files are.
func (c Config) dir() string { return filepath.Join(c.StateDir, c.Name) }
