package sandboxtest

import (
	"context"
	"testing"

	"godwit/internal/sandbox"
)

// Cluster runs a cluster of the named server for the length of the test. If the test
// fails, the end of each node's log is in the test's output.
func Cluster(t testing.TB, name string, o sandbox.ClusterOptions) *sandbox.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	c, err := sandbox.StartCluster(ctx, Binary(t, name), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, s := range c.Nodes() {
				logTail(t, s)
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("closing a cluster of %s: %v", name, err)
		}
	})
	return c
}

// ClusterNode starts a server in cluster mode that has no slots and knows no other.
func ClusterNode(t testing.TB, name string) *sandbox.Server {
	t.Helper()
	return Start(t, name, sandbox.Options{Cluster: true})
}
