package verify

import (
	"context"
	"errors"
)

// What is still to come.

func (r *run) explain(context.Context, *Difference) error { return errors.ErrUnsupported }
