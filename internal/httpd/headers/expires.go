package headers

import (
	"strconv"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// An expiry is one expires directive.
type expiry struct {
	rule  expiryRule
	value *httpd.Template // the rule in a variable; nil when it is fixed
}

// An expiryRule says when a response expires.
type expiryRule struct {
	kind expiryKind
	d    time.Duration // from now, from Last-Modified, or into the day
}

type expiryKind uint8

const (
	expiresOff expiryKind = iota
	expiresEpoch
	expiresMax
	expiresAccess
	expiresModified
	expiresDaily
)

// expiry reads "expires off | epoch | max | [modified] time"; d may be nil.
func (in instance) expiry(d *conf.Directive) (*expiry, error) {
	if d == nil {
		return nil, nil
	}
	text, modified := d.Arg(0), false
	if len(d.Args) == 2 {
		if d.Arg(0) != "modified" {
			return nil, conf.Errorf(d, "\"expires\" directive invalid value")
		}
		text, modified = d.Arg(1), true
	}
	t, err := in.b.Template(d, text)
	if err != nil {
		return nil, err
	}
	if _, ok := t.Static(); !ok {
		e := &expiry{value: &t}
		if modified {
			e.rule.kind = expiresModified
		}
		return e, nil
	}
	rule, problem := parseExpiry(text, modified)
	if problem != "" {
		return nil, conf.Errorf(d, "\"expires\" directive %s", problem)
	}
	if rule.kind == expiresOff {
		return nil, nil
	}
	return &expiry{rule: rule}, nil
}

// parseExpiry reads a rule; problem is what nginx says about a wrong one.
func parseExpiry(text string, modified bool) (r expiryRule, problem string) {
	if !modified {
		switch text {
		case "epoch":
			return expiryRule{kind: expiresEpoch}, ""
		case "max":
			return expiryRule{kind: expiresMax}, ""
		case "off":
			return expiryRule{}, ""
		}
	}
	r.kind = expiresAccess
	if modified {
		r.kind = expiresModified
	}
	rest, daily := strings.CutPrefix(text, "@")
	rest, minus := strings.CutPrefix(rest, "-")
	switch {
	case daily && minus:
		return r, "invalid value"
	case daily && modified:
		return r, "daily time cannot be used with \"modified\" parameter"
	}
	d, err := conf.ParseSeconds(strings.TrimPrefix(rest, "+"))
	if err != nil {
		return r, "invalid value"
	}
	if daily {
		if d > 24*time.Hour {
			return r, "daily time value must be less than 24 hours"
		}
		r.kind = expiresDaily
	}
	if minus {
		d = -d
	}
	r.d = d
	return r, ""
}

// apply sets Expires and Cache-Control in place of those that are there.
func (e *expiry) apply(r *httpd.Request) {
	rule := e.rule
	if e.value != nil {
		var problem string
		rule, problem = parseExpiry(e.value.String(r), rule.kind == expiresModified)
		if problem != "" {
			return
		}
	}
	o, now := &r.Out, time.Now()
	var at time.Time
	switch rule.kind {
	case expiresOff:
		return
	case expiresEpoch:
		set(o, "Thu, 01 Jan 1970 00:00:01 GMT", "no-cache")
		return
	case expiresMax:
		set(o, "Thu, 31 Dec 2037 23:55:55 GMT", "max-age=315360000")
		return
	case expiresDaily:
		at = midnight(now).Add(rule.d)
		if !at.After(now) {
			at = midnight(now.Add(24 * time.Hour)).Add(rule.d)
		}
	case expiresModified:
		at = now.Add(rule.d)
		if modified, ok := modifiedAt(o); ok {
			at = time.Unix(modified, 0).Add(rule.d)
		}
	default:
		at = now.Add(rule.d)
	}
	age := at.Unix() - now.Unix()
	control := "no-cache"
	if age >= 0 && rule.d >= 0 {
		control = "max-age=" + strconv.FormatInt(age, 10)
	}
	set(o, string(httpd.AppendDate(nil, at.Unix())), control)
}

// modifiedAt is when the content was modified: what a server behind us says counts, too.
func modifiedAt(o *httpd.Response) (unix int64, ok bool) {
	if unix, ok = o.Modified(); ok {
		return unix, ok
	}
	date := o.LastModified
	if date == nil {
		date = o.Get("Last-Modified")
	}
	return httpd.ParseDate(date)
}

// midnight is when the day of t began, by the local clock.
func midnight(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, t.Location())
}

func set(o *httpd.Response, expires, control string) {
	o.Set("Expires", []byte(expires))
	o.Set("Cache-Control", []byte(control))
}
