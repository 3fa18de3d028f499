package gateway

// Lower is name in lower case, in buf when it fits.
func Lower(buf *[64]byte, name []byte) []byte {
	out := buf[:0]
	if len(name) > len(buf) {
		out = make([]byte, 0, len(name))
	}
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		out = append(out, c)
	}
	return out
}

// IsName compares a field's name with a lower-case one.
func IsName(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
