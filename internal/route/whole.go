package route

// Emptied is what a FLUSHDB of one of the source's dbs comes to at the target.
type Emptied struct {
	Stays bool // nothing: the db stays behind
	DB    int

	// Scan says that DB has keys of other dbs too, so that no FLUSHDB will do: every
	// key that begins with Prefix and with none of But is to be deleted, which takes
	// a scan.
	Scan   bool
	Prefix []byte
	But    [][]byte
}

// Emptied is for a FLUSHDB, with db selected. The error is an *UnmappedError.
func (r Route) Emptied(db int) (Emptied, error) {
	way, err := r.Of(db)
	if err != nil || way.Stays {
		return Emptied{Stays: err == nil}, err
	}
	e := Emptied{DB: way.To, Scan: len(way.Prefix) > 0, Prefix: way.Prefix, But: way.Others}
	for _, other := range r.ways {
		if other != way && !other.Stays && other.To == way.To {
			e.Scan = true
		}
	}
	return e, nil
}

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
