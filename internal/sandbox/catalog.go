// Package sandbox runs real Redis, Valkey and Redict servers on free loopback
// ports, for the demo, the tests and the benchmarks. It finds the programs
// that scripts/get-servers.sh unpacked, or one that is on PATH.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"godwit/internal/server"
)

// PathName is what Lookup calls the server program found on PATH.
const PathName = "path"

// Binary is one unpacked version of a server with its tools.
type Binary struct {
	Name    string // such as redis-7.0, or PathName
	Product server.Product
	Path    string // the server program
}

// Tool is the path of a program beside the server: cli, benchmark, check-rdb.
func (b Binary) Tool(name string) string {
	return filepath.Join(filepath.Dir(b.Path), string(b.Product)+"-"+name)
}

// Version asks the program for its version, without starting a server.
func (b Binary) Version(ctx context.Context) (server.Version, error) {
	out, err := exec.CommandContext(ctx, b.Path, "--version").Output()
	if err != nil {
		return server.Version{}, fmt.Errorf("%s --version: %w", b.Path, err)
	}
	// "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 ..."
	for word := range strings.FieldsSeq(string(out)) {
		if number, ok := strings.CutPrefix(word, "v="); ok {
			return server.Info{string(b.Product) + "_version": number}.Version(), nil
		}
	}
	return server.Version{}, fmt.Errorf("%s --version: no version in %q", b.Path, out)
}

// Catalog holds the servers that were found, by name.
type Catalog struct {
	dirs     []string
	binaries map[string]Binary
	aliases  map[string]string // a link's name to the name of what it links to
}

// Servers looks for DIR/NAME/bin/{redis,valkey,redict}-server in each of dirs,
// and for a server on PATH. A dir that does not exist holds none; of two
// servers with the same name the first one found counts.
func Servers(dirs ...string) (Catalog, error) {
	c := Catalog{dirs: dirs, binaries: make(map[string]Binary), aliases: make(map[string]string)}
	for _, dir := range dirs {
		if err := c.scan(dir); err != nil {
			return Catalog{}, fmt.Errorf("looking for servers: %w", err)
		}
	}
	for _, product := range products() {
		path, err := exec.LookPath(string(product) + "-server")
		if err == nil {
			c.binaries[PathName] = Binary{Name: PathName, Product: product, Path: path}
			break
		}
	}
	return c, nil
}

func products() []server.Product {
	return []server.Product{server.Redis, server.Valkey, server.Redict}
}

func (c Catalog) scan(dir string) error {
	dir, err := filepath.Abs(dir) // a server runs in another directory than ours
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.Type()&fs.ModeSymlink != 0 {
			real, err := os.Readlink(filepath.Join(dir, name))
			if err == nil && filepath.Base(real) == real {
				c.aliases[name] = real
				continue
			}
		}
		for _, product := range products() {
			path := filepath.Join(dir, name, "bin", string(product)+"-server")
			if _, known := c.binaries[name]; known || !isFile(path) {
				continue
			}
			c.binaries[name] = Binary{Name: name, Product: product, Path: path}
		}
	}
	return nil
}

func isFile(path string) bool {
	stat, err := os.Stat(path)
	return err == nil && stat.Mode().IsRegular()
}

// Names lists the servers, sorted, each once: an alias such as redis-newest
// is understood by Lookup but not listed.
func (c Catalog) Names() []string {
	return slices.Sorted(maps.Keys(c.binaries))
}

// Lookup finds a server by its name or alias. The error is a *MissingError.
func (c Catalog) Lookup(name string) (Binary, error) {
	real := name
	if target, ok := c.aliases[name]; ok {
		real = target
	}
	b, ok := c.binaries[real]
	if !ok {
		return Binary{}, &MissingError{Name: name, Dirs: c.dirs}
	}
	return b, nil
}

// Module finds a module by its name, such as redisearch-1.2: DIR/NAME/PRODUCT.so.
// The error is a *MissingError.
func (c Catalog) Module(name string) (string, error) {
	product, _, _ := strings.Cut(name, "-")
	for _, dir := range c.dirs {
		path, err := filepath.Abs(filepath.Join(dir, name, product+".so"))
		if err == nil && isFile(path) {
			return path, nil
		}
	}
	return "", &MissingError{Name: name, Dirs: c.dirs}
}

// MissingError says that no server or module of that name was found, and how to get it.
type MissingError struct {
	Name string
	Dirs []string // where it was looked for
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("no %s in %s", e.Name, strings.Join(e.Dirs, ", "))
}

// HintText is the line to run; commands print it after the error.
func (e *MissingError) HintText() string {
	if e.Name == PathName {
		return "install a Redis or Valkey server, or name one that scripts/get-servers.sh fetches"
	}
	return "run scripts/get-servers.sh " + e.Name
}
