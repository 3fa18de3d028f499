package autoindex

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// nameWidth is how many characters of a name are shown: bytes, unless the page is said to
// be in UTF-8.
const nameWidth = 50

// A page is what is said of all names on it.
type page struct {
	*list
	uri  string
	utf8 bool
}

// appendHTML appends nginx's page.
func appendHTML(b []byte, l page, entries []entry) []byte {
	title := escapeHTML(l.uri)
	b = append(b, "<html>\r\n<head><title>Index of "+title+"</title></head>\r\n<body>\r\n<h1>Index of "+title+
		"</h1><hr><pre><a href=\"../\">../</a>\r\n"...)
	for i := range entries {
		e := &entries[i]
		b = append(b, "<a href=\""...)
		b = appendComponent(b, e.name)
		if e.dir {
			b = append(b, '/')
		}
		b = append(b, "\">"...)
		b = l.appendName(b, e)
		when := e.modified.UTC()
		if l.local {
			when = e.modified.Local()
		}
		b = when.AppendFormat(append(b, ' '), "02-Jan-2006 15:04 ")
		b = l.appendSize(b, e)
		b = append(b, "\r\n"...)
	}
	return append(b, "</pre><hr></body>\r\n</html>\r\n"...)
}

// appendName appends a name in its column.
func (l page) appendName(b []byte, e *entry) []byte {
	n, cut := len(e.name), min(len(e.name), nameWidth-3)
	if l.utf8 && utf8.ValidString(e.name) {
		if n = utf8.RuneCountInString(e.name); n > nameWidth {
			cut = len(string([]rune(e.name)[:nameWidth-3]))
		}
	}
	if n > nameWidth {
		return append(append(b, escapeHTML(e.name[:cut])...), "..&gt;</a>"...)
	}
	b = append(b, escapeHTML(e.name)...)
	if e.dir && n < nameWidth {
		b = append(b, '/')
		n++
	}
	b = append(b, "</a>"...)
	return append(b, strings.Repeat(" ", nameWidth-n)...)
}

// appendSize appends the column of sizes: bytes, or rounded to K, M or G.
func (l *list) appendSize(b []byte, e *entry) []byte {
	switch {
	case l.exact && e.dir:
		return fmt.Appendf(b, "%19s", "-")
	case l.exact:
		return fmt.Appendf(b, "%19d", e.size)
	case e.dir:
		return fmt.Appendf(b, "%7s", "-")
	}
	for _, u := range []struct {
		above, unit int64
		letter      string
	}{{1<<30 - 1, 1 << 30, "G"}, {1<<20 - 1, 1 << 20, "M"}, {9999, 1 << 10, "K"}} {
		if e.size > u.above {
			n := e.size / u.unit
			if e.size%u.unit > u.unit/2-1 {
				n++
			}
			return fmt.Appendf(b, "%6d%s", n, u.letter)
		}
	}
	return fmt.Appendf(b, " %6d", e.size)
}

// appendJSON appends nginx's array of objects.
func appendJSON(b []byte, entries []entry) []byte {
	b = append(b, '[')
	for i := range entries {
		e := &entries[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, "\r\n"...)
		kind := e.kind()
		b = append(b, `{ "name":"`...)
		b = appendJSONText(b, e.name)
		b = append(b, `", "type":"`+kind+`", "mtime":"`...)
		b = e.modified.UTC().AppendFormat(b, http.TimeFormat)
		b = append(b, '"')
		if e.regular {
			b = append(b, `, "size":`...)
			b = strconv.AppendInt(b, e.size, 10)
		}
		b = append(b, " }"...)
	}
	return append(b, "\r\n]"...)
}

// appendXML appends nginx's list of elements.
func appendXML(b []byte, entries []entry) []byte {
	b = append(b, "<?xml version=\"1.0\"?>\r\n<list>\r\n"...)
	for i := range entries {
		e := &entries[i]
		kind := e.kind()
		b = append(b, "<"+kind+" mtime=\""...)
		b = e.modified.UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
		if kind == "file" {
			b = append(b, "\" size=\""...)
			b = strconv.AppendInt(b, e.size, 10)
		}
		b = append(b, "\">"+escapeHTML(e.name)+"</"+kind+">\r\n"...)
	}
	return append(b, "</list>\r\n"...)
}

// kind is what nginx calls an entry.
func (e *entry) kind() string {
	switch {
	case e.dir:
		return "directory"
	case e.regular:
		return "file"
	}
	return "other"
}

func appendJSONText(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04X`, c)
		default:
			b = append(b, c)
		}
	}
	return b
}

// escapeHTML escapes what would be markup.
func escapeHTML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}

// appendComponent appends a name as a part of a URI: only what RFC 3986 calls
// unreserved stays as it is.
func appendComponent(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0:
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
