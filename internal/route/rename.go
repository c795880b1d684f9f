package route

import "bytes"

// Renamer gives commands the names that their keys have at the target. It reuses
// its buffers, and is not safe for concurrent use.
type Renamer struct {
	args  [][]byte
	names []byte
}

// Rename is a command with its keys renamed, which are at these positions among its
// arguments. It is args itself where names stay as they are; else what is returned is
// valid until the next call. The error is a *ClashError.
func (n *Renamer) Rename(w *Way, args [][]byte, positions []int) ([][]byte, error) {
	if len(w.Prefix) == 0 {
		for _, i := range positions {
			if err := w.clash(args[i]); err != nil {
				return nil, err
			}
		}
		return args, nil
	}
	n.args = append(n.args[:0], args...)
	size := 0
	for _, i := range positions {
		size += len(w.Prefix) + len(args[i])
	}
	n.names = grow(n.names, size) // names point into it, so it must not move
	for _, i := range positions {
		start := len(n.names)
		var err error
		if n.names, err = w.AppendName(n.names, args[i]); err != nil {
			return nil, err
		}
		n.args[i] = n.names[start:len(n.names):len(n.names)]
	}
	return n.args, nil
}

func grow(b []byte, size int) []byte {
	if cap(b) < size {
		return make([]byte, 0, size)
	}
	return b[:0]
}

// clash tells of a name that begins as those of another db do.
func (w *Way) clash(name []byte) error {
	for _, other := range w.Others {
		if bytes.HasPrefix(name, other) {
			return &ClashError{DB: w.From, Key: bytes.Clone(name[len(w.Prefix):]), Prefix: string(other)}
		}
	}
	return nil
}
