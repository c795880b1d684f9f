package live

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"godwit/internal/migrate"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

func exampleScreen(phase migrate.Phase, width, height int) *screen {
	s := &screen{status: example(phase), keys: keysFor(phase), width: width, height: height}
	for i := range 90 {
		look := s.status
		look.Links = append([]migrate.LinkStatus(nil), look.Links...)
		for l := range look.Links {
			look.Links[l].LagMS = int64(i * i % 23)
		}
		s.lag.add(look)
	}
	return s
}

func TestRender(t *testing.T) {
	for _, phase := range []migrate.Phase{migrate.Planned, migrate.Copying, migrate.Following, migrate.Switched, migrate.Failed} {
		for _, size := range []struct{ width, height int }{{80, 24}, {120, 40}} {
			name := fmt.Sprintf("%s-%dx%d", phase, size.width, size.height)
			t.Run(name, func(t *testing.T) {
				golden(t, name, ansi.Strip(exampleScreen(phase, size.width, size.height).render())+"\n")
			})
		}
	}
}

func TestRenderQuestion(t *testing.T) {
	s := exampleScreen(migrate.Following, 80, 24)
	s.prompt = "Quit? The source goes on serving, the target stays attached, and the next `godwit run` goes on. [y/n]"
	s.extra = []Extra{{"load", "8 writers · 12k writes/s · longest stall 4 ms"}}
	golden(t, "question-80x24", ansi.Strip(s.render())+"\n")
}

func TestRenderVerify(t *testing.T) {
	s := exampleScreen(migrate.Following, 80, 24)
	s.status.Verify = migrate.VerifyStatus{
		State: migrate.VerifyRunning, Required: true, Stage: "snapshot", SourceKeys: 120000, TargetKeys: 118000,
		KeysPerSecond: 201000, BytesPerSecond: 80 << 20, Differing: 2,
	}
	s.status.Ready, s.status.NotReady = false, "both sides are being compared"
	golden(t, "verify-80x24", ansi.Strip(s.render())+"\n")
}

func TestRenderSmall(t *testing.T) {
	s := exampleScreen(migrate.Switched, 60, 16)
	s.notice = "cutover done, writes stalled for 6.2 ms"
	golden(t, "small-60x16", ansi.Strip(s.render())+"\n")
}

// Whatever the size, nothing is drawn outside of the terminal and nothing panics.
func TestRenderFits(t *testing.T) {
	for _, phase := range []migrate.Phase{"", migrate.Planned, migrate.Copying, migrate.Following, migrate.Switched, migrate.RolledBack, migrate.Failed, "unheard-of"} {
		for width := 0; width < 140; width += 7 {
			for height := 0; height < 50; height += 3 {
				s := exampleScreen(phase, width, height)
				s.busy, s.notice = "cutting over", ""
				text := s.render()
				if lines := strings.Count(text, "\n") + 1; text != "" && height > 4 && lines > height {
					t.Errorf("%s at %dx%d: %d lines", phase, width, height, lines)
				}
				for line := range strings.Lines(text) {
					if got := lipgloss.Width(strings.TrimSuffix(line, "\n")); got > width {
						t.Errorf("%s at %dx%d: a line of %d cells: %q", phase, width, height, got, line)
					}
				}
			}
		}
	}
}

func TestSparkline(t *testing.T) {
	l := lags{milliseconds: []int64{0, 1, 2, 4, 8}}
	for _, test := range []struct {
		width int
		want  string
	}{{0, ""}, {2, "▄█"}, {9, "▁▁▂▄█"}} {
		if got := l.sparkline(test.width, 8); got != test.want {
			t.Errorf("width %d: %q, want %q", test.width, got, test.want)
		}
	}
	for range 2 * lagHistory {
		l.add(migrate.Status{Links: []migrate.LinkStatus{{LagMS: 3}}})
	}
	if len(l.milliseconds) != lagHistory {
		t.Errorf("%d looks kept", len(l.milliseconds))
	}
}
