package accesslog

import (
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// combined is the format that is always there.
const combined = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`

// A format is one log_format.
type format struct {
	text   httpd.Template
	escape escape
}

// appendLine appends the line for r, with its end.
func (f *format) appendLine(dst []byte, r *httpd.Request) []byte {
	return append(f.text.AppendEscaped(dst, r, f.escape), '\n')
}

// readFormats reads the log_format directives of the http block.
func readFormats(b *httpd.Builder) (map[string]*format, error) {
	formats := map[string]*format{}
	text, err := b.Template(nil, combined)
	if err != nil {
		return nil, err
	}
	formats["combined"] = &format{text, escapeDefault}
	for _, d := range b.HTTP.Own("log_format") {
		name := d.Arg(0)
		if formats[name] != nil {
			return nil, conf.Errorf(d, `duplicate "log_format" name "%s"`, name)
		}
		if formats[name], err = readFormat(b, d); err != nil {
			return nil, err
		}
	}
	return formats, nil
}

func readFormat(b *httpd.Builder, d *conf.Directive) (*format, error) {
	f := &format{escape: escapeDefault}
	parts := d.Args[1:]
	if how, ok := strings.CutPrefix(parts[0], "escape="); ok {
		switch how {
		case "default":
		case "json":
			f.escape = escapeJSON
		case "none":
			f.escape = escapeNone
		default:
			return nil, conf.Errorf(d, `unknown log format escaping "%s"`, how)
		}
		parts = parts[1:]
	}
	var err error
	f.text, err = b.Template(d, strings.Join(parts, ""))
	return f, err
}
