package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/migrate"
	"godwit/internal/server"
)

// endpointsOptions say where source and target are and as whom to reach them.
type endpointsOptions struct {
	from, to endpointOptions
	tls      server.TLS // for both, where they have none of their own
}

// endpointOptions are one server's.
type endpointOptions struct {
	end          string // from or to, which begins the names of its flags; empty for the URL of inspect
	url          string
	others       []string // further ones, where the flag was given more than once
	passwordFile string
	tls          server.TLS
}

func (o *endpointsOptions) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	o.from.end, o.to.end = "from", "to"
	o.from.addFlags(fs, "source")
	o.to.addFlags(fs, "target")
	addTLSFlags(fs, &o.tls, "tls", "both servers")
	completeNone(cmd, "from", "to", "from-tls-server-name", "to-tls-server-name", "tls-server-name")
}

func (o *endpointOptions) addFlags(fs *pflag.FlagSet, whose string) {
	variable := passwordVariable(o.end)
	file := ""
	if o.end == "from" {
		file = ", file:PATH for an RDB file or an append only file (plan and run only)"
	}
	usage := "`URL` of the " + whose + ": redis://user:password@host:port, rediss:// for TLS, unix:///path" + file + "; others see a password on the command line, so rather use " + variable
	if o.end == "from" {
		fs.Var(urlValue{o}, o.end, usage)
	} else {
		fs.StringVar(&o.url, o.end, "", usage)
	}
	fs.StringVar(&o.passwordFile, o.end+"-password-file", "", "`file` that holds the password of the "+whose+" (or set "+variable+")")
	addTLSFlags(fs, &o.tls, o.end+"-tls", "the "+whose)
}

func addTLSFlags(fs *pflag.FlagSet, t *server.TLS, prefix, whose string) {
	fs.StringVar(&t.CAFile, prefix+"-ca", "", "PEM `file` with the CA of "+whose)
	fs.StringVar(&t.CertFile, prefix+"-cert", "", "PEM `file` with the client certificate for "+whose)
	fs.StringVar(&t.KeyFile, prefix+"-key", "", "PEM `file` with the key of that certificate")
	fs.StringVar(&t.ServerName, prefix+"-server-name", "", "`name` that the certificate of "+whose+" is for, when it is not the host's")
}

// urlValue is a flag with a URL, that may be given more than once where that makes sense.
type urlValue struct{ o *endpointOptions }

func (v urlValue) String() string {
	if v.o == nil {
		return ""
	}
	return v.o.url
}
func (v urlValue) Type() string { return "URL" }

func (v urlValue) Set(text string) error {
	if v.o.url == "" {
		v.o.url = text
	} else {
		v.o.others = append(v.o.others, text)
	}
	return nil
}

// passwordVariable is GODWIT_FROM_PASSWORD, GODWIT_TO_PASSWORD, or
// GODWIT_PASSWORD where there is only one server.
func passwordVariable(end string) string {
	if end == "" {
		return "GODWIT_PASSWORD"
	}
	return "GODWIT_" + strings.ToUpper(end) + "_PASSWORD"
}

// flag is how the user wrote one of the server's flags; "" is the URL itself.
func (o *endpointOptions) flag(name string) string {
	switch {
	case o.end == "" && name == "":
		return "URL"
	case o.end == "":
		return "--" + name
	case name == "":
		return "--" + o.end
	}
	return "--" + o.end + "-" + name
}

// source sets the source of a migration: servers, or the path of a file that one has
// saved, which is given as file:PATH.
func (o *endpointsOptions) source(c *migrate.Config, s streams) (err error) {
	for _, url := range append([]string{o.from.url}, o.from.others...) {
		path, isFile := strings.CutPrefix(url, fileScheme)
		switch {
		case isFile && len(o.from.others) > 0:
			return usagef("name one file, or servers", "%s: a file, and another source", o.from.flag(""))
		case isFile:
			c.File, err = o.file(path)
			return err
		}
	}
	c.From, c.Others, err = o.sources(s)
	return err
}

// file is the path of a source that is a file.
func (o *endpointsOptions) file(path string) (file string, err error) {
	if rest, ok := strings.CutPrefix(path, "//"); ok { // file:///dump.rdb, of no host
		path = rest
		if !strings.HasPrefix(path, "/") {
			return "", usagef("write file:dump.rdb, or file:///path/to/dump.rdb", "%s: a file URL that names a host", o.from.flag(""))
		}
	}
	if path == "" {
		return "", usagef("write file:dump.rdb, or file:appendonlydir", "%s: no path after file:", o.from.flag(""))
	}
	if o.from.passwordFile != "" || o.from.tls != (server.TLS{}) {
		return "", usagef("", "%s or %s is given, and the source is a file", o.from.flag("password-file"), o.from.flag("tls-..."))
	}
	if file, err = filepath.Abs(path); err != nil { // so that a later run, elsewhere, finds it
		return "", usagef("", "%s: %w", o.from.flag(""), err)
	}
	return file, nil
}

// endpoint puts together the URL, the password and TLS of one end.
func (o *endpointsOptions) endpoint(e *endpointOptions, s streams) (server.Endpoint, error) {
	if len(e.others) > 0 {
		return server.Endpoint{}, usagef("", "%s is given more than once", e.flag(""))
	}
	if e.url == "" {
		return server.Endpoint{}, usagef("for example "+e.flag("")+" redis://127.0.0.1:6379", "%s is missing", e.flag(""))
	}
	endpoint, err := server.ParseEndpoint(e.url)
	if err != nil {
		return server.Endpoint{}, usagef("", "%s: %w", e.flag(""), err)
	}
	if err := e.setPassword(&endpoint, s); err != nil {
		return server.Endpoint{}, err
	}
	if e.tls != (server.TLS{}) && !endpoint.TLS.Enabled {
		return server.Endpoint{}, usagef("use rediss:// for TLS", "%s is given, and %s is not encrypted", e.flag("tls-..."), endpoint)
	}
	if endpoint.TLS.Enabled {
		endpoint.TLS = merge(e.tls, o.tls)
		if (endpoint.TLS.CertFile == "") != (endpoint.TLS.KeyFile == "") {
			return server.Endpoint{}, usagef("", "%s: a client certificate needs its key, and a key its certificate", e.flag(""))
		}
	}
	return endpoint, nil
}

// sources puts together the source, or several of them.
func (o *endpointsOptions) sources(s streams) (first server.Endpoint, others []server.Endpoint, err error) {
	given := o.from
	for i, url := range append([]string{given.url}, given.others...) {
		one := given
		one.url, one.others = url, nil
		e, err := o.endpoint(&one, s)
		if err != nil {
			return first, nil, err
		}
		if i == 0 {
			first = e
		} else {
			others = append(others, e)
		}
	}
	return first, others, nil
}

// setPassword takes the password from the file, else from the URL, else from
// the environment.
func (o *endpointOptions) setPassword(e *server.Endpoint, s streams) error {
	switch {
	case o.passwordFile != "" && e.Password != "":
		return usagef("", "%s is given, and the URL has a password too", o.flag("password-file"))
	case o.passwordFile != "":
		data, err := os.ReadFile(o.passwordFile)
		if err != nil {
			return usagef("", "%s: %w", o.flag("password-file"), err)
		}
		e.Password = strings.TrimRight(string(data), "\r\n")
	case e.Password == "":
		e.Password, _ = s.env(passwordVariable(o.end))
	}
	return nil
}

// merge fills what own leaves open from shared.
func merge(own, shared server.TLS) server.TLS {
	own.Enabled = true
	if own.CAFile == "" {
		own.CAFile = shared.CAFile
	}
	if own.CertFile == "" && own.KeyFile == "" {
		own.CertFile, own.KeyFile = shared.CertFile, shared.KeyFile
	}
	if own.ServerName == "" {
		own.ServerName = shared.ServerName
	}
	return own
}
