package divide_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/divide"
)

// word has this test's program be a rule, in one of several ways.
const word = "be-a-rule"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == word {
		be(strings.ReplaceAll(os.Args[2], "_", " "))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// be answers by the length of a key, modulo 3, but for what the test is about.
func be(how string) {
	fmt.Fprintln(os.Stderr, "I am", how)
	if len(os.Getenv("GODWIT_SECRET")) > 0 {
		fmt.Println("it was told a secret")
		return
	}
	n := 0
	for in := bufio.NewScanner(os.Stdin); in.Scan(); n++ {
		key, err := base64.StdEncoding.DecodeString(in.Text())
		switch {
		case err != nil:
			fmt.Println("no base64")
		case how == "dies" && string(key) == "bad":
			os.Exit(7)
		case how == "says nonsense" && string(key) == "bad":
			fmt.Println("four")
		case how == "says too much" && string(key) == "bad":
			fmt.Println(4)
		case how == "says zero" && string(key) == "bad":
			fmt.Println(0)
		case how == "says two lines":
			fmt.Print("1\n1\n")
		case how == "is silent":
		case how == "says no end":
			fmt.Print(strings.Repeat("1", 100_000))
		case how == "fails once" && string(key) == "bad" && n > 0:
			os.Exit(1)
		default:
			fmt.Println(len(key)%3 + 1)
		}
	}
}

func rule(t *testing.T, text string, servers int) *divide.Rule {
	t.Helper()
	r, err := divide.New(text, servers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func program(how string) string {
	return os.Args[0] + " " + word + " " + strings.ReplaceAll(how, " ", "_")
}

// The numbers are those of `python3 -c 'import zlib; zlib.crc32(b"…")'`, and of CLUSTER
// KEYSLOT, which is the checksum modulo 16384.
func TestBuiltIn(t *testing.T) {
	for _, tt := range []struct {
		rule, key string
		servers   int
		want      int
	}{
		{"crc32", "123456789", 1000, 0xCBF43926 % 1000},
		{"crc32", "", 7, 0},
		{"crc32", "{a}b", 5, 0xED425E59 % 5},
		{"crc16", "123456789", 1000, 0x31C3 % 1000},
		{"crc16", "x{123456789}y", 1000, 0x31C3 % 1000},
		{"crc16", "{}123456789", 1000, 951},
	} {
		r := rule(t, tt.rule, tt.servers)
		got, err := r.Of(t.Context(), []byte(tt.key))
		all, errAll := r.AppendOf(t.Context(), []int{9}, [][]byte{[]byte(tt.key), []byte(tt.key)})
		if r.Asks() || err != nil || errAll != nil || got != tt.want || fmt.Sprint(all) != fmt.Sprint([]int{9, got, got}) {
			t.Errorf("%s of %q among %d: %d, %v, %v %v, want %d", tt.rule, tt.key, tt.servers, got, err, all, errAll, tt.want)
		}
	}
	for _, bad := range []string{"", " "} {
		if _, err := divide.New(bad, 2); err == nil {
			t.Errorf("%q is a rule", bad)
		}
	}
	if _, err := divide.New("crc32", 1); err == nil {
		t.Error("one server is divided")
	}
}

// A program is given any bytes, more keys than fit into a pipe, and by several at once.
func TestProgram(t *testing.T) {
	r := rule(t, program("well"), 3)
	keys := [][]byte{{}, []byte("a\nb\r\n"), {0xff, 0, '\n'}}
	for i := range 5000 {
		keys = append(keys, []byte(strings.Repeat("k", i%200)))
	}
	done := make(chan error, 4)
	for range cap(done) {
		go func() {
			of, err := r.AppendOf(context.Background(), nil, keys)
			for i, key := range keys {
				if err == nil && of[i] != len(key)%3 {
					err = fmt.Errorf("%q is of %d", key, of[i])
				}
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	r.Close()
	if of, err := r.Of(t.Context(), []byte("ab")); of != 2 || err != nil {
		t.Errorf("after a Close: %d, %v", of, err)
	}
}

// What a program does wrong is said by the key and the program, and it is started again.
func TestProgramFails(t *testing.T) {
	t.Setenv("GODWIT_SECRET", "hidden")
	for how, want := range map[string]string{
		"dies":           "it has ended (exit status 7), and said: I am dies",
		"says nonsense":  `it says "four", which is no number from 1 to 3`,
		"says too much":  `it says "4", which is no number from 1 to 3`,
		"says zero":      `it says "0", which is no number from 1 to 3`,
		"says two lines": "it says more than one line",
		"is silent":      "no answer for 5s",
		"says no end":    "its answer does not end",
	} {
		t.Run(how, func(t *testing.T) {
			r := rule(t, program(how), 3)
			keys := [][]byte{[]byte("bad"), []byte("abcde")}
			_, err := r.AppendOf(t.Context(), nil, keys)
			for range 100 { // a line too many may come after those that were waited for
				if err == nil {
					_, err = r.AppendOf(t.Context(), nil, keys)
				}
			}
			var failed *divide.ProgramError
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), want) || string(failed.Key) != "bad" || !strings.Contains(err.Error(), `"bad"`) || !strings.Contains(err.Error(), word) || !strings.Contains(failed.HintText(), "YmFk") {
				t.Errorf("%v", err)
			}
		})
	}
	_, err := rule(t, "/is/not/there", 2).Of(t.Context(), []byte("k"))
	var failed *divide.ProgramError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
	r := rule(t, program("fails once"), 3)
	if _, err := r.AppendOf(t.Context(), nil, [][]byte{[]byte("good"), []byte("bad")}); err == nil {
		t.Error("it has not failed")
	}
	if of, err := r.Of(t.Context(), []byte("bad")); of != 0 || err != nil {
		t.Errorf("once more: %d, %v", of, err)
	}
}

// Who asks need not wait for a program that does not answer.
func TestProgramIsInterrupted(t *testing.T) {
	r := rule(t, program("is silent"), 3)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := r.Of(ctx, []byte("k")); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
