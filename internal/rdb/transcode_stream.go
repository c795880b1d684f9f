package rdb

// stream writes a stream as an older type of streams. What that does not have is
// left out: of all of it only the producers are a loss, as an older server does
// not know the rest and estimates it once it is upgraded.
func (t *Transcoder) stream(out *output, newType, old Type, d *Decoder) {
	d.eachCopied(out, func() { d.copyStrings(out, 2) }) // a node
	d.copyLengths(out, 1+2)                             // the length, the last ID
	// The first ID, the last deleted one, the entries added.
	d.copyOrSkip(out, newType != TypeStreamListpacks, 2+2+1)
	d.eachCopied(out, func() { streamGroup(out, newType, old, d) })
	if old != TypeStreamListpacks4 {
		return
	}
	if m := d.streamIDMP(); len(m.Producers) > 0 && d.r.err == nil {
		d.r.Fail(t.noEqual(FeatureStreamIDMP, ""))
	}
}

// copyOrSkip copies numbers, or leaves them out.
func (d *Decoder) copyOrSkip(out *output, wanted bool, n int) {
	if wanted {
		d.copyLengths(out, n)
		return
	}
	for range n {
		d.r.Length()
	}
}

func streamGroup(out *output, newType, old Type, d *Decoder) {
	d.copyStrings(out, 1)                                // the name
	d.copyLengths(out, 2)                                // the last ID
	d.copyOrSkip(out, newType != TypeStreamListpacks, 1) // the entries read
	d.eachCopied(out, func() {                           // pending: ID, time, deliveries
		d.copyBytes(out, 16+8)
		d.copyLengths(out, 1)
	})
	hadActive := old == TypeStreamListpacks3 || old == TypeStreamListpacks4
	d.eachCopied(out, func() { // consumers: name, seen, active, pending
		d.copyStrings(out, 1)
		d.copyBytes(out, 8)
		switch {
		case hadActive && newType == TypeStreamListpacks3:
			d.copyBytes(out, 8)
		case hadActive:
			d.r.Uint64()
		}
		d.eachCopied(out, func() { d.copyBytes(out, 16) })
	})
}
