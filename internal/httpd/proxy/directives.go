package proxy

import "github.com/baton-deploy/baton/internal/conf"

func directives() []conf.Spec {
	const hsl = conf.HTTPServerLocation
	one := func(name string) conf.Spec { return conf.Spec{Name: name, In: hsl, Min: 1, Max: 1} }
	flag := func(name string) conf.Spec { return conf.Spec{Name: name, In: hsl, Min: 1, Max: 1, Flag: true} }
	many := func(s conf.Spec, lo, hi int) conf.Spec {
		s.Min, s.Max = lo, hi
		return s
	}
	return []conf.Spec{
		{Name: "proxy_pass", In: conf.Location | conf.LocationIf | conf.LimitExcept, Min: 1, Max: 1,
			Note: "https:// is not supported."},
		repeat(many(one("proxy_redirect"), 1, 2)),
		repeat(many(one("proxy_cookie_domain"), 1, 2)),
		repeat(many(one("proxy_cookie_path"), 1, 2)),
		repeat(many(one("proxy_set_header"), 2, 2)),
		repeat(one("proxy_hide_header")),
		repeat(one("proxy_pass_header")),
		checked(many(one("proxy_ignore_headers"), 1, conf.AnyArgs), checkIgnored),
		flag("proxy_pass_request_headers"),
		flag("proxy_pass_request_body"),
		one("proxy_set_body"),
		one("proxy_method"),
		checked(one("proxy_http_version"), checkVersion),
		checked(one("proxy_connect_timeout"), conf.CheckTime),
		checked(one("proxy_send_timeout"), conf.CheckTime),
		checked(one("proxy_read_timeout"), conf.CheckTime),
		checked(many(one("proxy_next_upstream"), 1, conf.AnyArgs), checkNext),
		checked(one("proxy_next_upstream_tries"), conf.CheckNumber),
		checked(one("proxy_next_upstream_timeout"), conf.CheckTime),
		noted(flag("proxy_buffering"), "An answer is passed on as it comes, and kept when its client is slow; off sends each piece at once and keeps nothing."),
		flag("proxy_request_buffering"),
		checked(one("proxy_buffer_size"), conf.CheckSize),
		noted(checked(many(one("proxy_buffers"), 2, 2), checkBuffers), "As much is kept in memory for a slow client, in buffers of our own size."),
		checked(none(one("proxy_busy_buffers_size"), "What is kept and what is sent do not share buffers."), conf.CheckSize),
		checked(one("proxy_max_temp_file_size"), conf.CheckSize),
		checked(one("proxy_temp_file_write_size"), conf.CheckSize),
		checked(many(one("proxy_temp_path"), 1, 4), conf.CheckTempPath),
		flag("proxy_intercept_errors"),
		flag("proxy_ignore_client_abort"),
		flag("proxy_socket_keepalive"),
		noted(many(one("proxy_bind"), 1, 2), "An address or off, without variables; \"transparent\" is not supported."),
		checked(none(one("proxy_headers_hash_max_size"), "Tables grow by themselves."), conf.CheckNumber),
		checked(none(one("proxy_headers_hash_bucket_size"), "Tables grow by themselves."), conf.CheckNumber),
		checked(none(one("proxy_send_lowat"), "FreeBSD only, in nginx too."), conf.CheckSize),
		none(flag("proxy_force_ranges"), "Ranges are left to the server behind."),
	}
}

func repeat(s conf.Spec) conf.Spec {
	s.Repeat = true
	return s
}

func none(s conf.Spec, note string) conf.Spec {
	s.Effect, s.Note = conf.NoEffect, note
	return s
}

func noted(s conf.Spec, note string) conf.Spec {
	s.Note = note
	return s
}

func checked(s conf.Spec, check func(*conf.Directive) error) conf.Spec {
	s.Check = check
	return s
}

func checkVersion(d *conf.Directive) error {
	if v := d.Arg(0); v != "1.0" && v != "1.1" {
		return conf.Errorf(d, "invalid value \"%s\"", v)
	}
	return nil
}

func checkNext(d *conf.Directive) error {
	_, err := nextUpstream(d)
	return err
}

func checkIgnored(d *conf.Directive) error {
	_, err := ignoredFields(d)
	return err
}
