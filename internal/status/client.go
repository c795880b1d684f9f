package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"syscall"
	"time"

	"godwit/internal/migrate"
)

// NotRunningError says that no process runs the migration, or none any more.
type NotRunningError struct {
	Name string
	Cut  bool // the process ended before it had answered
	Err  error
}

func (e *NotRunningError) Error() string {
	if e.Cut {
		return "the godwit process that runs the migration " + e.Name + " ended before it answered"
	}
	return "no godwit process runs the migration " + e.Name
}

func (e *NotRunningError) Unwrap() error { return e.Err }

// NotRunning marks the error for what shows a migration until its process ends.
func (e *NotRunningError) NotRunning() {}

// HintText is what the user can do about it.
func (e *NotRunningError) HintText() string {
	return "start it, or let it go on, with the same `godwit run`"
}

// SilentError says that the process that runs the migration does not answer.
type SilentError struct {
	Name string
	For  time.Duration
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("the godwit process that runs the migration %s has not answered for %v", e.Name, e.For)
}

// HintText is what the user can do about it.
func (e *SilentError) HintText() string {
	return "see whether it is stopped (kill -CONT), or its machine short of CPU or memory; killed and started again, the same `godwit run` goes on"
}

// answerTimeout is within what time a process answers that is not stopped: a
// status is only read from memory.
const answerTimeout = 5 * time.Second

// RemoteError is an operation that the running process answered with an error.
type RemoteError struct {
	Body ErrorBody
}

func (e *RemoteError) Error() string { return e.Body.Error }

// HintText is what the running process says can be done about it.
func (e *RemoteError) HintText() string { return e.Body.Hint }

// ExitCode is the exit code that the error has in the running process.
func (e *RemoteError) ExitCode() int { return e.Body.ExitCode }

// Client talks to the process that runs a migration on this machine. Each
// method fails with a *NotRunningError once that process has ended, and with a
// *RemoteError when the process answers an error.
// It is safe for concurrent use.
type Client struct {
	name string
	path string
	http *http.Client
}

// Dial finds the process that runs the migration. The error is a
// *NotRunningError when there is none, and wraps fs.ErrPermission when it
// belongs to another user.
func Dial(ctx context.Context, stateDir, name string) (*Client, error) {
	path := SocketPath(stateDir, name)
	conn, err := dialSocket(ctx, path)
	switch {
	case err == nil:
		_ = conn.Close() // it was only asked whether somebody answers
	case isDead(err):
		return nil, &NotRunningError{Name: name, Err: err}
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %w", path, fs.ErrPermission)
	default:
		return nil, fmt.Errorf("status socket: %w", err)
	}
	c := &Client{name: name, path: path}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSocket(ctx, c.path)
		},
		DisableCompression: true,
	}}
	return c, nil
}

// Close ends the client's idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Status asks for a snapshot. The error is a *SilentError when the process is
// there and does not answer.
func (c *Client) Status(ctx context.Context) (migrate.Status, error) {
	var s migrate.Status
	bounded, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := c.call(bounded, http.MethodGet, "/status", nil, &s)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = &SilentError{Name: c.name, For: answerTimeout}
	}
	return s, err
}

// operate has the process do something, if it answers at all: a stopped one
// would do it when nobody expects it any more.
func (c *Client) operate(ctx context.Context, path string, body, result any) error {
	if _, err := c.Status(ctx); err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, path, body, result)
}

// Events yields the events from now on, until ctx is done, the process ends
// (no error) or the loop is left.
func (c *Client) Events(ctx context.Context) iter.Seq2[migrate.Event, error] {
	return func(yield func(migrate.Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		err := c.events(ctx, func(e migrate.Event) bool { return yield(e, nil) })
		var gone *NotRunningError
		if err != nil && ctx.Err() == nil && !errors.As(err, &gone) {
			yield(migrate.Event{}, err)
		}
	}
}

// events calls yield for each event; it returns nil only when yield wants no more.
func (c *Client) events(ctx context.Context, yield func(migrate.Event) bool) error {
	response, err := c.do(ctx, http.MethodGet, "/events", nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end, or given up
	decoder := json.NewDecoder(response.Body)
	for {
		var event migrate.Event
		if err := decoder.Decode(&event); err != nil {
			return c.failed("/events", err)
		}
		if !yield(event) {
			return nil
		}
	}
}

// Cutover asks for the switch to the target and waits for its end.
func (c *Client) Cutover(ctx context.Context, o migrate.SwitchOptions) (migrate.SwitchResult, error) {
	var result migrate.SwitchResult
	err := c.operate(ctx, "/cutover", o, &result)
	return result, err
}

// Rollback asks for the switch back to the source and waits for its end.
func (c *Client) Rollback(ctx context.Context, o migrate.SwitchOptions) (migrate.SwitchResult, error) {
	var result migrate.SwitchResult
	err := c.operate(ctx, "/rollback", o, &result)
	return result, err
}

// Complete asks for the end of the rollback window.
func (c *Client) Complete(ctx context.Context, dryRun bool) (migrate.EndResult, error) {
	var result migrate.EndResult
	err := c.operate(ctx, "/complete", endRequest{DryRun: dryRun}, &result)
	return result, err
}

// Abort asks for the retreat before the switch.
func (c *Client) Abort(ctx context.Context, dryRun bool) (migrate.EndResult, error) {
	var result migrate.EndResult
	err := c.operate(ctx, "/abort", endRequest{DryRun: dryRun}, &result)
	return result, err
}

// call sends body as JSON and decodes the answer into result; a *RemoteError
// fills it too when the process says how far it came.
func (c *Client) call(ctx context.Context, method, path string, body, result any) error {
	response, err := c.do(ctx, method, path, body)
	if err != nil {
		var remote *RemoteError
		if errors.As(err, &remote) && len(remote.Body.Result) > 0 {
			_ = json.Unmarshal(remote.Body.Result, result) // the error tells more than a result that cannot be read
		}
		return err
	}
	defer func() { _ = response.Body.Close() }() // nothing more is read from it
	if err := json.NewDecoder(response.Body).Decode(result); err != nil {
		return c.failed(path, err)
	}
	return nil
}

// failed words an error of the connection.
func (c *Client) failed(path string, err error) error {
	cut := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if cut || isDead(err) {
		return &NotRunningError{Name: c.name, Cut: cut, Err: err}
	}
	return fmt.Errorf("%s: %s: %w", c.path, path, err)
}

// do sends a request and turns every answer but 200 into an error.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://godwit"+path, content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.failed(path, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }() // nothing more is read from it
	remote := &RemoteError{Body: ErrorBody{ExitCode: ExitFailed}}
	if err := json.NewDecoder(response.Body).Decode(&remote.Body); err != nil {
		return nil, fmt.Errorf("%s: %s: answered %s", c.path, path, response.Status)
	}
	return nil, remote
}
