package rdb

// stream writes a stream as an older type of streams. What that does not have is
// left out: of all of it only the producers are a loss, as an older server does
// not know the rest and estimates it once it is upgraded.
func (t *Transcoder) stream(out *output, newType, old Type, d *Decoder) error {
	if err := d.eachCopied(out, func() error { return d.copyStrings(out, 2) }); err != nil {
		return err // of a node
	}
	if err := d.copyLengths(out, 1+2); err != nil {
		return err // the length, the last ID
	}
	// The first ID, the last deleted one, the entries added.
	if err := d.copyOrSkip(out, newType != TypeStreamListpacks, 2+2+1); err != nil {
		return err
	}
	err := d.eachCopied(out, func() error { return t.streamGroup(out, newType, old, d) })
	if err != nil || old != TypeStreamListpacks4 {
		return err
	}
	m, err := d.streamIDMP()
	if err != nil || len(m.Producers) == 0 {
		return err
	}
	return t.noEqual(FeatureStreamIDMP, "")
}

// copyOrSkip copies numbers, or leaves them out.
func (d *Decoder) copyOrSkip(out *output, wanted bool, n int) error {
	if wanted {
		return d.copyLengths(out, n)
	}
	for range n {
		if _, err := d.in.length(); err != nil {
			return err
		}
	}
	return nil
}

func (t *Transcoder) streamGroup(out *output, newType, old Type, d *Decoder) error {
	if err := d.copyStrings(out, 1); err != nil {
		return err // the name
	}
	if err := d.copyLengths(out, 2); err != nil {
		return err // the last ID
	}
	if err := d.copyOrSkip(out, newType != TypeStreamListpacks, 1); err != nil {
		return err // the entries read
	}
	err := d.eachCopied(out, func() error { // pending: ID, time, deliveries
		if err := d.copyBytes(out, 16+8); err != nil {
			return err
		}
		return d.copyLengths(out, 1)
	})
	if err != nil {
		return err
	}
	hadActive := old == TypeStreamListpacks3 || old == TypeStreamListpacks4
	return d.eachCopied(out, func() error { // consumers: name, seen, active, pending
		if err := d.copyStrings(out, 1); err != nil {
			return err
		}
		if err := d.copyBytes(out, 8); err != nil {
			return err
		}
		if hadActive {
			active, err := d.in.take(8)
			if err != nil {
				return err
			}
			if newType == TypeStreamListpacks3 {
				out.buf = append(out.buf, active...)
			}
		}
		return d.eachCopied(out, func() error { return d.copyBytes(out, 16) })
	})
}
