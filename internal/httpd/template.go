package httpd

import (
	"bytes"
	"fmt"
	"strings"
)

// A Variable appends its value for r to dst and reports whether it has one. For
// a prefix variable ("http_") name is the whole name that was asked for;
// otherwise it is the variable's own. It is called on the connection's goroutine.
type Variable func(r *Request, name string, dst []byte) ([]byte, bool)

// A Template is text with variables in it, as nginx.conf has it almost
// everywhere: "http://$host${request_uri}". The zero Template is the empty text.
type Template struct {
	text  string // whole text when there is no variable in it
	parts []part
}

type part struct {
	lit   string
	name  string
	value Variable // nil for a literal
	group int      // capture number $1 to $9, 0 for none
}

// Static returns the text and true when no variable is in it.
func (t *Template) Static() (string, bool) { return t.text, t.parts == nil }

// Append appends the text for r to dst. A variable without a value is empty.
func (t *Template) Append(dst []byte, r *Request) []byte {
	if t.parts == nil {
		return append(dst, t.text...)
	}
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.value != nil:
			dst, _ = p.value(r, p.name, dst)
		case p.group > 0:
			dst = append(dst, r.capture(p.group)...)
		default:
			dst = append(dst, p.lit...)
		}
	}
	return dst
}

// A quoting is what [Template.appendQuoted] makes of values.
type quoting uint8

const (
	quoteGroups quoting = 1 << iota // groups are arguments
	quoteHash                       // no value has a number sign of the client's
)

// AppendArgument is [Template.Append] for what becomes arguments: groups of the last
// match are escaped if the client's own URI had escapes in it.
func (t *Template) AppendArgument(dst []byte, r *Request) []byte {
	return t.appendQuoted(dst, r, quoteGroups)
}

// AppendSet is [Template.Append] for a value in a script: as for nginx it is
// [Template.AppendArgument] until a rewrite in the script has matched.
func (t *Template) AppendSet(dst []byte, r *Request) []byte {
	if r.plainGroups {
		return t.Append(dst, r)
	}
	return t.appendQuoted(dst, r, quoteGroups)
}

// AppendURL is [Template.Append] for a URL that a client is sent to. What follows a
// number sign there is a fragment: one that the client has brought in begins none.
func (t *Template) AppendURL(dst []byte, r *Request) []byte {
	return t.appendQuoted(dst, r, quoteHash)
}

// AppendRedirect is both, for a rewrite that redirects.
func (t *Template) AppendRedirect(dst []byte, r *Request) []byte {
	return t.appendQuoted(dst, r, quoteGroups|quoteHash)
}

func (t *Template) appendQuoted(dst []byte, r *Request, q quoting) []byte {
	if t.parts == nil {
		return append(dst, t.text...)
	}
	for i := range t.parts {
		p := &t.parts[i]
		at := len(dst)
		switch {
		case p.value != nil:
			dst, _ = p.value(r, p.name, dst)
		case p.group == 0:
			dst = append(dst, p.lit...)
			continue
		case q&quoteGroups != 0 && bytes.ContainsAny(r.rawPath, "%+"):
			dst = escapeArgument(dst, r.capture(p.group))
		default:
			dst = append(dst, r.capture(p.group)...)
		}
		if q&quoteHash != 0 && bytes.IndexByte(dst[at:], '#') >= 0 && r.sentHash() {
			dst = append(dst[:at], bytes.ReplaceAll(dst[at:], []byte("#"), []byte("%23"))...)
		}
	}
	return dst
}

// sentHash reports whether the client's target has a number sign in it, escaped or not.
func (r *Request) sentHash() bool {
	return bytes.IndexByte(r.target, '#') >= 0 || bytes.Contains(r.target, []byte("%23"))
}

// AppendEscaped is [Template.Append] for a place where values must not be taken for
// text of the template: after each variable it calls escape with what is appended
// so far, where the value begins, and whether there is one. escape returns dst
// with the value as it is to be.
func (t *Template) AppendEscaped(dst []byte, r *Request, escape func(dst []byte, at int, ok bool) []byte) []byte {
	if t.parts == nil {
		return append(dst, t.text...)
	}
	for i := range t.parts {
		p := &t.parts[i]
		if p.value == nil && p.group == 0 {
			dst = append(dst, p.lit...)
			continue
		}
		at, ok := len(dst), true
		if p.value != nil {
			dst, ok = p.value(r, p.name, dst)
		} else {
			dst = append(dst, r.capture(p.group)...)
		}
		dst = escape(dst, at, ok)
	}
	return dst
}

// String returns the text for r.
func (t *Template) String(r *Request) string {
	if t.parts == nil {
		return t.text
	}
	return string(t.Append(nil, r))
}

// A variables table resolves names to variables.
type variables struct {
	exact  map[string]Variable
	prefix []prefixVariable
	bodies bool // a template has $request_body in it
}

type prefixVariable struct {
	prefix string
	value  Variable
}

// add registers v. The first one to bring a name keeps it.
func (vs *variables) add(name string, v Variable) {
	if strings.HasSuffix(name, "_") {
		vs.prefix = append(vs.prefix, prefixVariable{name, v})
		return
	}
	if vs.exact == nil {
		vs.exact = map[string]Variable{}
	}
	if _, ok := vs.exact[name]; !ok {
		vs.exact[name] = v
	}
}

// lookup finds a variable by its name, or nil.
func (vs *variables) lookup(name string) Variable {
	if v, ok := vs.exact[name]; ok {
		return v
	}
	var found prefixVariable
	for _, p := range vs.prefix {
		if strings.HasPrefix(name, p.prefix) && len(p.prefix) > len(found.prefix) {
			found = p
		}
	}
	return found.value
}

// template compiles text. Its errors are worded as nginx words them, without
// file and line.
func (vs *variables) template(text string) (Template, error) {
	if strings.IndexByte(text, '$') < 0 {
		return Template{text: text}, nil
	}
	var t Template
	for len(text) > 0 {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			t.parts = append(t.parts, part{lit: text})
			break
		}
		if i > 0 {
			t.parts = append(t.parts, part{lit: text[:i]})
		}
		name, rest, err := variableName(text[i+1:])
		if err != nil {
			return Template{}, err
		}
		text = rest
		if len(name) == 1 && name[0] >= '1' && name[0] <= '9' {
			t.parts = append(t.parts, part{group: int(name[0] - '0')})
			continue
		}
		v := vs.lookup(name)
		if v == nil {
			return Template{}, fmt.Errorf("unknown %q variable", name)
		}
		if name == bodyVariable {
			vs.bodies = true
		}
		t.parts = append(t.parts, part{name: name, value: v})
	}
	return t, nil
}

// variableName splits "name…" or "{name}…", what follows a dollar sign.
func variableName(s string) (name, rest string, err error) {
	if s == "" {
		return "", "", fmt.Errorf("invalid variable name")
	}
	if s[0] == '{' {
		name, rest, ok := strings.Cut(s[1:], "}")
		if !ok {
			return "", "", fmt.Errorf("the closing bracket in %q variable is missing", s[1:])
		}
		if name == "" {
			return "", "", fmt.Errorf("invalid variable name")
		}
		return name, rest, nil
	}
	if s[0] >= '1' && s[0] <= '9' {
		return s[:1], s[1:], nil
	}
	n := 0
	for n < len(s) && isNameByte(s[n]) {
		n++
	}
	if n == 0 {
		return "", "", fmt.Errorf("invalid variable name")
	}
	return s[:n], s[n:], nil
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
