package gateway

import "github.com/baton-deploy/baton/internal/conf"

// Directives are those that all modules that pass requests on have, with k's prefix.
func (k *Kind) Directives() []conf.Spec {
	const hsl = conf.HTTPServerLocation
	one := func(name string) conf.Spec {
		return conf.Spec{Name: k.Prefix + "_" + name, In: hsl, Min: 1, Max: 1}
	}
	flag := func(name string) conf.Spec {
		s := one(name)
		s.Flag = true
		return s
	}
	return []conf.Spec{
		repeat(one("hide_header")),
		repeat(one("pass_header")),
		checked(many(one("ignore_headers"), 1, conf.AnyArgs), checkIgnored),
		flag("pass_request_headers"),
		flag("pass_request_body"),
		checked(one("connect_timeout"), conf.CheckTime),
		checked(one("send_timeout"), conf.CheckTime),
		checked(one("read_timeout"), conf.CheckTime),
		checked(many(one("next_upstream"), 1, conf.AnyArgs), k.checkNext),
		checked(one("next_upstream_tries"), conf.CheckNumber),
		checked(one("next_upstream_timeout"), conf.CheckTime),
		checked(one("limit_rate"), conf.CheckSize),
		noted(flag("buffering"), "An answer is passed on as it comes, and kept when its client is slow; off sends each piece at once and keeps nothing."),
		flag("request_buffering"),
		checked(one("buffer_size"), conf.CheckSize),
		noted(checked(many(one("buffers"), 2, 2), checkBuffers), "As much is kept in memory for a slow client, in buffers of our own size."),
		checked(none(one("busy_buffers_size"), "What is kept and what is sent do not share buffers."), conf.CheckSize),
		checked(one("max_temp_file_size"), conf.CheckSize),
		checked(one("temp_file_write_size"), conf.CheckSize),
		checked(many(one("temp_path"), 1, 4), conf.CheckTempPath),
		flag("intercept_errors"),
		flag("ignore_client_abort"),
		flag("socket_keepalive"),
		noted(many(one("bind"), 1, 2), "An address or off, without variables; \"transparent\" is not supported."),
		noted(flag("force_ranges"), "One range, as in nginx without a cache."),
	}
}

func many(s conf.Spec, lo, hi int) conf.Spec {
	s.Min, s.Max = lo, hi
	return s
}

func repeat(s conf.Spec) conf.Spec {
	s.Repeat = true
	return s
}

func none(s conf.Spec, note string) conf.Spec {
	s.Effect, s.Note = conf.NoEffect, note
	return s
}

func reads(s conf.Spec) conf.Spec {
	s.Reads = true
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

func (k *Kind) checkNext(d *conf.Directive) error {
	_, err := k.nextUpstream(d)
	return err
}

func checkIgnored(d *conf.Directive) error {
	_, err := ignoredFields(d)
	return err
}
