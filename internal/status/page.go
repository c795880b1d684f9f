package status

import (
	"bytes"
	_ "embed" // for the page
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/status/units"
	"godwit/internal/status/verdict"
	"godwit/internal/status/way"
)

//go:embed page.html
var pageSource string

// pageData is what page.html shows.
type pageData struct {
	Status  migrate.Status
	Version string
	Phases  []way.Stop
	Ends    []end
	Verify  verifyData
}

// verifyData is the comparison under way or the last one.
type verifyData struct {
	Text string // empty if there is nothing to say
	Tone verdict.Tone
}

func parsePage() (*template.Template, error) {
	return template.New("page").Funcs(pageFuncs()).Parse(pageSource)
}

// page is a small page that refreshes itself and needs no script.
func (a *api) page(w http.ResponseWriter, _ *http.Request) {
	s := a.controller.Status()
	s.Events = slices.Clone(s.Events)
	slices.Reverse(s.Events) // the last one first
	var body bytes.Buffer
	data := pageData{Status: s, Version: a.version, Phases: way.Of(s.Phase), Ends: ends(s)}
	data.Verify.Text, data.Verify.Tone = verdict.Status(s.Verify, s.At)
	if err := a.template.Execute(&body, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	header.Set("Cache-Control", "no-store")
	_, _ = w.Write(body.Bytes()) // fails only when the reader is gone
}

func pageFuncs() template.FuncMap {
	return template.FuncMap{
		"bytes":   units.Bytes,
		"count":   units.Count,
		"rate":    units.Rate,
		"ms":      units.Milliseconds,
		"float":   func(n int64) float64 { return float64(n) },
		"int":     func(f float64) int64 { return int64(f) },
		"seconds": func(s float64) string { return units.Duration(time.Duration(s * float64(time.Second))) },
		"percent": func(f float64) int { return int(100 * f) },
		"clock":   func(t time.Time) string { return t.Local().Format(time.TimeOnly) },
		"address": func(url string) string {
			_, address, found := strings.Cut(url, "://")
			if !found {
				return url
			}
			return address
		},
	}
}
