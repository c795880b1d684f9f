package persist

// ParseManifest gives the names of the files that a manifest has loaded, in order.
func ParseManifest(text []byte) (names []string, err error) {
	m, err := parseManifest(text)
	for _, f := range m.files {
		names = append(names, f.name)
	}
	return names, err
}
