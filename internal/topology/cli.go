package topology

import (
	"strconv"
	"strings"

	"godwit/internal/server"
)

// CLI is the line that sends a command to the server by hand, for hints and
// runbooks. It asks for the password where one is needed, and never holds it.
func (n Node) CLI(args ...string) string {
	product := n.Version.Product
	if product == "" {
		product = server.Redis
	}
	words := []string{string(product) + "-cli"}
	e := n.Endpoint
	if e.Network == "unix" {
		words = append(words, "-s", e.Address)
	} else {
		words = append(words, "-h", e.Host(), "-p", strconv.Itoa(e.Port()))
	}
	if t := e.TLS; t.Enabled {
		words = append(words, "--tls")
		for _, option := range [][2]string{{"--cacert", t.CAFile}, {"--cert", t.CertFile}, {"--key", t.KeyFile}, {"--sni", t.ServerName}} {
			if option[1] != "" {
				words = append(words, option[0], option[1])
			}
		}
	}
	if e.Username != "" {
		words = append(words, "--user", e.Username)
	}
	if e.Password != "" {
		words = append(words, "--askpass")
	}
	words = append(words, args...)
	for i, word := range words {
		words[i] = ShellQuote(word)
	}
	return strings.Join(words, " ")
}

// ShellQuote leaves a word as it is when a shell would, too.
func ShellQuote(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
