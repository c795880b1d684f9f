package server

import (
	"strconv"
	"strings"
)

// Info holds the fields of an INFO reply as the server named them.
type Info map[string]string

// ParseInfo reads the text of an INFO reply (server.c genRedisInfoString).
func ParseInfo(text string) Info {
	info := make(Info)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			info[name] = value
		}
	}
	return info
}

// Int is a field as a number, 0 when it is absent or not one.
func (i Info) Int(field string) int64 {
	n, err := strconv.ParseInt(i[field], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Product is who made a server.
type Product string

// The products godwit tells apart.
const (
	Redis  Product = "redis"
	Valkey Product = "valkey"
	Redict Product = "redict"
)

// Version is a server's product and version number.
type Version struct {
	Product Product `json:"product"`
	Major   int     `json:"major"`
	Minor   int     `json:"minor"`
	Patch   int     `json:"patch"`
}

// Version reads the product and its own version. Valkey and Redict give
// redis_version only for compatibility, and it stands still at 7.2.
func (i Info) Version() Version {
	v := Version{Product: Redis}
	text := i["redis_version"]
	switch {
	case i["valkey_version"] != "":
		v.Product, text = Valkey, i["valkey_version"]
	case i["redict_version"] != "":
		v.Product, text = Redict, i["redict_version"]
	}
	for n, part := range strings.SplitN(text, ".", 3) {
		number, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		switch n {
		case 0:
			v.Major = number
		case 1:
			v.Minor = number
		case 2:
			v.Patch = number
		}
	}
	return v
}

// AtLeast compares version numbers; the product does not count.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

func (v Version) String() string {
	name := map[Product]string{Redis: "Redis", Valkey: "Valkey", Redict: "Redict"}[v.Product]
	return name + " " + strconv.Itoa(v.Major) + "." + strconv.Itoa(v.Minor) + "." + strconv.Itoa(v.Patch)
}
