package spool

import "os"

// UseFile makes the spool write to a file of the test's choice.
func (s *Spool) UseFile(f *os.File) { s.file = f }

// BuffersHeld is how many chunks of memory the spool keeps, those for later use included.
func (s *Spool) BuffersHeld() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.resident + len(s.free)
	if s.diskSlice != nil {
		n++
	}
	return n
}
