package route

// Swap is for a SWAPDB: nothing is to be done if both dbs stay behind, or are the
// same. The error is an *UnmappedError or a *SwapError: the names of all keys would
// change, or those of one db would have to be copied.
func (r Route) Swap(a, b int) error {
	if a == b {
		return nil
	}
	first, err := r.Of(a)
	if err != nil {
		return err
	}
	second, err := r.Of(b)
	if err != nil {
		return err
	}
	if first.Stays && second.Stays {
		return nil
	}
	return &SwapError{A: a, B: b}
}
