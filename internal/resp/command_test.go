package resp_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"godwit/internal/resp"
)

func TestReadCommand(t *testing.T) {
	tests := []struct {
		name     string
		in       string
		args     []string
		size     int64
		newlines int
	}{
		{"array", "*2\r\n$4\r\nPING\r\n$2\r\nhi\r\n", []string{"PING", "hi"}, 22, 0},
		{"empty argument", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", []string{"ECHO", ""}, 20, 0},
		{"binary argument", "*1\r\n$4\r\n\r\n*1\r\n", []string{"\r\n*1"}, 14, 0},
		{"inline", "PSYNC ? -1\r\n", []string{"PSYNC", "?", "-1"}, 12, 0},
		{"inline with blanks", " \tPING  x \r\n", []string{"PING", "x"}, 12, 0},
		{"keepalive newlines before it", "\n\r\n\n*1\r\n$4\r\nPING\r\n", []string{"PING"}, 14, 3},
		{"an array of nothing is skipped", "*0\r\n*1\r\n$4\r\nPING\r\n", []string{"PING"}, 14, 0},
		{"blanks alone are skipped", "  \r\n*1\r\n$4\r\nPING\r\n", []string{"PING"}, 14, 0},
		{"as many arguments as are taken", array(resp.MaxArgs, "x"), repeat(resp.MaxArgs, "x"), int64(len(array(resp.MaxArgs, "x"))), 0},
		{"as large an argument as is taken", array(1, strings.Repeat("x", resp.MaxArgSize)), []string{strings.Repeat("x", resp.MaxArgSize)}, resp.MaxArgSize + 14, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// One byte at a time: the source may cut anywhere.
			r := bufio.NewReader(iotest.OneByteReader(strings.NewReader(tt.in + "next")))
			cmd, newlines, err := resp.ReadCommand(r)
			if err != nil {
				t.Fatal(err)
			}
			if got := texts(cmd.Args); !reflect.DeepEqual(got, tt.args) {
				t.Errorf("args %q, want %q", got, tt.args)
			}
			if string(cmd.Name()) != tt.args[0] {
				t.Errorf("name %q", cmd.Name())
			}
			if cmd.Size != tt.size || newlines != tt.newlines {
				t.Errorf("size %d, newlines %d; want %d, %d", cmd.Size, newlines, tt.size, tt.newlines)
			}
			if rest, err := io.ReadAll(r); string(rest) != "next" || err != nil {
				t.Errorf("left %q, %v", rest, err)
			}
		})
	}
}

func TestReadCommandRefuses(t *testing.T) {
	tests := []struct {
		name, in string
		want     error // nil: any
		says     string
	}{
		{"end before it", "", io.EOF, "EOF"},
		{"end within the header", "*1", io.EOF, "EOF"},
		{"end after the header", "*1\r\n", io.ErrUnexpectedEOF, "unexpected EOF"},
		{"end within a length", "*1\r\n$4", io.ErrUnexpectedEOF, "unexpected EOF"},
		{"end within an argument", "*1\r\n$4\r\nPI", io.ErrUnexpectedEOF, "unexpected EOF"},
		{"negative count", "*-1\r\n", nil, `bad length "-1"`},
		{"signed count", "*+1\r\n", nil, `bad length "+1"`},
		{"no count", "*\r\n", nil, `bad length ""`},
		{"null argument", "*1\r\n$-1\r\n", nil, `bad length "-1"`},
		{"huge length", "*1\r\n$99999999999999999999\r\n", nil, "bad length"},
		{"no length", "*1\r\nPING\r\n", nil, `expected '$', got "PING"`},
		{"argument longer than its length", "*1\r\n$4\r\nPINGS\r\n", nil, "expected CRLF"},
		{"too many arguments", fmt.Sprintf("*%d\r\n", resp.MaxArgs+1), resp.ErrTooLarge, "33 arguments"},
		{"too large an argument", fmt.Sprintf("*1\r\n$%d\r\n", resp.MaxArgSize+1), resp.ErrTooLarge, "16385 bytes"},
		{"a line without end", strings.Repeat("x", 5000), resp.ErrTooLarge, "4096 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := resp.ReadCommand(bufio.NewReader(strings.NewReader(tt.in)))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %q in it", err, tt.says)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestAppendCommand(t *testing.T) {
	got := resp.AppendCommand([]byte("before"), "REPLCONF", "ACK", "")
	if want := "before*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$0\r\n\r\n"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzReadCommand holds that whatever arrives, however it is cut, is a command
// within the limits or an error.
func FuzzReadCommand(f *testing.F) {
	for _, seed := range []string{
		"*2\r\n$4\r\nPING\r\n$0\r\n\r\n", "\n\n*0\r\n*1\r\n$1\r\nx\r\n", "PSYNC ? -1\r\n", " \r\n", "*-1\r\n", "*1\r\n$-1\r\n", "*9999999999\r\n", "\r", "*",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := bufio.NewReader(bytes.NewReader(in))
		bits := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(in)))
		for {
			cmd, newlines, err := resp.ReadCommand(whole)
			cmdBits, newlinesBits, errBits := resp.ReadCommand(bits)
			if fmt.Sprint(err) != fmt.Sprint(errBits) || newlines != newlinesBits || !reflect.DeepEqual(cmd, cmdBits) {
				t.Fatalf("in one piece %v %d %v, byte by byte %v %d %v", cmd, newlines, err, cmdBits, newlinesBits, errBits)
			}
			if err != nil {
				return
			}
			var size int64
			for _, a := range cmd.Args {
				size += int64(len(a))
				if len(a) > resp.MaxArgSize {
					t.Fatalf("an argument of %d bytes", len(a))
				}
			}
			if n := len(cmd.Args); n == 0 || n > resp.MaxArgs || size > int64(len(in)) {
				t.Fatalf("%d arguments of %d bytes out of %d", n, size, len(in))
			}
		}
	})
}

func texts(args [][]byte) []string {
	s := make([]string, len(args))
	for i, a := range args {
		s[i] = string(a)
	}
	return s
}

func repeat(n int, s string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

// array is a command of n times the same argument.
func array(n int, arg string) string {
	return string(resp.AppendCommand(nil, repeat(n, arg)...))
}
