package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/status"
)

func newPlanCommand(s streams) *cobra.Command {
	var o migrationOptions
	cmd := &cobra.Command{
		Use:     "plan --from URL --to URL",
		GroupID: groupMove,
		Short:   "Show what a migration would do, and what stands in its way",
		Long: `Connects to both servers and prints the engine, the steps, the sizes, warnings,
and blockers with what to do about each. It changes nothing. The exit code is 3
when there are blockers. It takes the flags and the file of "godwit run".

With --from file:PATH it reads the whole of what a server has saved, and says what
it holds, how it ends, and what of it the target cannot be given.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runPlan(cmd.Context(), cmd, &o, s) },
	}
	o.addFlags(cmd, s)
	return cmd
}

func runPlan(ctx context.Context, cmd *cobra.Command, o *migrationOptions, s streams) error {
	config, err := o.build(cmd, s)
	if err != nil {
		return err
	}
	p, err := migrate.MakePlan(ctx, config)
	if err != nil {
		return err
	}
	if o.output.json() {
		err = json.NewEncoder(s.out).Encode(p)
	} else {
		err = p.WriteText(s.out)
	}
	if err != nil {
		return err
	}
	if p.Refused() {
		noun := "blockers"
		if len(p.Blockers) == 1 {
			noun = "blocker"
		}
		return &codedError{code: status.ExitRefused, text: fmt.Sprintf("refused: %d %s, see above", len(p.Blockers), noun)}
	}
	return nil
}
