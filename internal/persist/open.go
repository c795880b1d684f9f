package persist

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Open finds out what path leads to and prepares to read it: an RDB file, an append
// only file, or the directory (appenddirname) or the manifest of one in several parts.
// A pipe, or "-" for the standard input, can hold an RDB file, such as redis-cli --rdb -
// writes. Errors are an *Error; what is wrong further on in a file is found when it is
// read.
//
// Nobody may write to the files until they have been read.
func Open(path string) (*Source, error) {
	if path == "-" {
		return openPipe(os.Stdin, "standard input")
	}
	stat, err := os.Stat(path)
	if err != nil {
		return nil, failed(path, err)
	}
	switch {
	case stat.IsDir():
		return openDir(path)
	case stat.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) != 0:
		pipe, err := os.Open(path)
		if err != nil {
			return nil, failed(path, err)
		}
		return openPipe(pipe, path)
	case !stat.Mode().IsRegular():
		return nil, refused(path, "name an RDB file, an append only file, or the directory of one in several parts", "not a file")
	case strings.HasSuffix(path, manifestSuffix):
		return openManifest(path)
	default:
		return openFile(path)
	}
}

const (
	manifestSuffix  = ".manifest" // aof.c MANIFEST_NAME_SUFFIX
	temporaryPrefix = "temp-"     // aof.c TEMP_FILE_NAME_PREFIX
)

// openFile opens a file that stands alone.
func openFile(path string) (*Source, error) {
	if err := notOfMany(path); err != nil {
		return nil, err
	}
	s, err := newSource(path, AOF, []*part{{path: path}})
	if err != nil {
		return nil, err
	}
	switch s.parts[0].Content {
	case Nothing:
		return nil, s.giveUp(refused(path, "there is nothing to read in it; was a backup cut short?", "the file is empty"))
	case Snapshot:
		s.description.Kind = RDB
	}
	return s, nil
}

// notOfMany refuses a file that is one of several of an append only file: it would be
// taken for all there is.
func notOfMany(path string) error {
	manifests, err := manifestsIn(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, name := range manifests {
		text, err := os.ReadFile(name)
		if err != nil {
			return failed(name, err)
		}
		m, err := parseManifest(text)
		if err != nil {
			continue // it is not what was asked for
		}
		for _, f := range m.files {
			if f.name == filepath.Base(path) {
				return refused(path, "name "+name+" instead; to read this file alone, copy it to another directory", "only a part of an append only file of %d files", len(m.files))
			}
		}
	}
	return nil
}

// manifestsIn finds the manifests in a directory, but for those that a server had not
// yet put in their place when it ended.
func manifestsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, failed(dir, err)
	}
	var found []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, manifestSuffix) && !strings.HasPrefix(name, temporaryPrefix) && !e.IsDir() {
			found = append(found, filepath.Join(dir, name))
		}
	}
	return found, nil
}

func openDir(path string) (*Source, error) {
	manifests, err := manifestsIn(path)
	switch {
	case err != nil:
		return nil, err
	case len(manifests) > 1:
		return nil, refused(path, "name the one that is meant", "several append only files: %s", strings.Join(manifests, ", "))
	case len(manifests) == 0:
		return nil, refused(path, "name an RDB file, an append only file, or the directory with the manifest of one (appendonlydir, as a rule)", "no file in this directory ends in %s", manifestSuffix)
	}
	return openManifest(manifests[0])
}

func openManifest(path string) (*Source, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, failed(path, err)
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, refused(path, "no server loads it; take another copy of the directory", "%w", err)
	}
	var parts []*part
	for _, f := range m.files {
		p := &part{path: filepath.Join(filepath.Dir(path), f.name)}
		p.Seq, p.Base = f.seq, f.kind == typeBase
		parts = append(parts, p)
	}
	s, err := newSource(path, MultiPartAOF, parts)
	var missing *Error
	if errors.As(err, &missing) && errors.Is(err, os.ErrNotExist) {
		missing.Hint = "the manifest " + path + " names this file, and no server loads the others without it; copy the whole directory, while the server rewrites nothing (auto-aof-rewrite-percentage 0)"
	}
	if err == nil && s.description.Bytes == 0 {
		return nil, s.giveUp(refused(path, "there is nothing to read in them; was a copy cut short?", "all files are empty"))
	}
	return s, err
}

// newSource looks at the files in their order, and leaves the first one open if it has
// a snapshot.
func newSource(path string, kind Kind, parts []*part) (*Source, error) {
	s := &Source{parts: parts, description: Description{Path: path, Kind: kind}}
	for i, p := range parts {
		if err := p.lookAtFile(); err != nil {
			return nil, s.giveUp(err)
		}
		switch {
		case p.Content != Snapshot && p.Content != SnapshotAndCommands:
			if err := p.close(); err != nil {
				return nil, s.giveUp(err)
			}
		case i > 0:
			return nil, s.giveUp(refused(p.path, "only the first file of an append only file can be an RDB file", "an RDB file among those that hold commands only"))
		default:
			s.snapshot = newSnapshotReader(p, io.NewSectionReader(p.file, 0, p.Bytes))
		}
		s.description.Parts = append(s.description.Parts, p.Part)
		s.description.Bytes += p.Bytes
	}
	return s, nil
}

// giveUp closes the files, from which nothing will be read, and passes the error on.
func (s *Source) giveUp(err error) error {
	_ = s.Close() // the first error is the one that tells
	return err
}

// lookAtFile opens the file and reads its beginning.
func (p *part) lookAtFile() error {
	stat, err := os.Stat(p.path)
	if err != nil {
		return failed(p.path, err)
	}
	if !stat.Mode().IsRegular() {
		return refused(p.path, "a manifest names files", "not a file")
	}
	p.File, p.Bytes, p.Modified = filepath.Base(p.path), stat.Size(), stat.ModTime()
	if err := p.open(); err != nil {
		return err
	}
	head, err := readHead(io.NewSectionReader(p.file, 0, p.Bytes))
	if err != nil {
		return failed(p.path, err)
	}
	return p.look(head)
}

// openPipe prepares to read a snapshot that comes from a pipe. Whether a transaction is
// complete can only be known in a file, where one can look ahead.
func openPipe(pipe *os.File, name string) (*Source, error) {
	p := &part{path: name, file: pipe}
	p.File, p.Bytes = name, -1
	s := &Source{parts: []*part{p}}
	head, err := readHead(pipe)
	switch {
	case err != nil:
		err = failed(name, err)
	case len(head) == 0:
		err = refused(name, "did the program fail that was to write the RDB file?", "it ended before anything came")
	default:
		err = p.look(head)
	}
	if err == nil && p.Content != Snapshot {
		err = refused(name, "write it to a file first, and name that", "an append only file cannot be read from a pipe")
	}
	if err != nil {
		return nil, s.giveUp(err)
	}
	s.snapshot = newSnapshotReader(p, io.MultiReader(bytes.NewReader(slices.Clip(head)), pipe))
	s.description = Description{Path: name, Kind: RDB, Bytes: p.Bytes, Parts: []Part{p.Part}}
	return s, nil
}
