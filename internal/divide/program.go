package divide

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A program is given each key as a line: the number of the question, a blank, and the key in
// base64, because a key may hold any byte, a newline, too, and need not be UTF-8, as a string
// of JSON has to be. It answers each line by one, with the number of the question, a blank,
// and the number of the server, from 1 on, without waiting for more. By the number of the
// question no answer is taken for another key's, should it ever say a line too many.

const (
	// silence is how long an answer is waited for.
	silence = 5 * time.Second
	// askedAtOnce is how many keys are asked for before the first answer is read. The answers
	// must have room in a pipe: the program need not wait for anybody to read them.
	askedAtOnce = 1000
	// endTimeout is how long a program may take to end once there are no more keys.
	endTimeout = time.Second
)

// program is asked by one goroutine at a time.
type program struct {
	args    []string
	servers int

	mu  sync.Mutex
	now *process // nil while it does not run
}

// process is the program as it runs.
type process struct {
	cmd     *exec.Cmd
	in, out *os.File // our ends
	answers *bufio.Reader
	errors  tail
	buf     []byte
	asked   uint64 // questions so far
}

// ProgramError says that a program has not told which server has a key.
type ProgramError struct {
	Program string
	Servers int
	Key     []byte // nil where it has not been asked for any
	Reason  string
}

func (e *ProgramError) Error() string {
	if e.Key == nil {
		return fmt.Sprintf("%s: %s", e.Program, e.Reason)
	}
	return fmt.Sprintf("%s: which server has key %.200q: %s", e.Program, e.Key, e.Reason)
}

// HintText is what the user can do about it.
func (e *ProgramError) HintText() string {
	return fmt.Sprintf("it is given a line for each key, with the number of the question and the key in base64, and has to answer each at once, without a buffer, by a line with the number of the question and that of the key's server, 1 to %d in the order of --from. To try it: printf '1 %s\\n' | %s",
		e.Servers, base64.StdEncoding.EncodeToString(e.Key), e.Program)
}

// ask appends the servers of keys.
func (p *program) ask(ctx context.Context, keys [][]byte, dst []int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for some := range slices.Chunk(keys, askedAtOnce) {
		if err := ctx.Err(); err != nil {
			return dst, err
		}
		if p.now == nil {
			if err := p.start(); err != nil {
				return dst, err
			}
		}
		stop := context.AfterFunc(ctx, p.now.interrupt)
		var err error
		dst, err = p.now.ask(some, p.servers, dst)
		stop()
		if err == nil {
			continue
		}
		p.end(err)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return dst, err
	}
	return dst, nil
}

func (p *program) start() error {
	fail := func(err error) error {
		return &ProgramError{Program: strings.Join(p.args, " "), Servers: p.servers, Reason: err.Error()}
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		_, _ = theirIn.Close(), in.Close()
		return fail(err)
	}
	x := &process{in: in, out: out}
	x.answers = bufio.NewReader(patient{out})
	x.cmd = exec.Command(p.args[0], p.args[1:]...)                                                                 // it outlives the question that starts it: close ends it
	x.cmd.Env = slices.DeleteFunc(x.cmd.Environ(), func(v string) bool { return strings.HasPrefix(v, "GODWIT_") }) // there are passwords among them
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr, x.cmd.WaitDelay = theirIn, theirOut, &x.errors, endTimeout
	err = x.cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close() // they are the program's, if it runs
	if err != nil {
		_, _ = in.Close(), out.Close()
		return fail(err)
	}
	p.now = x
	return nil
}

// end ends the program that has failed, and puts what it has said last into the error.
func (p *program) end(err error) {
	x := p.now
	p.now = nil
	state := x.end()
	var failed *ProgramError
	if !errors.As(err, &failed) {
		return
	}
	failed.Program = strings.Join(p.args, " ")
	if failed.Reason == "" {
		failed.Reason = "it has ended (" + state + ")"
	}
	if said := x.errors.text(); said != "" {
		failed.Reason += ", and said: " + said
	}
}

func (p *program) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now != nil {
		_ = p.now.end() // how it ended is nobody's concern any more
		p.now = nil
	}
}

// end has the process end by itself within a while, or else ends it, and tells how it did.
func (x *process) end() string {
	_ = x.in.Close() // there are no more keys; a second close does nothing
	kill := time.AfterFunc(endTimeout, func() { _ = x.cmd.Process.Kill() })
	err := x.cmd.Wait()
	kill.Stop()
	_ = x.out.Close() // what it may have said is not read
	if err != nil {
		return err.Error()
	}
	return x.cmd.ProcessState.String()
}

// interrupt has whoever waits for it wait no longer.
func (x *process) interrupt() {
	_ = x.in.SetWriteDeadline(time.Now()) // where that fails, the pipe is closed already
	_ = x.out.Close()                     // likewise
}

// ask appends the servers of some keys. The error is a *ProgramError, without a reason where
// the program has ended.
func (x *process) ask(keys [][]byte, servers int, dst []int) ([]int, error) {
	x.buf = x.buf[:0]
	first := x.asked + 1
	for _, key := range keys {
		x.asked++
		x.buf = append(strconv.AppendUint(x.buf, x.asked, 10), ' ')
		x.buf = append(base64.StdEncoding.AppendEncode(x.buf, key), '\n')
	}
	failed := &ProgramError{Servers: servers, Key: bytes.Clone(keys[0])}
	if failed.Key == nil {
		failed.Key = []byte{}
	}
	if err := x.in.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return dst, failed
	}
	if _, err := x.in.Write(x.buf); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			failed.Reason = fmt.Sprintf("it reads no key for %v", silence)
		}
		return dst, failed
	}
	for i, key := range keys {
		line, err := x.answers.ReadSlice('\n')
		if err != nil {
			failed.Key = append([]byte{}, key...)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				failed.Reason = fmt.Sprintf("no answer for %v", silence)
			case errors.Is(err, bufio.ErrBufferFull):
				failed.Reason = "its answer does not end"
			}
			return dst, failed
		}
		question, answer, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		n, err := strconv.Atoi(string(answer))
		asked := strconv.FormatUint(first+uint64(i), 10)
		switch {
		case string(question) != asked:
			failed.Reason = fmt.Sprintf("it says %.100q, which does not begin with %s, the number of the question", bytes.TrimSpace(line), asked)
		case err != nil || n < 1 || n > servers:
			failed.Reason = fmt.Sprintf("it says %.100q, where %s and a number from 1 to %d would be an answer", bytes.TrimSpace(line), asked, servers)
		}
		if failed.Reason != "" {
			failed.Key = append([]byte{}, key...)
			return dst, failed
		}
		dst = append(dst, n-1)
	}
	return dst, nil
}

// patient waits so long, and no longer, for something to read.
type patient struct{ file *os.File }

func (p patient) Read(b []byte) (int, error) {
	if err := p.file.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return p.file.Read(b)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 500

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	t.buf = t.buf[max(0, len(t.buf)-tailSize):]
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.buf)), " ")
}
