package main

import (
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"godwit/internal/divide"
	"godwit/internal/migrate"
	"godwit/internal/status"
)

// migrationOptions are the flags of a migration, shared by plan and run.
type migrationOptions struct {
	state     stateOptions
	endpoints endpointsOptions
	output    outputOptions
	config    migrate.Config // what the flags set directly
	verbose   bool
}

func (o *migrationOptions) addFlags(cmd *cobra.Command, s streams) {
	o.state.addFlags(cmd, s)
	o.endpoints.addFlags(cmd)
	cmd.Flags().Lookup("from").Usage += "; several times for servers among which clients have divided their keys"
	o.output.addFlags(cmd)
	o.config = migrate.NewConfig()
	c, fs := &o.config, cmd.Flags()
	modes := []migrate.CutoverMode{migrate.Manual, migrate.Auto, migrate.Never}
	fs.BoolVar(&c.Replace, "replace", false, "wipe the keys that the target holds")
	fs.StringVar(&c.Announce, "announce", "", "`host:port` by which the servers reach godwit (default: found from the route to them)")
	fs.IntVar(&c.ListenPort, "listen-port", 0, "`port` on which godwit waits for the servers, where that is not the announced one (default: any)")
	fs.Var(choiceValue[migrate.CutoverMode]{&c.Cutover, modes}, "cutover", "when to switch: manual (by godwit cutover), auto (once ready), or never")
	fs.Var(choiceValue[migrate.VerifyMode]{&c.Verify, []migrate.VerifyMode{migrate.VerifyBeforeCutover}}, "verify", "before-cutover: compare both sides once the target follows; a cutover waits until they are found equal")
	fs.DurationVar(&c.MaxPause, "max-pause", c.MaxPause, "longest stall of writes in a switch; it is given up when it takes longer")
	fs.Var(windowValue{&c.RollbackWindow}, "rollback-window", "how long the way back is kept after the cutover: a duration, 0 for none, or unlimited, which is until godwit complete")
	fs.BoolVar(&c.NoKill, "no-kill", false, "leave the clients of the demoted server connected")
	fs.BoolVar(&c.AbortOnExit, "abort-on-exit", false, "detach the target when interrupted before the switch")
	fs.Var(featuresValue{&c.Drop}, "drop", "what the target does not have and may be left out, counted; repeat it or separate by commas")
	fs.Var(namesValue{&c.AcceptModules}, "accept-module", "modules that the servers have at different versions and that are taken as they are; repeat it or separate by commas")
	fs.Var(&routeValue{route: &c.Route}, "db-map", "where the keys of one of the source's dbs go in a cluster: 1:prefix=db1: (to db 0, by names that begin so), 1:drop (they stay behind) or 1:2 (to db 2, of Valkey from 9.0 on); repeat it for each db")
	fs.StringVar(&c.ShardBy, "shard-by", "", "`rule` by which clients have divided their keys among several sources, for a way back to them: crc32 or crc16 (of the key, modulo the number of sources), or a program that is asked for each key, see docs/cluster.md")
	fs.Var(sizeValue{&c.SpoolMemory}, "spool-memory", "how much of the stream may wait in memory for a slow target")
	fs.Var(sizeValue{&c.SpoolDisk}, "spool-disk", "how much more of it may wait on disk")
	fs.StringVar(&c.ListenerCert, "listener-cert", "", "PEM `file` with godwit's own certificate, for servers that replicate over TLS")
	fs.StringVar(&c.ListenerKey, "listener-key", "", "PEM `file` with its key")
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "log to standard error")
	completeChoices(cmd, "cutover", string(migrate.Manual), string(migrate.Auto), string(migrate.Never))
	completeChoices(cmd, "verify", string(migrate.VerifyBeforeCutover))
	completeChoices(cmd, "rollback-window", unlimited, "0", "1h", "24h")
	completeChoices(cmd, "drop", featureNames()...)
	completeChoices(cmd, "shard-by", divide.CRC32, divide.CRC16)
	completeNone(cmd, "db-map", "accept-module", "announce", "listen-port", "max-pause", "spool-memory", "spool-disk")
}

// build puts flags, file and environment together.
func (o *migrationOptions) build(cmd *cobra.Command, s streams) (migrate.Config, error) {
	if err := o.state.load(cmd, s); err != nil {
		return migrate.Config{}, err
	}
	c := o.config
	c.Name, c.StateDir = o.state.name, o.state.stateDir
	c.Trace = failpoint(s.env)
	var err error
	if err := o.endpoints.source(&c, s); err != nil {
		return migrate.Config{}, err
	}
	if c.To, err = o.endpoints.endpoint(&o.endpoints.to, s); err != nil {
		return migrate.Config{}, err
	}
	if err := c.Validate(); err != nil {
		return migrate.Config{}, &usageError{err: err, hint: status.Hint(err)}
	}
	return c, nil
}

// newLogger logs to standard error when asked to: in colour on a terminal.
func newLogger(s streams, verbose bool) *slog.Logger {
	if !verbose {
		return slog.New(slog.DiscardHandler)
	}
	if file, ok := s.err.(*os.File); ok && isTerminal(file) {
		_, noColor := s.env("NO_COLOR")
		return slog.New(tint.NewTextHandler(file, &tint.Options{Level: slog.LevelDebug, TimeFormat: time.TimeOnly, NoColor: noColor}))
	}
	return slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
