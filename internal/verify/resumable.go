package verify

import (
	"os"
	"path/filepath"
)

// Resumable tells whether the comparison in dir was interrupted, and Run goes on
// with it if it is given the same configuration.
func Resumable(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, checkpointFile))
	return err == nil
}
