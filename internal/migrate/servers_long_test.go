//go:build fault

package migrate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
)

// The target that dies before it is promoted leaves the source as it was.
func TestTargetKilledAtItsPromotion(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version, version)
			l := startLoad(t, writing(p.source)) // the restarted target takes writes, as any primary, until it is attached again
			config := p.config()
			strikes := map[string]func(){
				"dead":      func() { _ = p.target.Kill() },
				"restarted": func() { _ = p.target.Restart(t.Context()) },
			}
			for _, name := range []string{"dead", "restarted"} {
				strike := strikes[name]
				config.Trace = func(point string) {
					if point == "cutover-promote-before" {
						strike()
					}
				}
				m := start(t, config)
				m.ready()
				l.ResetStall()
				_, err := m.Cutover(t.Context(), migrate.SwitchOptions{})
				var gaveUp *migrate.GaveUpError
				if !errors.As(err, &gaveUp) {
					t.Fatalf("%s: %v", name, err)
				}
				untouched(t, p.source)
				if stall := l.Stall(); stall > 2*time.Second {
					t.Errorf("%s: writes stalled for %v", name, stall)
				}
				if name == "dead" {
					restart(t, p.target)
				}
				m.until("copied again", func(s migrate.Status) bool {
					return s.Copy.FullResyncs > 1 || s.Copy.FullResyncs == 1 && name != "dead"
				})
				m.ready()
				m.interrupted()
			}
			config.Trace = nil
			m := start(t, config)
			m.ready()
			p.settled(l, p.source)
			m.cutover()
			m.ready()
			p.equal(p.target)
		})
	}
}

// A source that dies while its writes are paused: before its demotion is final
// nothing is switched, after it the target takes over.
func TestSourceKilledWithinThePause(t *testing.T) {
	t.Parallel()
	for point, done := range map[string]bool{"pause-after": false, "demote-after": true} {
		for _, version := range versions() {
			t.Run(version+" "+point, func(t *testing.T) {
				t.Parallel()
				p := newPair(t, version, version, durable)
				l := p.load()
				config := p.config()
				config.Trace = func(at string) {
					if at == "cutover-"+point {
						_ = p.source.Kill()
					}
				}
				m := start(t, config)
				m.ready()
				began := time.Now()
				result, err := m.Cutover(t.Context(), migrate.SwitchOptions{})
				t.Logf("%+v: %v", result, err)
				if result.Done != done {
					t.Fatalf("done: %v, want %v", result.Done, done)
				}
				// The pause, and then the second that a dead server is waited for.
				if took := time.Since(began); !done && took > config.MaxPause+3*time.Second {
					t.Errorf("given up after %v", took)
				}
				var hint interface{ HintText() string }
				if !done && (!errors.As(err, &hint) || !strings.Contains(hint.HintText(), p.target.Address()) || strings.Contains(err.Error(), "\n")) {
					t.Errorf("the error is %q", err)
				}
				config.Trace = nil
				restart(t, p.source)
				primary := p.target
				if !done {
					primary = p.source // the run settles it as soon as both answer
				}
				m.ready()
				p.settled(l, primary)
				noSettings(t, primary)
			})
		}
	}
}
