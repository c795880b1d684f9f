package verify

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// The files of a journal. Key names and values may be secrets: only their owner
// reads them.
const (
	reportFile      = "report.json"
	differencesFile = "differences.jsonl" // a Difference a line
	checkpointFile  = "checkpoint.json"   // while a comparison can be gone on with
	filePermission  = 0o600
)

// ReadReport reads the report of the comparison in dir: fs.ErrNotExist if there was none.
// That of a comparison under way, or killed, is Unknown and Interrupted.
func ReadReport(dir string) (*Report, error) {
	raw, err := os.ReadFile(filepath.Join(dir, reportFile))
	if err != nil {
		return nil, err
	}
	var report Report
	if err := json.Unmarshal(raw, &report); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, reportFile), err)
	}
	return &report, nil
}

// EachDifference reads the differences that the comparison in dir has found, in
// their order, one at a time: there may be millions. It ends with the first error
// of f, and returns it.
func EachDifference(dir string, f func(Difference) error) error {
	path := filepath.Join(dir, differencesFile)
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was only read
	return eachLine(file, path, f)
}

// eachLine reads differences. A last line without an end was not written whole:
// it is none.
func eachLine(from io.Reader, path string, f func(Difference) error) error {
	in := bufio.NewReaderSize(from, 64<<10)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var d Difference
		if err := json.Unmarshal(line, &d); err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		if err := f(d); err != nil {
			return err
		}
	}
}

// checkpoint is from where a comparison can be gone on with.
type checkpoint struct {
	Fingerprint []byte          `json:"fingerprint"` // of the configuration
	Seed        uint64          `json:"seed"`
	Report      Report          `json:"report"`
	Differences int64           `json:"differences"` // bytes of the file
	State       json.RawMessage `json:"state"`       // of the method
}

// journal is what a run writes down. Its owner sees to it that it is used by one
// goroutine at a time.
type journal struct {
	dir         string
	fingerprint []byte
	left        *checkpoint // what an earlier run has left; nil if it began anew
	resumable   bool        // there is a checkpoint

	file *os.File
	out  *bufio.Writer
	size int64
}

// openJournal makes dir if it is not there. What an earlier run with the same
// fingerprint has left is kept up to its last checkpoint; everything else goes.
func openJournal(dir string, fingerprint []byte) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, journalError(err)
	}
	j := &journal{dir: dir, fingerprint: fingerprint}
	if err := j.readCheckpoint(); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(j.path(differencesFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, filePermission)
	if err != nil {
		return nil, journalError(err)
	}
	if j.left != nil {
		j.size = j.left.Differences
	}
	if err := file.Truncate(j.size); err != nil {
		_ = file.Close() // the first error is the one that tells
		return nil, journalError(err)
	}
	j.file, j.out = file, bufio.NewWriterSize(file, 64<<10)
	return j, nil
}

func (j *journal) readCheckpoint() error {
	raw, err := os.ReadFile(j.path(checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return journalError(err)
	}
	var left checkpoint
	if json.Unmarshal(raw, &left) == nil && bytes.Equal(left.Fingerprint, j.fingerprint) {
		if info, err := os.Stat(j.path(differencesFile)); err == nil && info.Size() >= left.Differences {
			j.left, j.resumable = &left, true
			return nil
		}
	}
	return j.removeCheckpoint()
}

func (j *journal) removeCheckpoint() error {
	j.resumable = false
	if err := os.Remove(j.path(checkpointFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return journalError(err)
	}
	return nil
}

// restart forgets everything that there is.
func (j *journal) restart() error {
	if err := j.removeCheckpoint(); err != nil {
		return err
	}
	j.left, j.size = nil, 0
	j.out.Reset(j.file)
	return journalError(j.file.Truncate(0))
}

func (j *journal) path(name string) string { return filepath.Join(j.dir, name) }

// append writes a difference; flush makes it visible.
func (j *journal) append(d *Difference) error {
	line, err := json.Marshal(d)
	if err != nil {
		return err
	}
	n, err := j.out.Write(append(line, '\n'))
	j.size += int64(n)
	return journalError(err)
}

// clear forgets all differences.
func (j *journal) clear() error {
	if err := j.flush(); err != nil {
		return err
	}
	j.size = 0
	return journalError(j.file.Truncate(0)) // what is written goes to its end
}

func (j *journal) flush() error { return journalError(j.out.Flush()) }

// save replaces the report.
func (j *journal) save(report *Report) error { return j.write(reportFile, report) }

func (j *journal) write(name string, content any) error {
	raw, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return journalError(renameio.WriteFile(j.path(name), append(raw, '\n'), filePermission))
}

// checkpoint makes everything durable that was written before it.
func (j *journal) checkpoint(c *checkpoint) error {
	if err := j.flush(); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return journalError(err)
	}
	c.Fingerprint, c.Differences = j.fingerprint, j.size
	if err := j.write(checkpointFile, c); err != nil {
		return err
	}
	j.resumable = true
	return nil
}

// amendBatch is how many differences are amended together.
const amendBatch = 256

// amend rewrites the differences, as f makes them, and puts them in the place of
// the old ones in one step. After an error of f, which it returns, the rest stays
// as it was.
func (j *journal) amend(f func([]Difference) error) error {
	if err := j.flush(); err != nil {
		return err
	}
	pending, err := renameio.NewPendingFile(j.path(differencesFile), renameio.WithPermissions(filePermission))
	if err != nil {
		return journalError(err)
	}
	defer pending.Cleanup() //nolint:errcheck // it is there only if something has failed before
	next := &journal{dir: j.dir, out: bufio.NewWriterSize(pending, 64<<10)}
	batch := make([]Difference, 0, amendBatch)
	var failed error
	hand := func() error {
		if failed == nil && len(batch) > 0 {
			failed = f(batch)
		}
		for i := range batch {
			if err := next.append(&batch[i]); err != nil {
				return err
			}
		}
		batch = batch[:0]
		return nil
	}
	if _, err := j.file.Seek(0, io.SeekStart); err != nil {
		return journalError(err)
	}
	if err := eachLine(j.file, j.path(differencesFile), func(d Difference) error {
		if batch = append(batch, d); len(batch) < amendBatch {
			return nil
		}
		return hand()
	}); err != nil {
		return err
	}
	if err := hand(); err != nil {
		return err
	}
	if err := next.flush(); err != nil {
		return err
	}
	if err := pending.CloseAtomicallyReplace(); err != nil {
		return journalError(err)
	}
	return errors.Join(failed, j.reopen())
}

// reopen goes on after the differences that have taken the old ones' place.
func (j *journal) reopen() error {
	file, err := os.OpenFile(j.path(differencesFile), os.O_RDWR|os.O_APPEND, filePermission)
	if err != nil {
		return journalError(err)
	}
	_ = j.file.Close() // nothing is left unwritten
	j.file = file
	if j.size, err = file.Seek(0, io.SeekEnd); err != nil {
		return journalError(err)
	}
	j.out.Reset(file)
	return nil
}

// end writes the report and, if that is its end, forgets the checkpoint.
func (j *journal) end(report *Report) error {
	if err := j.flush(); err != nil {
		return err
	}
	if !report.Interrupted {
		if err := j.removeCheckpoint(); err != nil {
			return err
		}
	}
	return j.save(report)
}

func (j *journal) close() { _ = j.file.Close() } // end has written everything that is to stay

// journalError says what to do about a journal that cannot be written.
func journalError(err error) error {
	if err == nil {
		return nil
	}
	return &hintedError{fmt.Errorf("the comparison's journal: %w", err), "see to the disk and the permissions of its directory"}
}
