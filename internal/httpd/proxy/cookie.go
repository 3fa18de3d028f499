package proxy

import (
	"bytes"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/gateway"
)

// A cookieRule is one proxy_cookie_domain or proxy_cookie_path.
type cookieRule struct {
	from    httpd.Template
	pattern *httpd.Pattern
	to      httpd.Template
}

func (rd *reader) cookies(l *location) {
	l.cookieDomains = rd.cookieRules("proxy_cookie_domain")
	l.cookiePaths = rd.cookieRules("proxy_cookie_path")
}

func (rd *reader) cookieRules(name string) []cookieRule {
	var rules []cookieRule
	for _, d := range rd.s.All(name) {
		if len(d.Args) == 1 {
			if d.Arg(0) != "off" {
				rd.keep(conf.Errorf(d, "invalid parameter \"%s\"", d.Arg(0)))
			}
			return nil
		}
		var rule cookieRule
		var err error
		from := d.Arg(0)
		if strings.HasPrefix(from, "~") {
			fold := name == "proxy_cookie_domain" || strings.HasPrefix(from, "~*")
			rule.pattern, err = rd.b.Pattern(d, strings.TrimPrefix(from[1:], "*"), fold)
		} else {
			if name == "proxy_cookie_domain" {
				from = strings.TrimPrefix(from, ".")
			}
			rule.from, err = rd.b.Template(d, from)
		}
		rd.keep(err)
		to := d.Arg(1)
		if name == "proxy_cookie_domain" && rule.pattern == nil {
			to = strings.TrimPrefix(to, ".") // the cookie's own dot stays
		}
		rule.to, err = rd.b.Template(d, to)
		rd.keep(err)
		rules = append(rules, rule)
	}
	return rules
}

// cookie rewrites the attributes Domain and Path of a Set-Cookie field.
func (l *location) cookie(r *httpd.Request, value []byte) []byte {
	if l.cookieDomains == nil && l.cookiePaths == nil {
		return value
	}
	parts := bytes.Split(value, []byte(";"))
	changed := false
	for i, part := range parts {
		key, attr, ok := bytes.Cut(part, []byte("="))
		if i == 0 || !ok {
			continue
		}
		name := bytes.TrimSpace(key)
		var to []byte
		switch {
		case gateway.IsName(name, "domain"):
			to, ok = rewriteDomain(l.cookieDomains, r, attr)
		case gateway.IsName(name, "path"):
			to, ok = rewritePath(l.cookiePaths, r, attr)
		default:
			ok = false
		}
		if ok {
			parts[i] = append(append(append([]byte(nil), key...), '='), to...)
			changed = true
		}
	}
	if !changed {
		return value
	}
	return bytes.Join(parts, []byte(";"))
}

// rewriteDomain replaces a whole domain; a dot before it stays, but where an expression
// says what is replaced.
func rewriteDomain(rules []cookieRule, r *httpd.Request, domain []byte) ([]byte, bool) {
	bare := bytes.TrimPrefix(domain, []byte("."))
	dot := domain[:len(domain)-len(bare)]
	for i := range rules {
		rule := &rules[i]
		if rule.pattern != nil {
			if v, ok := r.Substitute(rule.pattern, &rule.to, domain); ok {
				return v, true
			}
			continue
		}
		if bytes.EqualFold(bare, rule.from.Append(nil, r)) {
			return rule.to.Append(append([]byte(nil), dot...), r), true
		}
	}
	return nil, false
}

// rewritePath replaces the beginning of a path.
func rewritePath(rules []cookieRule, r *httpd.Request, path []byte) ([]byte, bool) {
	for i := range rules {
		rule := &rules[i]
		if rule.pattern != nil {
			if v, ok := r.Substitute(rule.pattern, &rule.to, path); ok {
				return v, true
			}
			continue
		}
		if from := rule.from.Append(nil, r); bytes.HasPrefix(path, from) {
			return append(rule.to.Append(nil, r), path[len(from):]...), true
		}
	}
	return nil, false
}
