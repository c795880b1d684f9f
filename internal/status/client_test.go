package status_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/status"
)

// A process that is killed closes its connections without an answer.
func TestAProcessThatIsKilledBeforeItAnswers(t *testing.T) {
	dir := t.TempDir()
	listener := listen(t, dir)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			readSome(conn)
			_ = conn.Close() // as the kernel does
		}
	}()
	client, err := status.Dial(t.Context(), dir, "default")
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Cutover(t.Context(), migrate.SwitchOptions{})
	var gone *status.NotRunningError
	if !errors.As(err, &gone) || !gone.Cut {
		t.Errorf("got %v, want a *NotRunningError that was cut", err)
	}
	for event, err := range client.Events(t.Context()) {
		t.Errorf("event %v, %v", event, err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	<-closed
	_, err = client.Status(t.Context())
	if !errors.As(err, &gone) || gone.Cut {
		t.Errorf("got %v, want a *NotRunningError that was not cut", err)
	}
}

// readSome waits for the beginning of a request; Dial sends none.
func readSome(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1)) // its end is as good
}

// A process that is stopped accepts connections and answers nothing. It is not
// asked for anything that it would do once it goes on.
func TestAProcessThatIsStopped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listener := listen(t, dir) // the kernel accepts
	client, err := status.Dial(t.Context(), dir, "default")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var silent *status.SilentError
	if _, err := client.Cutover(t.Context(), migrate.SwitchOptions{}); !errors.As(err, &silent) || silent.HintText() == "" {
		t.Errorf("got %v, want a *SilentError", err)
	}
	for range 2 { // Dial's own, and the request
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		request, err := io.ReadAll(conn)
		if err != nil || bytes.Contains(request, []byte("POST")) {
			t.Errorf("it was asked %q: %v", request, err)
		}
		_ = conn.Close()
	}
}
