package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// fromFile reads a migration file after a command line; it returns run's flags.
func fromFile(t *testing.T, text string, env []string, args ...string) (*pflag.FlagSet, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "migration.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(path))
	s := streams{env: environment(env...)}
	fs := newRunCommand(s).Flags()
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs, applyFile("migration.yaml", fs, newRunCommand(s).Flags(), s.env)
}

func TestEveryFlagCanBeSaidInTheFile(t *testing.T) {
	example := map[string]string{
		"bool": "true", "int": "7000", "string": "text", "duration": "250ms", "size": "5mb", "manual|auto|never": "auto", "before-cutover": "before-cutover", "text|json": "json",
		"URL": "text", "feature": "function,vector-set", "names": "bf,search", "mapping": "1:drop",
	}
	newRunCommand(streams{env: environment()}).Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "file" || f.Name == "help" {
			return
		}
		value, ok := example[f.Value.Type()]
		if !ok {
			t.Fatalf("--%s: no example of a %s", f.Name, f.Value.Type())
		}
		fs, err := fromFile(t, f.Name+": "+value+"\n", nil)
		if err != nil || fs.Lookup(f.Name).Value.String() != value {
			t.Errorf("%s: %s, %v; want %s", f.Name, fs.Lookup(f.Name).Value, err, value)
		}
	})
}

// A file for verify has run's fields and its own ones; run takes only its own.
func TestTheFileOfVerify(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "verify.yaml")
	text := "from: redis://127.0.0.1:1\nto: redis://127.0.0.1:2\nmax-pause: 1s\nsample: 1%\nrepair: delete-extra\ndb: 0,3\nmax-rate: 5mb\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := godwit(t, nil, "verify", "-f", path, "--state-dir", dir) // whose migration does not run
	if got.code != 1 || !strings.HasPrefix(got.err, "the migration default does not run: comparing from and to of "+path+"\nerror: source: 127.0.0.1:1: dial: ") {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
	got = godwit(t, nil, "run", "-f", path, "--state-dir", dir)
	if got.code != 2 || !strings.HasPrefix(got.err, "error: "+path+":4: sample: unknown field") {
		t.Errorf("run: exit code %d: %s", got.code, got.err)
	}
	cmd := newVerifyCommand(streams{env: environment()})
	if err := applyFile(path, cmd.Flags(), union(newRunCommand(streams{env: environment()}).Flags(), cmd.Flags()), environment()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"sample": "1%", "repair": "delete-extra", "db": "0,3", "max-rate": "5mb"} {
		if got := cmd.Flags().Lookup(name).Value.String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func union(sets ...*pflag.FlagSet) *pflag.FlagSet {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, fs := range sets {
		all.AddFlagSet(fs)
	}
	return all
}

func TestFlagsWinOverTheFile(t *testing.T) {
	fs, err := fromFile(t, "name: file\nmax-pause: 2s\nreplace: true\n", nil, "--name", "flag", "--replace=false")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"name": "flag", "replace": "false", "max-pause": "2s"} {
		if got := fs.Lookup(name).Value.String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestVariablesInTheFile(t *testing.T) {
	env := []string{"PW=p@s/s:w%rd", "HOST=h:7000", "URL=redis://u:x@h", "EMPTY="}
	for value, want := range map[string]string{
		"redis://u:${PW}@${HOST}/0": "redis://u:p%40s%2Fs%3Aw%25rd@h:7000/0",
		"${URL}":                    "redis://u:x@h",
		"redis://${EMPTY}h":         "redis://h",
		"redis://$${PW}@h":          "redis://${PW}@h",
		"redis://$PW@h":             "redis://$PW@h",
	} {
		fs, err := fromFile(t, "from: "+value+"\n", env)
		if err != nil || fs.Lookup("from").Value.String() != want {
			t.Errorf("%s: %s, %v; want %s", value, fs.Lookup("from").Value, err, want)
		}
	}
	fs, err := fromFile(t, "announce: ${HOST}\n", env)
	if err != nil || fs.Lookup("announce").Value.String() != "h:7000" {
		t.Errorf("announce: %s, %v", fs.Lookup("announce").Value, err)
	}
}

func TestBadFiles(t *testing.T) {
	for text, want := range map[string]string{
		"name: x\nfrm: redis://h\n":     "migration.yaml:2: frm: unknown field",
		"max_pause: 1s\n":               "migration.yaml:1: max_pause: unknown field",
		"file: other.yaml\n":            "migration.yaml:1: file: unknown field",
		"from: redis://:${NO_SUCH}@h\n": "migration.yaml:1: from: the environment variable NO_SUCH is not set",
		"name: x\n\nname: y\n":          "migration.yaml:3: name: given twice",
		"from:\n  url: redis://h\n":     "migration.yaml:1: from: expected a single value",
		"- from\n":                      "migration.yaml:1: not a mapping",
		"max-pause: 1\n":                `migration.yaml:1: max-pause: invalid argument "1" for "--max-pause" flag: time: missing unit in duration "1"`,
		"replace: perhaps\n":            `migration.yaml:1: replace: invalid argument "perhaps" for "--replace" flag: strconv.ParseBool: parsing "perhaps": invalid syntax`,
		"name: x\n---\nname: y\n":       "migration.yaml:2: more than one document",
	} {
		_, err := fromFile(t, text, nil)
		if err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
	if _, err := fromFile(t, "name: [\n", nil); err == nil || !strings.HasPrefix(err.Error(), "migration.yaml: yaml: line ") {
		t.Errorf("no YAML: %v", err)
	}
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		if _, err := fromFile(t, text, nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAnUnknownFieldIsSuggested(t *testing.T) {
	for field, want := range map[string]string{
		"Max_Pause": "hint: did you mean max-pause?",
		"frm":       "hint: the fields are the flags of `godwit run`: abort-on-exit, accept-module, announce,",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "m.yaml")
		if err := os.WriteFile(path, []byte(field+": 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got := godwit(t, nil, "run", "-f", path, "--state-dir", dir)
		if got.code != 2 || !strings.Contains(got.err, want) {
			t.Errorf("%s: exit code %d: %s", field, got.code, got.err)
		}
	}
}

// A flag that may be repeated takes a list.
func TestListsInTheFile(t *testing.T) {
	fs, err := fromFile(t, "db-map:\n  - \"1:prefix=db1:\"\n  - 2:drop\ndrop: [function, vector-set]\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := fs.Lookup("db-map").Value.String() + " " + fs.Lookup("drop").Value.String(); got != "1:prefix=db1: 2:drop function,vector-set" {
		t.Error(got)
	}
	fs, err = fromFile(t, "db-map: [2:drop]\n", nil, "--db-map", "3:drop")
	if err != nil || fs.Lookup("db-map").Value.String() != "3:drop" {
		t.Errorf("%v, %v", fs.Lookup("db-map").Value, err)
	}
	for text, want := range map[string]string{
		"db-map:\n  - 1:prefix=db1:\n": "put one that ends in a colon in quotes",
		"db-map: [2:drop, 2:drop]\n":   "db 2 is mapped twice",
		"announce: [a, b]\n":           "expected a single value",
	} {
		if _, err := fromFile(t, text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
