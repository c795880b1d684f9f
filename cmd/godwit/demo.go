package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/status"
)

// demoOptions are the flags of demo.
type demoOptions struct {
	output     outputOptions
	servers    string
	sourceName string
	targetName string
	keys       int
	writers    int
	verbose    bool
}

func newDemoCommand(s streams) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: groupMove,
		Short:   "Watch a whole migration on servers of its own, with load and an audit",
		Long: `Starts a source and a target of different versions on free ports of this
machine, fills the source with keys of every type, lets writers write to it
without a pause, migrates, cuts over, rolls back and cuts over again. Then it
counts: every write that a server acknowledged must be there once, and both
servers must hold the same keys. The exit code is 1 when a write is lost or
doubled, or a key differs. Nothing else on the machine is touched.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), &o, s) },
	}
	o.output.addFlags(cmd)
	fs := cmd.Flags()
	fs.StringVar(&o.servers, "servers", ".servers", "`directory` of servers as scripts/get-servers.sh unpacks them")
	fs.StringVar(&o.sourceName, "source-server", "redis-7.0", "`name` of the source in it, or path for the one on PATH")
	fs.StringVar(&o.targetName, "target-server", "valkey-8.1", "`name` of the target")
	fs.IntVar(&o.keys, "keys", 300000, "`number` of keys to begin with")
	fs.IntVar(&o.writers, "writers", 8, "`number` of writers")
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "log to standard error")
	_ = cmd.MarkFlagDirname("servers") // fails only for a flag that does not exist
	return cmd
}

func runDemo(ctx context.Context, o *demoOptions, s streams) (err error) {
	if o.keys < 1 || o.writers < 1 {
		return usagef("", "--keys and --writers must be at least 1")
	}
	source, target, err := o.startServers(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close(), target.Close()) }()
	stateDir, err := os.MkdirTemp("", "godwit-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stateDir)) }()

	config := migrate.NewConfig()
	config.Name, config.StateDir = "demo", stateDir
	config.From, config.To = source.Endpoint(), target.Endpoint()
	d := &demo{options: o, streams: s, config: config, began: time.Now(), out: &lockedWriter{w: s.out}}
	if err := d.perform(ctx); err != nil {
		return err
	}
	if o.output.json() {
		err = json.NewEncoder(s.out).Encode(map[string]any{"type": "result", "result": d.result})
	} else {
		err = d.result.write(s.out)
	}
	if err != nil {
		return err
	}
	if !d.result.Clean {
		return &codedError{code: status.ExitFailed, text: "the audit found writes lost or doubled, or keys that differ"}
	}
	return nil
}

// startServers starts both servers.
func (o *demoOptions) startServers(ctx context.Context, s streams) (source, target *sandbox.Server, err error) {
	catalog, err := sandbox.Servers(o.servers)
	if err != nil {
		return nil, nil, err
	}
	if source, err = o.startServer(ctx, s, catalog, o.sourceName); err != nil {
		return nil, nil, err
	}
	if target, err = o.startServer(ctx, s, catalog, o.targetName); err != nil {
		return nil, nil, errors.Join(err, source.Close())
	}
	return source, target, nil
}

func (o *demoOptions) startServer(ctx context.Context, s streams, catalog sandbox.Catalog, name string) (*sandbox.Server, error) {
	binary, err := catalog.Lookup(name)
	if err != nil {
		return nil, err
	}
	version, err := binary.Version(ctx)
	if err != nil {
		return nil, err
	}
	server, err := sandbox.Start(ctx, binary, sandbox.Options{})
	if err != nil {
		return nil, err
	}
	if !o.output.json() {
		_, _ = fmt.Fprintf(s.out, "started %s on %s\n", version, server.Address()) // the demo goes on without its words
	}
	return server, nil
}

// lockedWriter lets the demo and what shows its migration print to one place.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
