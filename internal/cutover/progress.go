package cutover

import "time"

// progress is how far a switch has come.
type progress struct {
	steps   []Step
	watcher func(Step)         // sees each change of a step; nil for no one
	tracer  func(point string) // is called before and after each step; nil for no one

	stopped time.Time     // when writes were stopped
	stall   time.Duration // for how long
}

func (p *progress) start(steps []Step, observe func(Step), trace func(point string)) {
	p.steps, p.watcher, p.tracer = steps, observe, trace
}

// step runs one step and shows it.
func (p *progress) step(name Name, do func() error) error {
	p.trace(name, "before")
	i := 0
	for p.steps[i].Name != name {
		i++
	}
	s := &p.steps[i]
	s.State = Running
	p.observe(*s)
	began := time.Now()
	err := do()
	s.Took, s.Err, s.State = time.Since(began), err, Done
	if err != nil {
		s.State = Broken
	}
	p.observe(*s)
	p.trace(name, "after")
	return err
}

func (p *progress) observe(s Step) {
	if p.watcher != nil {
		p.watcher(s)
	}
}

func (p *progress) trace(name Name, when string) {
	if p.tracer != nil {
		p.tracer(string(name) + "-" + when)
	}
}

// resumed notes that writes go on, the first time.
func (p *progress) resumed() {
	if !p.stopped.IsZero() && p.stall == 0 {
		p.stall = time.Since(p.stopped)
	}
}
