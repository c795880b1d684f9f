package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"time"

	"godwit/internal/migrate"
)

// Limits of the HTTP server.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 10 * time.Second // of one answer or one event
	shutdownGrace = 5 * time.Second  // for operations under way when the run ends
	maxBody       = 64 << 10         // bytes of the options of an operation
)

// endRequest are the options of complete and abort.
type endRequest struct {
	DryRun bool `json:"dry_run"`
}

// ending lets complete or abort take its options as a switch does.
func ending(do func(context.Context, bool) (migrate.EndResult, error)) func(context.Context, endRequest) (migrate.EndResult, error) {
	return func(ctx context.Context, o endRequest) (migrate.EndResult, error) { return do(ctx, o.DryRun) }
}

// ErrorBody is what the API answers when an operation failed.
type ErrorBody struct {
	Error    string          `json:"error"`
	Hint     string          `json:"hint,omitempty"`
	ExitCode int             `json:"exit_code"`
	Result   json.RawMessage `json:"result,omitempty"` // how far a switch came before it was given up
}

// Serve answers the API on listener until ctx is done, then lets operations
// under way finish for a few seconds. The listener is closed when it returns.
//
// Only a listener on a Unix socket gets the operations; on TCP there is no
// more than GET /, /status and /metrics, none of which holds a password.
func Serve(ctx context.Context, listener net.Listener, c Controller, version string) error {
	page, err := parsePage()
	if err != nil {
		return fmt.Errorf("status page: %w", err)
	}
	// An operation is not ended by the verb that asked for it being interrupted,
	// nor by the run that it ends itself.
	operations, cancelOperations := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelOperations()
	a := &api{controller: c, version: version, template: page, operations: operations, streams: ctx}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", a.status)
	mux.Handle("GET /metrics", metricsHandler(c, version))
	if listener.Addr().Network() == "unix" {
		mux.HandleFunc("GET /events", a.events)
		mux.HandleFunc("POST /cutover", operation(a, c.Cutover))
		mux.HandleFunc("POST /rollback", operation(a, c.Rollback))
		mux.HandleFunc("POST /complete", operation(a, ending(c.Complete)))
		mux.HandleFunc("POST /abort", operation(a, ending(c.Abort)))
		mux.HandleFunc("POST /verify", a.verify)
	} else {
		mux.HandleFunc("GET /{$}", a.page)
	}
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("status server on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(operations, shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		cancelOperations()
		_ = server.Close() // what is left is cut off; the grace is over
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("status server on %s: %w", listener.Addr(), err)
	}
	return nil
}

// api holds the handlers.
type api struct {
	controller Controller
	version    string
	template   *template.Template
	operations context.Context //nolint:containedctx // ends the operations that outlive their requests
	streams    context.Context //nolint:containedctx // ends the event streams, which no shutdown waits for
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.controller.Status())
}

// events streams one JSON object a line until the run or the request ends.
func (a *api) events(w http.ResponseWriter, r *http.Request) {
	events, cancel := a.controller.Subscribe()
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	if err := control.Flush(); err != nil {
		return
	}
	encoder := json.NewEncoder(w)
	for {
		select {
		case <-a.streams.Done():
			return
		case <-r.Context().Done():
			return
		case event, open := <-events:
			if !open {
				return
			}
			if control.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
				return
			}
			if encoder.Encode(event) != nil || control.Flush() != nil {
				return // the reader is gone
			}
		}
	}
}

// operation answers a POST by what do does with its options.
func operation[Options, Result any](a *api, do func(context.Context, Options) (Result, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var options Options
		if !readOptions(w, r, &options) {
			return
		}
		result, err := do(a.operations, options) //nolint:contextcheck // the request's end must not end the operation
		writeResult(w, result, err)
	}
}

// readOptions decodes the body, empty for the defaults. When it returns false
// the answer is already written.
func readOptions(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		writeJSON(w, http.StatusBadRequest, ErrorBody{
			Error:    "options: " + err.Error(),
			Hint:     "the process that runs the migration may be another version of godwit",
			ExitCode: ExitUsage,
		})
		return false
	}
	return true
}

// writeResult answers an operation. A switch that was given up is an error that
// still has a result.
func writeResult(w http.ResponseWriter, result any, err error) {
	if err == nil {
		writeJSON(w, http.StatusOK, result)
		return
	}
	body := ErrorBody{Error: err.Error(), Hint: Hint(err), ExitCode: ExitCode(err)}
	if encoded, encodeErr := json.Marshal(result); encodeErr == nil {
		body.Result = encoded
	}
	code := http.StatusInternalServerError
	switch body.ExitCode {
	case ExitUsage:
		code = http.StatusBadRequest
	case ExitRefused, ExitGaveUp:
		code = http.StatusConflict
	}
	writeJSON(w, code, body)
}

func writeJSON(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value) // fails only when the reader is gone
}
