package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"godwit/internal/verify"
)

// Comparisons of --from with --to have a directory each under the state directory.
// No migration can have its name, for that must begin with a letter or a digit.
const comparisonsDir = ".verify"

// Files of a comparison besides those of package verify.
const (
	lockFile = "lock"
	noteFile = "comparison.json"
)

// keptComparisons is how many comparisons are kept, the newest ones.
const keptComparisons = 20

// comparison is the place of one comparison, locked while it goes on.
type comparison struct {
	id, dir string
	note    comparisonNote
	goesOn  bool // it was begun before and interrupted
	lock    *os.File
}

// comparisonNote is what is known of a comparison beside its report.
type comparisonNote struct {
	Ends  string `json:"ends"`  // the URLs, without passwords
	Scope string `json:"scope"` // what of them is compared, and how
}

// openComparison takes the place of a comparison: that of the last one of the same
// ends and scope if it was interrupted and is not to be made anew, else a new one.
// Old ones are removed.
func openComparison(stateDir string, note comparisonNote, anew bool, now time.Time) (*comparison, error) {
	root := filepath.Join(stateDir, comparisonsDir)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	sum := sha256.Sum256([]byte(note.Ends + "\n" + note.Scope))
	scope := hex.EncodeToString(sum[:4])
	ids, err := listComparisons(stateDir)
	if err != nil {
		return nil, err
	}
	if !anew {
		if c := resume(root, ids, note); c != nil {
			return c, nil
		}
	}
	c := &comparison{id: now.UTC().Format("20060102-150405") + "-" + scope, note: note}
	c.dir = filepath.Join(root, c.id)
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	locked, err := c.take()
	if err != nil {
		return nil, err
	}
	if !locked {
		return nil, fmt.Errorf("%s: the same comparison was begun by another process this very second", c.dir)
	}
	data, err := json.Marshal(note)
	if err == nil {
		err = renameio.WriteFile(filepath.Join(c.dir, noteFile), data, 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state directory: %w", err), c.close())
	}
	prune(root, ids)
	return c, nil
}

// resume takes the place of the last comparison of the same ends and scope if it was
// interrupted; nil if it was not, or goes on in another process. One that found
// differences which have been repaired since is not gone on with.
func resume(root string, newestFirst []string, wanted comparisonNote) *comparison {
	for _, id := range newestFirst {
		c := &comparison{id: id, dir: filepath.Join(root, id), goesOn: true}
		if readNote(c.dir, &c.note) != nil || c.note.Ends != wanted.Ends {
			continue
		}
		if c.note != wanted {
			if r, err := verify.ReadReport(c.dir); err == nil && len(r.Repaired) > 0 {
				return nil
			}
			continue
		}
		if locked, err := c.take(); err != nil || !locked {
			return nil
		}
		if !verify.Resumable(c.dir) {
			_ = c.close() // the place stays as it is
			return nil
		}
		return c
	}
	return nil
}

// take locks the place against other processes; false if one has it. The kernel
// lets go of it when this process ends, however it does.
func (c *comparison) take() (bool, error) {
	lock, err := os.OpenFile(filepath.Join(c.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, fmt.Errorf("state directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { //nolint:gosec // a descriptor is small
		_ = lock.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return false, nil
		}
		return false, fmt.Errorf("%s: lock: %w", c.dir, err)
	}
	c.lock = lock
	return true, nil
}

// began is when the comparison was begun, for people.
func (c *comparison) began() string {
	if r, err := verify.ReadReport(c.dir); err == nil {
		return r.Started.UTC().Format(time.DateTime + " UTC")
	}
	return c.id
}

// close lets go of the place.
func (c *comparison) close() error { return c.lock.Close() }

// prune removes all but the newest comparisons; one that goes on stays.
func prune(root string, newestFirst []string) {
	for _, id := range newestFirst[min(len(newestFirst), keptComparisons-1):] {
		old := &comparison{dir: filepath.Join(root, id)}
		if locked, err := old.take(); err != nil || !locked {
			continue
		}
		_ = os.RemoveAll(old.dir) // what is left is tried again next time
		_ = old.close()           // as above
	}
}

// listComparisons lists the comparisons of --from with --to, the newest first.
func listComparisons(stateDir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(stateDir, comparisonsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() {
			ids = append(ids, entry.Name())
		}
	}
	slices.Sort(ids) // by time
	slices.Reverse(ids)
	return ids, nil
}

func readNote(dir string, note *comparisonNote) error {
	data, err := os.ReadFile(filepath.Join(dir, noteFile))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, note)
}
