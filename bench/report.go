package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// row is one measurement and the limit it is held to.
type row struct {
	What           string
	Native, Godwit string
	Ratio          float64 // what is compared with Limit
	Limit          float64
	AtLeast        bool   // Ratio must be at least Limit, not at most
	Unit           string // of Limit
	ShortIsNoise   bool   // too few and too small runs to judge by
}

func (r row) met() bool {
	if r.ShortIsNoise {
		return true
	}
	if r.AtLeast {
		return r.Ratio >= r.Limit
	}
	return r.Ratio <= r.Limit
}

type report struct{ rows []row }

func newReport() *report { return &report{} }

func (r *report) add(x row) { r.rows = append(r.rows, x) }

func (r *report) missed() int {
	n := 0
	for _, x := range r.rows {
		if !x.met() {
			n++
		}
	}
	return n
}

// table is the report in Markdown.
func (r *report) table() string {
	var b strings.Builder
	b.WriteString("| what | native | godwit | ratio or value | limit | |\n|---|---|---|---|---|---|\n")
	for _, x := range r.rows {
		verdict, sign := "met", "≤"
		if !x.met() {
			verdict = "**missed**"
		}
		if x.AtLeast {
			sign = "≥"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.3g | %s %g %s | %s |\n", x.What, x.Native, x.Godwit, x.Ratio, sign, x.Limit, x.Unit, verdict)
	}
	return b.String()
}

func (r *report) print(w io.Writer) error {
	_, err := fmt.Fprintln(w, "\n"+r.table())
	return err
}

// The table stands between these lines of the page.
const (
	begin = "<!-- make bench writes from here -->"
	end   = "<!-- to here -->"
)

// write puts the table into its page.
func (r *report) write(path string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return errors.New(path + ": the lines between which the table stands are missing")
	}
	text := before + begin + "\n\n" + machine() + "\n\n" + r.table() + "\n" + end + after
	return renameio.WriteFile(path, []byte(text), 0o644)
}

// machine names what was measured on.
func machine() string {
	model, memory := "unknown processor", ""
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		for s := bufio.NewScanner(f); s.Scan(); {
			if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
		_ = f.Close() // it was only read
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int64
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kb); err == nil {
			memory = fmt.Sprintf(", %d GiB", (kb+1<<19)>>20)
		}
	}
	kernel, err := exec.Command("uname", "-sr").Output()
	if err != nil {
		kernel = []byte("unknown kernel")
	}
	return fmt.Sprintf("Measured %s with `make bench` on %s, %d cores%s, %s, %s; servers, load and godwit share the machine.",
		time.Now().Format("2006-01-02"), model, runtime.NumCPU(), memory, strings.TrimSpace(string(kernel)), runtime.Version())
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// ratios are those of a to b, one by one.
func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range r {
		r[i] = a[i] / b[i]
	}
	return r
}

func largest(values []float64) float64 { return slices.Max(values) }

// spread is the smallest, the quartiles and the largest.
func spread(values []float64) string {
	sorted := slices.Sorted(slices.Values(values))
	at := func(i int) float64 { return sorted[i*(len(sorted)-1)/4] }
	return fmt.Sprintf("%.3f | %.3f, median %.3f, %.3f | %.3f", at(0), at(1), median(values), at(3), at(4))
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
