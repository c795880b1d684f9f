package status

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

// verifyInterval is how often whoever asked for a comparison is told how far it is.
const verifyInterval = 250 * time.Millisecond

// Why a comparison was ended.
var (
	errCancelled = errors.New("it was cancelled")
	errRunEnds   = errors.New("godwit's run has ended")
)

// verifyLine is one line of the answer to POST /verify: how far the comparison is,
// and as the last one its report, or the error for which it did not begin.
type verifyLine struct {
	Progress *migrate.VerifyStatus `json:"progress,omitempty"`
	Report   *verify.Report        `json:"report,omitempty"`
	Error    *ErrorBody            `json:"error,omitempty"`
}

// verify compares both sides for as long as the asking verb stays. Nothing is
// lost when it goes: unlike a switch, a comparison may end anywhere.
func (a *api) verify(w http.ResponseWriter, r *http.Request) {
	var options migrate.VerifyOptions
	if !readOptions(w, r, &options) {
		return
	}
	// The report has the reason in words, and so it outlives the contexts' own.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer cancel(nil)
	defer context.AfterFunc(r.Context(), func() { cancel(errCancelled) })()
	defer context.AfterFunc(a.streams, func() { cancel(errRunEnds) })() //nolint:contextcheck // the end of the run ends it too
	ended := make(chan verifyLine, 1)
	go func() {
		report, err := a.controller.Verify(ctx, options)
		line := verifyLine{Report: report}
		if err != nil {
			line = verifyLine{Error: &ErrorBody{Error: err.Error(), Hint: Hint(err), ExitCode: ExitCode(err)}}
		}
		ended <- line
	}()
	w.Header().Set("Content-Type", "application/x-ndjson")
	send := lineSender(w)
	ticker := time.NewTicker(verifyInterval)
	defer ticker.Stop()
	for {
		select {
		case line := <-ended:
			_ = send(line) // fails only when the reader is gone
			return
		case <-ticker.C:
			progress := a.controller.Status().Verify
			if send(verifyLine{Progress: &progress}) != nil {
				cancel(errCancelled)
				<-ended
				return
			}
		}
	}
}

// lineSender sends each value as a line of JSON, at once.
func lineSender(w http.ResponseWriter) func(any) error {
	control := http.NewResponseController(w)
	encoder := json.NewEncoder(w)
	return func(value any) error {
		return errors.Join(control.SetWriteDeadline(time.Now().Add(writeTimeout)), encoder.Encode(value), control.Flush())
	}
}

// Verify has both sides compared and waits for the report; progress is told how far
// it is. It is cancelled there when ctx ends: the error is then that of ctx.
func (c *Client) Verify(ctx context.Context, o migrate.VerifyOptions, progress func(migrate.VerifyStatus)) (*verify.Report, error) {
	if _, err := c.Status(ctx); err != nil {
		return nil, err
	}
	response, err := c.do(ctx, http.MethodPost, "/verify", o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // read to its end, or given up
	decoder := json.NewDecoder(response.Body)
	for {
		var line verifyLine
		if err := decoder.Decode(&line); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, c.failed("/verify", err)
		}
		switch {
		case line.Error != nil:
			return nil, &RemoteError{Body: *line.Error}
		case line.Report != nil:
			return line.Report, nil
		case line.Progress != nil:
			progress(*line.Progress)
		}
	}
}
