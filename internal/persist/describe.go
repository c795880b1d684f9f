package persist

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/server"
)

// Kind is what a path leads to.
type Kind string

// The kinds of sources.
const (
	RDB          Kind = "rdb"
	AOF          Kind = "aof"            // one file, before Redis 7.0
	MultiPartAOF Kind = "multi-part aof" // a manifest and the files that it names
)

// Content is what a file holds.
type Content string

// The contents of files.
const (
	Nothing             Content = "nothing"
	Snapshot            Content = "snapshot"
	Commands            Content = "commands"
	SnapshotAndCommands Content = "snapshot and commands"
)

// Description tells what a source is, as far as the beginnings of its files say.
type Description struct {
	Path  string `json:"path"`
	Kind  Kind   `json:"kind"`
	Bytes int64  `json:"bytes"` // of all parts; -1 for a pipe
	Parts []Part `json:"parts"` // in the order of their reading
}

// Part is one file.
type Part struct {
	File     string    `json:"file"`          // its name in the directory
	Seq      int64     `json:"seq,omitzero"`  // the manifest's number
	Base     bool      `json:"base,omitzero"` // the manifest's base file; others of a manifest are incr files
	Content  Content   `json:"content"`
	Bytes    int64     `json:"bytes"` // -1 for a pipe
	Modified time.Time `json:"modified,omitzero"`

	// Of a snapshot. Aux has what it says of itself under the servers' names, such as
	// redis-ver, ctime, used-mem, repl-id.
	Format  string            `json:"format,omitempty"` // such as REDIS0011
	Version server.Version    `json:"version,omitzero"` // of the server that has written it; zero if it does not say
	Created time.Time         `json:"created,omitzero"`
	Aux     map[string]string `json:"aux,omitempty"`

	// Timestamp is the time that the file's commands begin with, where the server
	// writes it (aof-timestamp-enabled); not that of the last one.
	Timestamp time.Time `json:"timestamp,omitzero"`
}

// Version is that of the server that has written the snapshot, the zero value if there
// is none or it does not say: commands alone tell nothing of the version.
func (d Description) Version() server.Version {
	for _, p := range d.Parts {
		if p.Version != (server.Version{}) {
			return p.Version
		}
	}
	return server.Version{}
}

// peeked is how many bytes of a file are looked at to describe it: more than a
// snapshot's aux fields take.
const peeked = 4 << 10

// look fills in what the beginning of a file tells. The error is an *Error.
func (p *part) look(head []byte) error {
	switch {
	case len(head) == 0:
		p.Content = Nothing
		return nil
	case head[0] == '*':
		p.Content = Commands
		return nil
	case head[0] == '#':
		p.Content = Commands
		p.Timestamp = firstTimestamp(head)
		return nil
	}
	if !bytes.HasPrefix(head, []byte("REDIS")) && !bytes.HasPrefix(head, []byte("VALKEY")) {
		return refused(p.path, hintOf(head), "neither an RDB file nor an append only file: it begins with %q", head[:min(len(head), 16)])
	}
	p.Content = Snapshot
	return p.lookAtAux(head)
}

// hintOf guesses what a file is that is none of ours.
func hintOf(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "it is compressed: unpack it with gunzip first"
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "it is compressed: unpack it with unzstd first"
	case bytes.HasPrefix(bytes.ToLower(head), []byte("file ")):
		return "it looks like the manifest of an append only file: then its name must end in .manifest, as the server has it"
	case len(bytes.Trim(head, "\x00")) == 0:
		return "it is full of zeros, as after a crash of the machine: take another backup"
	default:
		return "an RDB file begins with REDIS or VALKEY, an append only file with *"
	}
}

// firstTimestamp is the time in an annotation at the beginning (aof.c
// genAofTimestampAnnotationIfNeeded).
func firstTimestamp(head []byte) time.Time {
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	text, ok := bytes.CutPrefix(line, []byte("#TS:"))
	seconds, err := strconv.ParseInt(string(text), 10, 64)
	if !ok || err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// lookAtAux reads the fields that a snapshot begins with (rdb.c rdbSaveInfoAuxFields).
func (p *part) lookAtAux(head []byte) error {
	scanner := rdb.NewScanner(bytes.NewReader(head), rdb.ScannerOptions{Single: rdb.AllCodes(), NoChecksum: true})
	if _, err := scanner.Next(); err != nil {
		return damagedRDB(p.path, err)
	}
	p.Format = scanner.Format().String()
	p.Aux = make(map[string]string)
	for {
		span, err := scanner.Next()
		if err != nil || span.Kind != rdb.KindOpcode || span.Opcode != rdb.OpcodeAux || span.More {
			break // a mistake comes to light when the snapshot is read
		}
		name, value, err := span.Aux()
		if err != nil {
			break
		}
		p.Aux[string(name)] = string(value)
	}
	p.Version = p.version()
	if seconds, err := strconv.ParseInt(p.Aux["ctime"], 10, 64); err == nil {
		p.Created = time.Unix(seconds, 0)
	}
	if p.Aux["aof-preamble"] == "1" { // up to 6.2; later ones say aof-base, and nothing follows
		p.Content = SnapshotAndCommands
	}
	return nil
}

// version is that of the server that has written a snapshot. Redict says redis-ver;
// there is no Redis 7.3, and Redict has never been anything else.
func (p *part) version() server.Version {
	redis, valkey := p.Aux["redis-ver"], p.Aux["valkey-ver"]
	switch {
	case valkey == "" && redis == "":
		return server.Version{}
	case valkey == "" && strings.HasPrefix(redis, "7.3."):
		return server.Info{"redict_version": redis}.Version()
	default:
		return server.Info{"redis_version": redis, "valkey_version": valkey}.Version()
	}
}

// readHead reads the beginning of a file.
func readHead(r io.Reader) ([]byte, error) {
	head := make([]byte, peeked)
	n, err := io.ReadFull(r, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}
