package command

// Beyond is what a command that is placed as Dbs does in another db than the
// selected one. MOVE and COPY … DB can be carried by the value of that key in that
// db, MOVE's together with that of the same key in the selected db, which is among
// AppendWritten. The db may be the selected one: COPY then does what it does without.
type Beyond struct {
	DB  int
	Key []byte // that is written in DB, it points into args; nil for SWAPDB

	// With is the other db of a SWAPDB, whose keys and DB's change places; else -1.
	With int
}

// Beyond is for a command that is placed as Dbs. The error is a *PlaceError.
func (p *Placer) Beyond(args [][]byte) (Beyond, error) {
	c, err := p.find(args)
	if err != nil {
		return Beyond{}, err
	}
	b := Beyond{With: -1}
	switch {
	case c.name == "COPY":
		db, named := copyDB(args)
		if named {
			b.Key = args[2]
			b.DB, err = c.db(db)
			return b, err
		}
	case c.name == "MOVE" && len(args) == 3:
		b.Key = args[1]
		b.DB, err = c.db(args[2])
		return b, err
	case c.name == "SWAPDB" && len(args) == 3:
		if b.DB, err = c.db(args[1]); err == nil {
			b.With, err = c.db(args[2])
		}
		return b, err
	}
	return Beyond{}, c.malformed("it names no other db")
}

func (c *placement) db(arg []byte) (int, error) {
	n, ok := integer(arg)
	if !ok || n < 0 || n > 1<<31-1 {
		return 0, c.malformed("%s is no db", printable(arg))
	}
	return int(n), nil
}
