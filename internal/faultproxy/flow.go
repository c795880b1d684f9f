package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type mode int

const (
	healthy mode = iota
	stalled
	slow
	swallowing
	cutting
)

// fault is what befalls one direction. The zero value is none.
type fault struct {
	mode mode
	rate int   // of slow, in bytes a second
	left int64 // of cutting, in bytes
}

// flow is one direction through the proxy, of all its connections.
type flow struct {
	passed    atomic.Int64
	swallowed atomic.Int64

	mu      sync.Mutex // guards what follows
	fault   fault
	changed chan struct{} // closed, and replaced, when fault is set
}

func (f *flow) set(fault fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
	close(f.changed)
	f.changed = make(chan struct{})
}

// slice is how long a slow flow rests between two pieces.
const slice = 20 * time.Millisecond

// verdict says what to do with the next bytes.
type verdict struct {
	pass    int             // so many may go on
	discard bool            // or all are thrown away
	cut     bool            // or the connection ends
	rest    time.Duration   // afterwards; or, with nothing passed, until changed
	changed <-chan struct{} // closed when another fault is set
}

// judge decides about n bytes that are there to be sent, and takes those that
// may pass from what a cut has left.
func (f *flow) judge(n int) verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := verdict{changed: f.changed}
	switch f.fault.mode {
	case healthy:
		v.pass = n
	case stalled:
	case slow:
		v.pass = min(n, max(1, int(int64(f.fault.rate)*int64(slice)/int64(time.Second))))
		v.rest = time.Duration(v.pass) * time.Second / time.Duration(f.fault.rate)
	case swallowing:
		v.discard = true
	case cutting:
		v.pass = int(min(int64(n), f.fault.left))
		f.fault.left -= int64(v.pass)
		v.cut = v.pass == 0
	}
	return v
}

// copy sends what comes from src to dst, as the faults let it, until the link ends.
func (f *flow) copy(l *link, dst, src net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := src.Read(buffer)
		if !f.send(l, dst, buffer[:n]) {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && closeWrite(dst) == nil:
			return // the other direction may have more to say
		case errors.Is(err, syscall.ECONNRESET):
			l.reset() // pass it on as it came
			return
		default:
			l.close()
			return
		}
	}
}

func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// send tells whether the link still lives.
func (f *flow) send(l *link, dst net.Conn, data []byte) bool {
	for len(data) > 0 {
		v := f.judge(len(data))
		switch {
		case v.discard:
			f.swallowed.Add(int64(len(data)))
			return true
		case v.cut:
			l.close()
			return false
		case v.pass > 0:
			// Counted first: whoever has read a byte finds it counted.
			f.passed.Add(int64(v.pass))
			n, err := dst.Write(data[:v.pass])
			f.passed.Add(int64(n - v.pass))
			if err != nil {
				l.close()
				return false
			}
			data = data[n:]
			if v.rest > 0 && !pause(l, v) {
				return false
			}
		default:
			if !pause(l, v) {
				return false
			}
		}
	}
	return true
}

// pause waits for another fault, or the time to rest if there is one.
func pause(l *link, v verdict) bool {
	var rested <-chan time.Time
	if v.rest > 0 {
		timer := time.NewTimer(v.rest)
		defer timer.Stop()
		rested = timer.C
	}
	select {
	case <-rested:
	case <-v.changed:
	case <-l.ended:
		return false
	}
	return true
}
