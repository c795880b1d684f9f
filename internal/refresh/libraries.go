package refresh

import (
	"bytes"
	"context"

	"godwit/internal/rdb"
)

// readLibraries is Read for function libraries: a payload is the source. Servers
// before 7.0 have none.
func (c *Conn) readLibraries(ctx context.Context, names [][]byte, at func(Place) error) ([]Value, Place, error) {
	none := func() {
		for _, name := range names {
			c.values = append(c.values, Value{DB: Libraries, Key: name, ExpireAt: rdb.None, Family: c.family()})
		}
	}
	if !c.version.AtLeast(7, 0) {
		_, place, _, err := c.read(ctx, c.db, nil, 1, at)
		none()
		return c.values, place, err
	}
	var place Place
	err := c.exchange(ctx, func() error {
		c.begin()
		none()
		c.send("MULTI")
		c.send("INFO", "replication")
		for _, name := range names {
			c.sendArgs([]byte("FUNCTION"), []byte("LIST"), []byte("LIBRARYNAME"), name, []byte("WITHCODE"))
		}
		c.send("TIME")
		c.send("EXEC")
		if err := c.queued("FUNCTION LIST", len(names)+2, func(int) []byte { return nil }); err != nil {
			return err
		}
		var failed error // the replies to come are read all the same
		if place, failed = c.placeOf(&question{at: at}); c.broken != nil {
			return failed
		}
		for i := range names {
			if err := c.library(&c.values[i]); err != nil {
				return err
			}
		}
		var err error
		if place.Time, err = c.time(); err == nil {
			err = failed
		}
		return err
	})
	if err != nil {
		return nil, Place{}, err
	}
	return c.values, place, nil
}

// library reads a reply of FUNCTION LIST: libraries, each of them names and values
// in turn (functions.c functionListCommand). Their names match a pattern, of which
// one is the very name.
func (c *Conn) library(v *Value) error {
	const command = "FUNCTION LIST"
	libraries, err := c.array(command, -1)
	if err != nil {
		return err
	}
	for range libraries {
		fields, err := c.array(command, -1)
		if err != nil {
			return err
		}
		var name, code []byte
		for range fields / 2 {
			field, err := c.text(command)
			if err != nil {
				return err
			}
			switch field {
			case "library_name":
				name, err = c.bulk(command)
			case "library_code":
				code, err = c.bulk(command)
			default:
				err = c.skip()
			}
			if err != nil {
				return err
			}
		}
		if bytes.Equal(name, v.Key) {
			v.Payload = code
		}
	}
	return nil
}
