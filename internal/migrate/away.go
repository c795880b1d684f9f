package migrate

import (
	"errors"

	"godwit/internal/apply"
	"godwit/internal/server"
)

// notesOfAway takes from the errors of an end those about settings of nodes that cannot be
// connected to, to be told: such a node may never be back, and if it was only started
// again it has lost the setting, so the end need not wait for it.
func notesOfAway(err error) (notes []string, rest error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var left []error
		for _, e := range several.Unwrap() {
			more, e := notesOfAway(e)
			notes, left = append(notes, more...), append(left, e)
		}
		return notes, errors.Join(left...)
	}
	var away *server.ConnError
	if !errors.As(err, &away) || away.Op != "dial" {
		return nil, err
	}
	var setting *apply.RestoreError
	var left *leftError
	switch {
	case errors.As(err, &setting):
		return []string{setting.Error() + "; " + setting.HintText()}, nil
	case errors.As(err, &left):
		return []string{left.Error() + "; " + left.HintText()}, nil
	}
	return nil, err
}
