package main

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersionCommand(s streams) *cobra.Command {
	var o outputOptions
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if o.json() {
				return json.NewEncoder(s.out).Encode(map[string]string{"version": programVersion(), "go": runtime.Version(), "platform": platform})
			}
			_, err := fmt.Fprintf(s.out, "godwit %s (%s, %s)\n", programVersion(), runtime.Version(), platform)
			return err
		},
	}
	o.addFlags(cmd)
	return cmd
}
