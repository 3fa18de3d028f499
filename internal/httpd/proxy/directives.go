package proxy

import (
	"github.com/baton-deploy/baton/internal/conf"
)

func directives() []conf.Spec {
	const hsl = conf.HTTPServerLocation
	own := []conf.Spec{
		{Name: "proxy_pass", In: conf.Location | conf.LocationIf | conf.LimitExcept, Min: 1, Max: 1},
		{Name: "proxy_redirect", In: hsl, Min: 1, Max: 2, Repeat: true},
		{Name: "proxy_cookie_domain", In: hsl, Min: 1, Max: 2, Repeat: true},
		{Name: "proxy_cookie_path", In: hsl, Min: 1, Max: 2, Repeat: true},
		{Name: "proxy_set_header", In: hsl, Min: 2, Max: 2, Repeat: true},
		{Name: "proxy_set_body", In: hsl, Min: 1, Max: 1},
		{Name: "proxy_method", In: hsl, Min: 1, Max: 1},
		{Name: "proxy_http_version", In: hsl, Min: 1, Max: 1, Check: checkVersion},
		{Name: "proxy_headers_hash_max_size", In: hsl, Min: 1, Max: 1, Check: conf.CheckNumber,
			Effect: conf.NoEffect, Note: "Tables grow by themselves."},
		{Name: "proxy_headers_hash_bucket_size", In: hsl, Min: 1, Max: 1, Check: conf.CheckNumber,
			Effect: conf.NoEffect, Note: "Tables grow by themselves."},
		{Name: "proxy_send_lowat", In: hsl, Min: 1, Max: 1, Check: conf.CheckSize,
			Effect: conf.NoEffect, Note: "FreeBSD only, in nginx too."},
	}
	own = append(own, kind().SecurityDirectives()...)
	return append(own, kind().Directives()...)
}

func checkVersion(d *conf.Directive) error {
	if v := d.Arg(0); v != "1.0" && v != "1.1" {
		return conf.Errorf(d, "invalid value \"%s\"", v)
	}
	return nil
}
