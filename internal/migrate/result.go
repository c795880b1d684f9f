package migrate

// SwitchResult is how a cutover or a rollback ended.
type SwitchResult struct {
	Direction    string       `json:"direction"` // cutover or rollback
	Done         bool         `json:"done"`      // false: given up, the old primary serves as before
	DryRun       bool         `json:"dry_run,omitempty"`
	Reason       string       `json:"reason,omitempty"` // why it was given up
	WriteStallMS float64      `json:"write_stall_ms"`
	Steps        []StepStatus `json:"steps"`
	Emergency    []string     `json:"emergency,omitempty"` // dry run: the redis-cli lines to use should godwit be gone for good
}

// SwitchOptions are what a cutover or rollback may be told; zero values take the run's own.
type SwitchOptions struct {
	DryRun     bool `json:"dry_run"`
	MaxPauseMS int  `json:"max_pause_ms"` // bound of the write stall
	NoKill     bool `json:"no_kill"`      // leave the clients of the demoted server connected
}

// EndResult is how complete or abort ended.
type EndResult struct {
	Done   bool         `json:"done"`
	DryRun bool         `json:"dry_run,omitempty"`
	Steps  []StepStatus `json:"steps"`
	Notes  []string     `json:"notes"` // what the operator should know or do last
}
