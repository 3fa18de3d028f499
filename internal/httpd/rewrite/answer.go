package rewrite

import (
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// An answer is "return code [text]", "return code URL" or "return URL".
type answer struct {
	status int
	text   httpd.Template
	static []byte // text without variables, else nil
	plain  bool   // there is no text
}

func (in instance) newAnswer(d *conf.Directive) (step, error) {
	a := new(answer)
	text := d.Arg(1)
	code, err := strconv.Atoi(d.Arg(0))
	switch isNumber := err == nil && code >= 0 && d.Arg(0)[0] != '+'; {
	case isNumber && code > 999, !isNumber && (len(d.Args) == 2 || !isRedirect(d.Arg(0))):
		return nil, conf.Errorf(d, "invalid return code \"%s\"", d.Arg(0))
	case isNumber:
		a.status = code
	default:
		a.status, text = 302, d.Arg(0)
	}
	if a.text, err = in.b.Template(d, text); err != nil {
		return nil, err
	}
	if s, ok := a.text.Static(); ok {
		a.static = []byte(s)
		a.plain = s == ""
	}
	return a, nil
}

// isRedirect reports whether a text is a URL to redirect to.
func isRedirect(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "$scheme")
}

func (a *answer) do(r *httpd.Request) int {
	if a.plain && (a.status >= 400 || a.status == 0) {
		return a.status
	}
	r.Out.Status = a.status // $status in the text
	switch a.status {
	case 301, 302, 303, 307, 308:
		if r.Out.Location = a.static; a.static == nil {
			r.Out.Location = a.text.AppendURL(nil, r)
		}
		return a.status
	}
	text := a.static
	if text == nil {
		text = a.text.Append(nil, r)
	}
	r.Out.Conditional = true
	return r.Out.Send(a.status, r.MimeType(), text)
}
