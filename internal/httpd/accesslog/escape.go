package accesslog

// An escape makes a variable's value, dst[at:], fit to stand in a log; ok tells
// whether the variable has a value.
type escape func(dst []byte, at int, ok bool) []byte

const hexDigits = "0123456789ABCDEF"

// escapeDefault writes what could break a line or a quoted field as \xHH, and a
// missing value as "-".
func escapeDefault(dst []byte, at int, ok bool) []byte {
	if !ok {
		return append(dst[:at], '-')
	}
	return rewrite(dst, at, &badInText, appendHex)
}

// escapeJSON writes what a JSON string cannot hold as JSON has it. A missing value
// is empty.
func escapeJSON(dst []byte, at int, ok bool) []byte {
	if !ok {
		return dst[:at]
	}
	return rewrite(dst, at, &badInJSON, appendJSON)
}

func appendHex(dst []byte, c byte) []byte {
	return append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
}

func appendJSON(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// escapeNone leaves values as they are. A missing value is empty.
func escapeNone(dst []byte, at int, ok bool) []byte {
	if !ok {
		return dst[:at]
	}
	return dst
}

// Which bytes cannot stand as they are. Tables, for every byte of every log line is
// looked at.
var (
	badInText = tableOf(func(c byte) bool { return c < ' ' || c >= 0x7f || c == '"' || c == '\\' })
	badInJSON = tableOf(func(c byte) bool { return c < ' ' || c == '"' || c == '\\' })
)

func tableOf(bad func(byte) bool) (table [256]bool) {
	for c := range table {
		table[c] = bad(byte(c))
	}
	return table
}

// rewrite replaces the bytes of dst[at:] that are bad. Most values have none and
// stay as they are.
func rewrite(dst []byte, at int, bad *[256]bool, put func([]byte, byte) []byte) []byte {
	i := at
	for i < len(dst) && !bad[dst[i]] {
		i++
	}
	if i == len(dst) {
		return dst
	}
	value := append([]byte(nil), dst[i:]...)
	dst = dst[:i]
	for _, c := range value {
		if bad[c] {
			dst = put(dst, c)
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
