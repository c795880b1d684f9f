package live

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"godwit/internal/migrate"
)

// typed feeds a model one key.
func typed(m *model, name string) tea.Cmd {
	msg := tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
	switch name {
	case "ctrl+c":
		msg = tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
	case "esc":
		msg = tea.KeyPressMsg{Code: tea.KeyEscape}
	}
	_, cmd := m.Update(msg)
	return cmd
}

func quits(cmd tea.Cmd) bool {
	if cmd == nil {
		return false
	}
	_, quit := cmd().(tea.QuitMsg)
	return quit
}

// newModel is a model that has seen one snapshot; operations run at once.
func newModel(t *testing.T, migration *memory, o Options) *model {
	m := &model{options: o, migration: migration, operations: t.Context()}
	m.start = func(operation func() tea.Msg) { m.Update(operation()) }
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	m.Update(snapshot{status: migration.status})
	return m
}

func TestKeysAskThenAct(t *testing.T) {
	for _, test := range []struct {
		phase         migrate.Phase
		keys          []string
		question      string // part of it, before the last key
		asked, notice string
	}{
		{migrate.Following, []string{"c", "y"}, "Cut over to 10.0.0.2:6379?", "cutover", "cutover done, writes stalled for 6.2 ms"},
		{migrate.Following, []string{"c", "n"}, "Cut over", "", ""},
		{migrate.Following, []string{"c", "x"}, "Cut over", "", ""},
		{migrate.RolledBack, []string{"c", "y"}, "Cut over", "cutover", "cutover done"},
		{migrate.Switched, []string{"r", "y"}, "Roll back to 10.0.0.1:6379", "rollback", "rollback done"},
		{migrate.Switched, []string{"d", "y"}, "Complete? 10.0.0.2:6379 stays primary", "complete", "completed"},
		{migrate.Switched, []string{"c"}, "", "", "no cutover while switched"},
		{migrate.Copying, []string{"c"}, "", "", "no cutover while copying"},
		{migrate.Following, []string{"r"}, "", "", "no rollback while following"},
		{migrate.Following, []string{"d"}, "", "", "nothing to complete while following"},
	} {
		migration := newMemory(test.phase)
		m := newModel(t, migration, Options{})
		for i, name := range test.keys {
			if i == len(test.keys)-1 && i > 0 && !strings.Contains(m.View().Content, test.question) {
				t.Errorf("%s %v: no question %q", test.phase, test.keys, test.question)
			}
			typed(m, name)
		}
		if got := strings.Join(migration.asked, ","); got != test.asked {
			t.Errorf("%s %v: asked %q, want %q", test.phase, test.keys, got, test.asked)
		}
		if !strings.Contains(m.screen.notice, test.notice) || m.screen.busy != "" {
			t.Errorf("%s %v: notice %q, busy %q", test.phase, test.keys, m.screen.notice, m.screen.busy)
		}
	}
}

func TestASwitchThatIsGivenUpIsSaidSo(t *testing.T) {
	migration := newMemory(migrate.Following)
	migration.result = migrate.SwitchResult{Reason: "10.0.0.2:6379: too late"}
	m := newModel(t, migration, Options{})
	typed(m, "c")
	typed(m, "y")
	if !m.screen.noticeBad || m.screen.notice != "cutover given up, all is as before: 10.0.0.2:6379: too late" {
		t.Errorf("notice %q", m.screen.notice)
	}
	migration.opErr = errors.New("10.0.0.2:6379: gone")
	typed(m, "c")
	typed(m, "y")
	if !m.screen.noticeBad || m.screen.notice != "cutover: 10.0.0.2:6379: gone" {
		t.Errorf("notice %q", m.screen.notice)
	}
}

func TestNotReadyRefusesWithTheReason(t *testing.T) {
	migration := newMemory(migrate.Following)
	migration.status.Ready, migration.status.NotReady = false, "a lag of 3 MB"
	m := newModel(t, migration, Options{})
	typed(m, "c")
	if m.question != nil || m.screen.notice != "no cutover yet: a lag of 3 MB" {
		t.Errorf("notice %q", m.screen.notice)
	}
}

func TestQuitOfOnesOwnRunSaysWhatStays(t *testing.T) {
	for phase, text := range map[migrate.Phase]string{
		migrate.Copying:    "copies again",
		migrate.Following:  "stays attached",
		migrate.RolledBack: "stays attached",
		migrate.Switched:   "The way back is closed",
	} {
		stopped := 0
		m := newModel(t, newMemory(phase), Options{Stop: func() { stopped++ }})
		if quits(typed(m, "q")) || m.question == nil || !strings.Contains(m.question.text, text) {
			t.Fatalf("%s: question %+v", phase, m.question)
		}
		typed(m, "y")
		if stopped != 1 || !strings.Contains(m.View().Content, "stopping") {
			t.Errorf("%s: stopped %d times", phase, stopped)
		}
		if !quits(typed(m, "ctrl+c")) || !errors.Is(m.result, ErrForced) {
			t.Errorf("%s: Ctrl-C while stopping does not leave: %v", phase, m.result)
		}
	}
	m := newModel(t, newMemory(migrate.Following), Options{AbortOnExit: true, Stop: func() {}})
	typed(m, "q")
	if !strings.Contains(m.question.text, "is detached") {
		t.Errorf("question %q", m.question.text)
	}
}

func TestLeavingTheViewOfAnotherProcess(t *testing.T) {
	for _, name := range []string{"q", "esc", "ctrl+c"} {
		m := newModel(t, newMemory(migrate.Following), Options{})
		if !quits(typed(m, name)) || !errors.Is(m.result, ErrQuit) {
			t.Errorf("%s: %v", name, m.result)
		}
	}
}

func TestNoTwoOperationsAtOnce(t *testing.T) {
	m := newModel(t, newMemory(migrate.Following), Options{Stop: func() {}})
	m.start = func(func() tea.Msg) {} // never ends
	typed(m, "c")
	typed(m, "y")
	for _, name := range []string{"c", "q"} {
		typed(m, name)
		if m.question != nil || m.screen.notice == "" {
			t.Errorf("%s is asked for while cutting over", name)
		}
	}
}

func TestViewEnds(t *testing.T) {
	for name, test := range map[string]struct {
		own  bool
		end  func(*memory, context.CancelFunc)
		want error
	}{
		"with its context":   {own: true, end: func(_ *memory, cancel context.CancelFunc) { cancel() }},
		"with the migration": {end: func(m *memory, _ context.CancelFunc) { m.set(func(m *memory) { m.status.Phase = migrate.Completed }) }},
		"with the other process": {end: func(m *memory, _ context.CancelFunc) {
			m.set(func(m *memory) { m.err = notRunning{} })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(migrate.Following)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := Options{Output: &bytes.Buffer{}}
			if test.own {
				o.Stop = func() {}
			}
			time.AfterFunc(100*time.Millisecond, func() { test.end(m, cancel) })
			if err := View(ctx, m, o); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestExtraLinesAreAskedForAtEveryLook(t *testing.T) {
	looks := 0
	m := newModel(t, newMemory(migrate.Following), Options{Extra: func() []Extra {
		looks++
		return []Extra{{"load", strings.Repeat("*", looks)}}
	}})
	m.Update(snapshot{status: example(migrate.Following)})
	if got := m.screen.extra; !slices.Equal(got, []Extra{{"load", "**"}}) {
		t.Errorf("got %v", got)
	}
}
