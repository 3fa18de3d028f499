package gateway

import (
	"bytes"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Params are what a CGI-like protocol tells a server about a request: the *_param
// directives, and the client's fields as HTTP_NAME.
type Params struct {
	list []param
	// replaced are the client's fields that are not passed on, lower-case and with
	// underscores: a parameter has their name.
	replaced map[string]bool
	fields   bool // the client's fields are passed on
	nul      bool // see Kind
}

type param struct {
	name   []byte
	value  httpd.Template
	filled bool // if_not_empty
}

const fieldPrefix = "HTTP_"

// NewParams reads the *_param directives of k in scope s, in a location with
// l's settings.
func NewParams(k *Kind, l *Location, b *httpd.Builder, s *conf.Scope) (*Params, error) {
	ps := &Params{replaced: map[string]bool{}, fields: l.passFields, nul: k.NUL}
	for _, d := range s.All(k.Prefix + "_param") {
		name, text := d.Arg(0), d.Arg(1)
		if field, ok := strings.CutPrefix(name, fieldPrefix); ok && field != "" {
			ps.replaced[strings.ToLower(field)] = true
			if text == "" {
				continue
			}
		}
		value, err := b.Template(d, text)
		if err != nil {
			return nil, err
		}
		ps.list = append(ps.list, param{[]byte(name), value, d.Arg(2) != ""})
	}
	return ps, nil
}

// ParamSpec describes the *_param directive of k.
func (k *Kind) ParamSpec() conf.Spec {
	return conf.Spec{Name: k.Prefix + "_param", In: conf.HTTPServerLocation, Min: 2, Max: 3, Repeat: true,
		Check: func(d *conf.Directive) error {
			if len(d.Args) == 3 && d.Arg(2) != "if_not_empty" {
				return conf.Errorf(d, "invalid parameter \"%s\"", d.Arg(2))
			}
			return nil
		}}
}

// Append appends all parameters of the request to dst, each by pair.
func (ps *Params) Append(x *Exchange, dst []byte, pair func(dst, name, value []byte) []byte) []byte {
	for i := range ps.list {
		p := &ps.list[i]
		x.value = p.value.Append(x.value[:0], x.R)
		if p.filled && len(x.value) == 0 {
			continue
		}
		if ps.nul && bytes.IndexByte(x.value, 0) >= 0 {
			x.R.Log(LevelError, "NUL in the parameter \""+string(p.name)+"\" for the server, which is not sent", nil)
			continue
		}
		dst = pair(dst, p.name, x.value)
	}
	if !ps.fields {
		return dst
	}
	x.collectFields()
	for i := range x.fields {
		f := &x.fields[i]
		if f.joined || len(ps.replaced) > 0 && ps.replaces(x, f.name) {
			continue
		}
		x.value = appendParamName(x.value[:0], f.name)
		name, value := len(x.value), f.value
		if f.next > 0 {
			x.value = x.appendJoined(x.value, i)
			value = x.value[name:]
		}
		dst = pair(dst, x.value[:name], value)
	}
	return dst
}

// A sentField is one of the client's on its way into a parameter.
type sentField struct {
	name, value []byte
	hash        uint32
	next        int  // of the same name; 0: there is none
	joined      bool // there is an earlier one of that name, which takes this one in
}

// collectFields reads the client's fields, and finds those that come several times: a
// server knows one parameter of a name.
func (x *Exchange) collectFields() {
	x.fields = x.fields[:0]
	x.R.EachField(func(name, value []byte) {
		x.fields = append(x.fields, sentField{name: name, value: value, hash: hashName(name)})
		x.join(len(x.fields) - 1)
	})
}

// join adds field i to an earlier one of its name.
func (x *Exchange) join(i int) {
	f := &x.fields[i]
	for j := range x.fields[:i] {
		if x.fields[j].hash != f.hash || !bytes.EqualFold(x.fields[j].name, f.name) {
			continue
		}
		for x.fields[j].next > 0 {
			j = x.fields[j].next
		}
		x.fields[j].next, f.joined = i, true
		return
	}
}

// hashName is FNV-1a of a field's name, in any case.
func hashName(name []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// appendJoined appends the values of field i and of those that it takes in.
func (x *Exchange) appendJoined(dst []byte, i int) []byte {
	between := ", "
	if IsName(x.fields[i].name, "cookie") {
		between = "; "
	}
	dst = append(dst, x.fields[i].value...)
	for i = x.fields[i].next; i > 0; i = x.fields[i].next {
		dst = append(append(dst, between...), x.fields[i].value...)
	}
	return dst
}

// appendParamName appends "HTTP_ACCEPT_LANGUAGE" for "Accept-Language".
func appendParamName(dst, name []byte) []byte {
	dst = append(dst, fieldPrefix...)
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z':
			c &^= 0x20
		case c == '-':
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// replaces reports whether a parameter stands for the client's field of that name.
func (ps *Params) replaces(x *Exchange, name []byte) bool {
	low := Lower(&x.name, name)
	if i := bytes.IndexByte(low, '-'); i >= 0 {
		for i, c := range low {
			if c == '-' {
				low[i] = '_'
			}
		}
	}
	return ps.replaced[string(low)]
}
