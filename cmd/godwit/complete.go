package main

import (
	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/status"
)

func newCompleteCommand(s streams) *cobra.Command {
	var o endOptions
	cmd := &cobra.Command{
		Use:     "complete [NAME]",
		GroupID: groupSwitch,
		Short:   "End the migration for good",
		Long: `Ends the way back: the reverse link is closed and every setting that godwit
touched is restored. The old source never becomes writable by itself: it follows
the new primary natively where it can, else it stays read-only; the last line
says how to free it or shut it down. Works without a running process too.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runEnd(cmd.Context(), cmd, args, &o, s, ender{(*status.Client).Complete, migrate.Running.Complete})
		},
	}
	o.addFlags(cmd, s)
	return cmd
}
