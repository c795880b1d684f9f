package apply

import (
	"errors"
	"fmt"
	"slices"

	"godwit/internal/command"
	"godwit/internal/rdb"
)

// dropper sees to what a snapshot has and the target has no equal for: an error, or, where
// --drop names it, it is left out, and leftOut is told of each key or library once.
type dropper struct {
	coding  rdb.TranscoderOptions
	target  command.Capabilities
	leftOut func(rdb.LeftOut)

	at rdb.LeftOut // the key at hand
}

func (l *dropper) prepare(target command.Capabilities, coding rdb.TranscoderOptions, leftOut func(rdb.LeftOut)) {
	l.coding, l.target, l.leftOut = coding, target, leftOut
	l.coding.Dropped = func(f rdb.Feature, detail string) { l.leave(f, detail) }
}

func (l *dropper) leave(f rdb.Feature, detail string) {
	left := l.at
	left.Feature, left.Detail = f, detail
	l.leftOut(left)
}

// key has a key loaded, or left out.
func (l *dropper) key(span *rdb.Span, load func() error) error {
	l.at = rdb.LeftOut{DB: span.DB, Key: span.Key}
	defer func() { l.at = rdb.LeftOut{} }()
	if span.Attributes.Metadata {
		if !slices.Contains(l.coding.Drop, rdb.FeatureKeyMetadata) {
			return fmt.Errorf("db %d, key %.200q: %w", span.DB, span.Key, &rdb.NoEqualError{What: rdb.FeatureKeyMetadata, To: l.target.Format})
		}
		l.leave(rdb.FeatureKeyMetadata, "")
	}
	err := load()
	if mayLack(err, l.coding) {
		l.leave(lackedBy(err), "")
		return nil
	}
	return err
}

// opcode has a library of functions loaded, likewise. Hints to the server that loads pass.
func (l *dropper) opcode(span *rdb.Span, load func() error) error {
	none := rdb.NoEqualError{To: l.target.Format}
	switch span.Opcode {
	case rdb.OpcodeFunction2:
		if l.target.Has("FUNCTION") {
			return load()
		}
		none.What = rdb.FeatureFunction
	case rdb.OpcodeModuleAux:
		if err := auxiliary(span); err != nil && !slices.Contains(l.coding.Drop, rdb.FeatureModule) {
			return err
		} else if err != nil {
			l.leave(rdb.FeatureModule, "")
		}
		return nil
	case rdb.OpcodeSlotImport:
		none.What = rdb.FeatureSlotImport
	default:
		return nil
	}
	if !slices.Contains(l.coding.Drop, none.What) {
		return &none
	}
	l.leave(none.What, "")
	return nil
}

// mayLack tells of an error about a value that the target lacks and may do without.
func mayLack(err error, o rdb.TranscoderOptions) bool {
	var lacking *rdb.NoEqualError
	return errors.As(err, &lacking) && slices.Contains(o.Drop, lacking.What)
}

// lackedBy is what such an error is about.
func lackedBy(err error) rdb.Feature {
	var lacking *rdb.NoEqualError
	errors.As(err, &lacking)
	return lacking.What
}
