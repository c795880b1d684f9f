// Package glob matches key names as the servers do for KEYS, SCAN … MATCH and ACL
// rules.
package glob
