package conf

import "strings"

// matches reports whether a file's name matches pattern as fnmatch(3) has it in the C
// locale, where a character is a byte. Neither has a slash.
func matches(pattern, name string) bool {
	star, left := "", "" // what is behind the last star, and what of name it may still take
	for starred := false; ; {
		if strings.HasPrefix(pattern, "*") {
			starred = true
			star, left = pattern[1:], name
			pattern = star
			continue
		}
		if pattern == "" && name == "" {
			return true
		}
		if name != "" {
			if rest, ok := matchByte(pattern, name[0]); ok {
				pattern, name = rest, name[1:]
				continue
			}
		}
		if !starred || left == "" {
			return false
		}
		left = left[1:] // the star takes one more
		pattern, name = star, left
	}
}

// matchByte reports whether c is what pattern begins with, and returns what follows that.
func matchByte(pattern string, c byte) (rest string, ok bool) {
	switch {
	case pattern == "":
		return "", false
	case pattern[0] == '?':
		return pattern[1:], true
	case pattern[0] == '[':
		if in, rest, closed := bracket(pattern[1:], c); closed {
			return rest, in
		}
		// One that is open stands for itself.
	case pattern[0] == '\\' && len(pattern) > 1:
		pattern = pattern[1:]
	}
	return pattern[1:], pattern[0] == c
}

// bracket reports whether c is in the set that p begins with, behind its "[", and returns
// what follows its "]". closed is false when there is none.
func bracket(p string, c byte) (in bool, rest string, closed bool) {
	negated := p != "" && (p[0] == '!' || p[0] == '^')
	if negated {
		p = p[1:]
	}
	for first := true; ; first = false {
		switch {
		case p == "":
			return false, "", false
		case p[0] == ']' && !first:
			return in != negated, p[1:], true
		}
		if name, after, ok := named(p, ':'); ok {
			in = in || inClass(name, c)
			p = after
			continue
		}
		low, after, ok := element(p)
		if !ok {
			return false, "", false
		}
		high := low
		if len(after) > 1 && after[0] == '-' && after[1] != ']' {
			if high, after, ok = element(after[1:]); !ok {
				return false, "", false
			}
		}
		in = in || low <= c && c <= high
		p = after
	}
}

// element takes one character of a set: as it is, behind a backslash, or as [.x.] or [=x=].
func element(p string) (c byte, rest string, ok bool) {
	for _, kind := range []byte{'.', '='} {
		if name, after, ok := named(p, kind); ok && len(name) == 1 {
			return name[0], after, true
		}
	}
	if p[0] == '\\' {
		p = p[1:]
	}
	if p == "" {
		return 0, "", false
	}
	return p[0], p[1:], true
}

// named takes what stands between "[:" and ":]", or with other kinds of marks.
func named(p string, kind byte) (name, rest string, ok bool) {
	if len(p) < 2 || p[0] != '[' || p[1] != kind {
		return "", "", false
	}
	return strings.Cut(p[2:], string(kind)+"]")
}

// inClass reports whether c is of a class of characters; of an unknown one none is.
func inClass(class string, c byte) bool {
	lower, upper, digit := 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9'
	graph := 0x20 < c && c < 0x7f
	switch class {
	case "alpha":
		return lower || upper
	case "lower":
		return lower
	case "upper":
		return upper
	case "digit":
		return digit
	case "alnum":
		return lower || upper || digit
	case "xdigit":
		return digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
	case "blank":
		return c == ' ' || c == '\t'
	case "space":
		return c == ' ' || '\t' <= c && c <= '\r'
	case "cntrl":
		return c < 0x20 || c == 0x7f
	case "graph":
		return graph
	case "print":
		return graph || c == ' '
	case "punct":
		return graph && !lower && !upper && !digit
	}
	return false
}
