package topology

import (
	"context"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
)

// Inspection is what Inspect found at one of several servers, or why it did not.
type Inspection struct {
	Node Node
	Err  error
}

// InspectAll inspects servers, as many at a time as limit says, and gives the
// inspections in their order. name is what CLIENT LIST shows.
func InspectAll(ctx context.Context, endpoints []server.Endpoint, name string, limit int) []Inspection {
	inspections := make([]Inspection, len(endpoints))
	var group errgroup.Group
	group.SetLimit(max(1, limit))
	for i, e := range endpoints {
		group.Go(func() error {
			inspections[i].Node, inspections[i].Err = inspectAt(ctx, e, name)
			return nil
		})
	}
	_ = group.Wait() // each has its own error
	return inspections
}

func inspectAt(ctx context.Context, e server.Endpoint, name string) (Node, error) {
	client, err := server.Dial(ctx, e, name)
	if err != nil {
		return Node{}, err
	}
	defer func() { _ = client.Close() }() // nothing was left unsent
	return Inspect(ctx, client)
}
