package sandboxtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// Replacement is of bytes by as many others.
type Replacement struct{ Old, New []byte }

// Impostor is where a server is found that says, or is told, something else than s:
// to the server goes what asks makes of each request, and back what says makes of
// each reply.
func Impostor(t testing.TB, s *sandbox.Server, asks, says []Replacement) server.Endpoint {
	t.Helper()
	for _, r := range append(asks, says...) {
		if len(r.Old) != len(r.New) || len(r.Old) == 0 {
			t.Fatalf("%q would become %q, of another length", r.Old, r.New)
		}
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = listener.Close() // what it still accepts ends with ctx
		group.Wait()
	})
	group.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { impersonate(ctx, client, s.Address(), asks, says) })
		}
	})
	e := s.Endpoint()
	e.Address = listener.Addr().String()
	return e
}

// impersonate passes one connection on until either side closes it.
func impersonate(ctx context.Context, client net.Conn, address string, asks, says []Replacement) {
	defer func() { _ = client.Close() }()
	upstream, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	closeBoth := func() { _, _ = client.Close(), upstream.Close() }
	defer closeBoth()
	defer context.AfterFunc(ctx, closeBoth)()
	var group sync.WaitGroup
	group.Go(func() { defer closeBoth(); replace(upstream, client, asks) })
	replace(client, upstream, says)
	closeBoth()
	group.Wait()
}

// replace copies, and holds back only what may be the beginning of something to replace.
func replace(w io.Writer, r io.Reader, replacements []Replacement) {
	var held []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		held = append(held, buf[:n]...)
		for _, x := range replacements {
			held = bytes.ReplaceAll(held, x.Old, x.New)
		}
		keep := 0
		if err == nil {
			keep = unfinished(held, replacements)
		}
		if _, writeErr := w.Write(held[:len(held)-keep]); errors.Join(err, writeErr) != nil {
			return
		}
		held = append(held[:0], held[len(held)-keep:]...)
	}
}

// unfinished is how many bytes at the end are the beginning of something to replace.
func unfinished(data []byte, replacements []Replacement) int {
	longest := 0
	for _, x := range replacements {
		for n := min(len(x.Old)-1, len(data)); n > longest; n-- {
			if bytes.HasPrefix(x.Old, data[len(data)-n:]) {
				longest = n
			}
		}
	}
	return longest
}
