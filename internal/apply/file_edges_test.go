package apply

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// A target that has been given everything is given nothing again, whatever was left to be
// done when godwit ended: its clients may have written to it since.
func TestFileIsNotLoadedAgain(t *testing.T) {
	t.Parallel()
	written, commands := counting(t, "redis-7.0", 300, 500)
	snapshot := filepath.Join(t.TempDir(), "dump.rdb")
	base, err := filepath.Glob(filepath.Join(commands, "*.base.rdb"))
	if err != nil || len(base) != 1 {
		t.Fatal(base, err)
	}
	if err := os.Link(base[0], snapshot); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{commands, snapshot} {
		target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
		client := sandboxtest.Client(t, target)
		var m fileMemory
		c := configureFile(t, path, target)
		first := NewFile(m.load(t, c))
		if err := first.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, key := range client.Redis().Keys(t.Context(), "godwit:*").Val() { // End has begun
			client.Redis().Del(t.Context(), key)
		}
		if err := client.Redis().Set(t.Context(), "since", "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
		e := NewFile(m.load(t, c))
		if err := errors.Join(e.Run(t.Context()), e.End(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := client.Redis().Get(t.Context(), "since").Val(); got != "1" {
			t.Errorf("%s: what a client has written since is %q", path, got)
		}
		if a, b := first.View(), e.View(); a.Keys != b.Keys || a.Commands != b.Commands {
			t.Errorf("%+v, and then %+v", a, b)
		}
		if path == commands {
			client.Redis().Del(t.Context(), "since")
			if err := written.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			equalToFile(t, written, []*sandbox.Server{target}, audit.Options{}, 300)
		}
	}
}

// Once an end has begun to put times right, commands of the file are not gone on with: what
// has expired by then would be made anew by them, for ever.
func TestFileAfterAnEndThatFailed(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: saving("yes")})
	pipe := sandboxtest.Client(t, s).Redis().Pipeline()
	const mortals = 100
	for i := range mortals {
		pipe.Do(t.Context(), "SET", "mortal:"+strconv.Itoa(i), 1, "PX", 3000)
	}
	for range 30_000 {
		pipe.Incr(t.Context(), "n")
	}
	for i := range mortals {
		pipe.Incr(t.Context(), "mortal:"+strconv.Itoa(i))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	path := copyOfAOF(t, s.Dir())
	<-time.After(3 * time.Second) // all of them have expired
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	m := playedInPart(t, path, target)
	right(t, target, "-del")
	if err := NewFile(m.load(t, configureFile(t, path, target))).End(t.Context()); !server.IsCode(err, "NOPERM") {
		t.Fatalf("an end without the right to delete: %v", err)
	}
	right(t, target, "+del")
	loadFile(t, m.load(t, configureFile(t, path, target)))
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	equalToFile(t, s, []*sandbox.Server{target}, audit.Options{}, 1)
}

// playedInPart has a file be played on a target, whose commands count the key n, and ends that
// before it is over.
func playedInPart(t *testing.T, path string, target *sandbox.Server) *fileMemory {
	t.Helper()
	var m fileMemory
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := NewFile(m.load(t, configureFile(t, path, target)))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	client := sandboxtest.Client(t, target)
	until(t, func() (bool, string) {
		n, err := client.Redis().Get(t.Context(), "n").Int()
		return err == nil && n > 0, "commands are played"
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || e.present().Played {
		t.Fatalf("%v, %+v", err, e.View())
	}
	return &m
}

// right gives the default user of a server a right, or takes it.
func right(t *testing.T, s *sandbox.Server, rule string) {
	t.Helper()
	if _, err := sandboxtest.Client(t, s).Do(t.Context(), "ACL", "SETUSER", "default", rule); err != nil {
		t.Fatal(err)
	}
}

// A loading that is to be begun anew, and cannot, is ended with the times of keys put right.
func TestEndOfAFileThatIsToBeLoadedAgain(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: saving("yes")})
	pipe := sandboxtest.Client(t, s).Redis().Pipeline()
	for i := range 100 {
		pipe.Set(t.Context(), strconv.Itoa(i), 1, time.Hour)
	}
	for range 30_000 {
		pipe.Incr(t.Context(), "n")
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	path := copyOfAOF(t, s.Dir())
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	m := playedInPart(t, path, target)
	client := sandboxtest.Client(t, target).Redis()
	for _, key := range client.Keys(t.Context(), "godwit:*").Val() { // as if it had been lost
		client.Del(t.Context(), key)
	}
	right(t, target, "-flushall")
	if err := NewFile(m.load(t, configureFile(t, path, target))).Run(t.Context()); !server.IsCode(err, "NOPERM") {
		t.Fatalf("a copy without the right to empty the target: %v", err)
	}
	if err := NewFile(m.load(t, configureFile(t, path, target))).End(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if left := client.TTL(t.Context(), strconv.Itoa(i)).Val(); left <= 0 || left > time.Hour {
			t.Errorf("key %d expires in %v", i, left)
		}
	}
}

// What is left out is counted once, however often the file is read.
func TestFileCountsWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-8.6", sandbox.Options{Args: saving("yes")})
	pipe := sandboxtest.Client(t, s).Redis().Pipeline()
	pipe.HSet(t.Context(), "in the snapshot", "f", "1")
	pipe.HPExpire(t.Context(), "in the snapshot", time.Hour, "f")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	rewriting(t, s)()
	pipe = sandboxtest.Client(t, s).Redis().Pipeline()
	for range 10_000 {
		pipe.HSet(t.Context(), "h", "f", "1", "g", "1")
		pipe.HPExpire(t.Context(), "h", time.Hour, "f")
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	c := configureFile(t, copyOfAOF(t, s.Dir()), target)
	c.Transcoder.Drop = []rdb.Feature{rdb.FeatureHashFieldTTL}
	found, err := ExamineFile(t.Context(), c, false, time.Now().UnixMilli())
	if err != nil || len(found.Refused) > 0 || found.Dropped[rdb.FeatureHashFieldTTL] != 10_001 {
		t.Fatalf("%+v, %v", found, err)
	}
	e := NewFile(c)
	done := make(chan error, 1)
	go func() { done <- e.Run(t.Context()) }()
	client := sandboxtest.Client(t, target)
	cuts := 0
	for last := int64(0); len(done) == 0; {
		if n := e.View().Commands; n > last+2000 {
			last = n
			for line := range strings.Lines(client.Redis().ClientList(t.Context()).Val()) {
				if strings.Contains(line, " name="+clientName+" ") {
					cuts++
					client.Redis().ClientKillByFilter(t.Context(), "ID", strings.TrimPrefix(strings.Fields(line)[0], "id="))
				}
			}
		}
		<-time.After(time.Millisecond)
	}
	if err := errors.Join(<-done, e.End(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Logf("cut %d times", cuts)
	if got := e.View().Dropped; !maps.Equal(got, found.Dropped) || cuts == 0 {
		t.Errorf("%v are said to be left out, not %v", got, found.Dropped)
	}
}

// TTLs of fields that the target does not know are left out of a hash that is sent in parts,
// too, or refused by the key's name.
func TestLargeHashWithFieldTTLs(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-8.6", sandbox.Options{Args: []string{"--rdbcompression no"}})
	client := sandboxtest.Client(t, s).Redis()
	const fields = 1800
	for i := range fields {
		if err := client.HSet(t.Context(), "large", strconv.Itoa(i), strings.Repeat("x", 10<<10)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{client.HPExpire(t.Context(), "large", time.Hour, "7", "8").Err(), client.Save(t.Context()).Err()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	c := configureFile(t, filepath.Join(s.Dir(), "dump.rdb"), target)
	found, err := ExamineFile(t.Context(), c, false, time.Now().UnixMilli())
	if err != nil || len(found.Refused) != 1 || !strings.Contains(found.Refused[0].Text, `key "large"`) || !strings.Contains(found.Refused[0].Hint, "--drop hash-field-ttl") {
		t.Errorf("%+v, %v", found, err)
	}
	var lacking *rdb.NoEqualError
	if err := NewFile(c).Run(t.Context()); !errors.As(err, &lacking) {
		t.Errorf("%v", err)
	}
	c.Transcoder.Drop = []rdb.Feature{rdb.FeatureHashFieldTTL}
	found, err = ExamineFile(t.Context(), c, false, time.Now().UnixMilli())
	if err != nil || len(found.Refused) > 0 || found.Dropped[rdb.FeatureHashFieldTTL] != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	v := loadFile(t, c)
	if n := sandboxtest.Client(t, target).Redis().HLen(t.Context(), "large").Val(); n != fields || v.Dropped[rdb.FeatureHashFieldTTL] != 1 {
		t.Errorf("%d fields, %+v", n, v)
	}
}

// A value that no client can send is refused before the start, and not tried again and
// again.
func TestFileWithAValueTooLarge(t *testing.T) {
	t.Parallel()
	for range some(0, []int{0}) {
		target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
		path := filepath.Join(t.TempDir(), "dump.rdb")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		// A stream whose first node is 513 MB long, and a hole in the file.
		const node = 513 << 20
		head := "REDIS0010\x0f\x05large\x01\x10" + strings.Repeat("\x00", 16) + "\x80" + string([]byte{node >> 24, node >> 16 & 0xff, 0, 0})
		_, err = file.WriteString(head)
		if err == nil {
			_, err = file.WriteAt([]byte(strings.Repeat("\x00", 4)+"\xff"+strings.Repeat("\x00", 8)), int64(len(head)+node))
		}
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		c := configureFile(t, path, target)
		found, err := ExamineFile(t.Context(), c, false, 0)
		if err != nil || found.Damage != nil || len(found.Refused) != 1 || !strings.Contains(found.Refused[0].Text, `key "large": its value takes more than 512 MB`) || found.Refused[0].Hint == "" {
			t.Errorf("%+v, %v", found, err)
		}
		if err := error(&FatalError{&TooLargeError{}}); !lasting(err) || hintOf(err) == "" {
			t.Errorf("%v is tried again", err)
		}
	}
}

// An end that is asked for does not wait for a target that does not answer.
func TestEndOfWaitingForATarget(t *testing.T) {
	t.Parallel()
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, target)
	if _, err := client.Do(t.Context(), "CLIENT", "PAUSE", "60000", "WRITE"); err != nil {
		t.Fatal(err)
	}
	c := configureFile(t, func() string { _, path := counting(t, "redis-7.0", 10, 10); return path }(), target)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewFile(c).Run(ctx) }()
	until(t, func() (bool, string) {
		info, err := client.Info(t.Context(), "clients")
		return err == nil && info["blocked_clients"] == "1", "FLUSHALL waits"
	})
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits still")
		_, _ = client.Do(t.Context(), "CLIENT", "UNPAUSE")
		<-done
	}
}

// Libraries of functions that the source does not have are deleted with the keys that the
// target had: those that it held, and those of a copy that was begun anew.
func TestCopyDeletesLibraries(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	load := func(c *server.Client, name string) {
		t.Helper()
		if _, err := c.Do(t.Context(), "FUNCTION", "LOAD", "#!lua name="+name+"\nredis.register_function('"+name+"', function() return 1 end)"); err != nil {
			t.Fatal(err)
		}
	}
	load(sandboxtest.Client(t, source), "of_the_source")
	load(sandboxtest.Client(t, target), "of_the_target")
	e := New(configureServers(t, target, source))
	run(t, e)
	caughtUp(t, e, source)
	report, err := audit.Compare(t.Context(), source.Endpoint(), target.Endpoint(), audit.Options{Ignore: "godwit:"})
	if err != nil || !report.Equal() {
		t.Errorf("%+v, %v", report, err)
	}
}

// What was carried out before a command that a shard refuses, be it for the db alone, is not
// carried out again once it refuses no more.
func TestFileWithoutTheRightToSelect(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: saving("no")})
	pipe := sandboxtest.Client(t, s).Redis().Pipeline()
	for range 10 {
		pipe.Incr(t.Context(), "n")
	}
	pipe.Do(t.Context(), "SELECT", 1)
	pipe.Incr(t.Context(), "n")
	pipe.Do(t.Context(), "SELECT", 0)
	pipe.Incr(t.Context(), "n")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	path := copyOfAOF(t, s.Dir())
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	right(t, target, "-select")
	var m fileMemory
	var refused *FileCommandError
	if err := NewFile(m.load(t, configureFile(t, path, target))).Run(t.Context()); !errors.As(err, &refused) {
		t.Fatalf("without the right to select a db: %v", err)
	}
	right(t, target, "+select")
	loadFile(t, m.load(t, configureFile(t, path, target)))
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	equalToFile(t, s, []*sandbox.Server{target}, audit.Options{}, 2)
}
