package httpd

import (
	"slices"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
)

// CoreGroup is the directives of the HTTP core module, which is part of this
// package and always there.
func CoreGroup() conf.Group {
	return conf.Group{
		Module: "ngx_http_core_module",
		Specs:  slices.Concat(placeSpecs(), transferSpecs(), idleSpecs(), idleTableSpecs()),
	}
}

// Where most directives stand.
const (
	hsl = conf.HTTPServerLocation
	hs  = conf.HTTP | conf.Server
)

func one(name string, in conf.Context) conf.Spec {
	return conf.Spec{Name: name, In: in, Min: 1, Max: 1}
}

func flag(name string, in conf.Context) conf.Spec {
	return conf.Spec{Name: name, In: in, Min: 1, Max: 1, Flag: true}
}

func none(s conf.Spec, note string) conf.Spec {
	s.Effect, s.Note = conf.NoEffect, note
	return s
}

func args(s conf.Spec, lo, hi int) conf.Spec {
	s.Min, s.Max = lo, hi
	return s
}

func repeat(s conf.Spec) conf.Spec {
	s.Repeat = true
	return s
}

// checked is for what has no effect, too: a wrong value is an error all the same.
func checked(s conf.Spec, check func(*conf.Directive) error) conf.Spec {
	s.Check = check
	return s
}

// placeSpecs say where and as what something is served.
func placeSpecs() []conf.Spec {
	return []conf.Spec{
		{Name: "http", In: conf.Main, Block: true, Inner: conf.HTTP},
		{Name: "server", In: conf.HTTP, Block: true, Inner: conf.Server, Repeat: true},
		{Name: "location", In: conf.Server | conf.Location, Min: 1, Max: 2, Block: true, Inner: conf.Location, Repeat: true},
		{Name: "types", In: hsl, Block: true, Inner: conf.Types, Free: true, Repeat: true},
		repeat(args(one("listen", conf.Server), 1, conf.AnyArgs)),
		repeat(args(one("server_name", conf.Server), 1, conf.AnyArgs)),
		repeat(args(one("error_page", hsl|conf.LocationIf), 2, conf.AnyArgs)),
		{
			Name: "error_log", In: hsl, Min: 1, Max: conf.AnyArgs, Repeat: true, Check: conf.CheckErrorLog,
			Note: "Files and stderr; not syslog: and memory:. The debug_ levels are debug.",
		},
		one("root", hsl|conf.LocationIf),
		one("alias", conf.Location),
		one("default_type", hsl),
		flag("etag", hsl),
		one("server_tokens", hsl),
		flag("absolute_redirect", hsl),
		flag("port_in_redirect", hsl),
		flag("server_name_in_redirect", hsl),
		flag("recursive_error_pages", hsl),
		flag("msie_padding", hsl),
		flag("chunked_transfer_encoding", hsl),
		flag("merge_slashes", hs),
		flag("underscores_in_headers", hs),
		flag("ignore_invalid_headers", hs),
		args(one("internal", conf.Location), 0, 0),
	}
}

// transferSpecs say how requests come and responses go.
func transferSpecs() []conf.Spec {
	return []conf.Spec{
		one("client_max_body_size", hsl),
		one("client_body_buffer_size", hsl),
		one("client_body_timeout", hsl),
		one("client_header_timeout", hs),
		one("client_header_buffer_size", hs),
		args(one("large_client_header_buffers", hs), 2, 2),
		checked(one("max_headers", hs), conf.CheckNumber),
		one("send_timeout", hsl),
		args(one("keepalive_timeout", hsl), 1, 2),
		one("keepalive_requests", hsl),
		checked(one("keepalive_time", hsl), conf.CheckTime),
		checked(args(one("keepalive_disable", hsl), 1, 2), checkBrowsers),
		one("lingering_close", hsl),
		one("lingering_time", hsl),
		one("lingering_timeout", hsl),
		flag("reset_timedout_connection", hsl),
		flag("sendfile", hsl|conf.LocationIf),
		one("limit_rate", hsl|conf.LocationIf),
		one("limit_rate_after", hsl|conf.LocationIf),
		one("max_ranges", hsl),
		one("if_modified_since", hsl),
		args(one("open_file_cache", hsl), 1, 2),
		one("open_file_cache_valid", hsl),
		one("open_file_cache_min_uses", hsl),
		flag("open_file_cache_errors", hsl),
		flag("log_not_found", hsl),
		args(one("disable_symlinks", hsl), 1, 2),
		checked(args(one("client_body_temp_path", hsl), 1, 4), conf.CheckTempPath),
		checked(one("client_body_in_file_only", hsl), conf.CheckEnum("off", "on", "clean")),
	}
}

// idleSpecs have no effect here.
func idleSpecs() []conf.Spec {
	return []conf.Spec{
		none(flag("tcp_nopush", hsl), "A response's head and body are sent together where they fit."),
		none(flag("tcp_nodelay", hsl), "Always on."),
		checked(none(one("sendfile_max_chunk", hsl), "A call sends 2 MB at most; a slow client delays no other."), conf.CheckSize),
		checked(none(one("send_lowat", hsl), "FreeBSD only, in nginx too."), conf.CheckSize),
		checked(none(one("postpone_output", hsl), "Small writes are gathered as the response is built."), conf.CheckSize),
		none(flag("log_subrequest", hsl), "There are no subrequests yet."),
		none(flag("client_body_in_single_buffer", hsl), "A body that is kept in memory is in one piece."),
	}
}

// idleTableSpecs are sizes of tables, pools and buffers of nginx, which have none here.
func idleTableSpecs() []conf.Spec {
	return []conf.Spec{
		checked(none(one("server_names_hash_max_size", conf.HTTP), "Tables grow by themselves."), conf.CheckNumber),
		checked(none(one("server_names_hash_bucket_size", conf.HTTP), "Tables grow by themselves."), conf.CheckNumber),
		checked(none(one("types_hash_max_size", hsl), "Tables grow by themselves."), conf.CheckNumber),
		checked(none(one("types_hash_bucket_size", hsl), "Tables grow by themselves."), conf.CheckNumber),
		checked(none(one("variables_hash_max_size", conf.HTTP), "Tables grow by themselves."), conf.CheckNumber),
		checked(none(one("variables_hash_bucket_size", conf.HTTP), "Tables grow by themselves."), conf.CheckNumber),
		checked(none(one("connection_pool_size", hs), "Memory is managed by the Go runtime."), conf.CheckSize),
		checked(none(one("request_pool_size", hs), "Memory is managed by the Go runtime."), conf.CheckSize),
		checked(none(args(one("output_buffers", hsl), 2, 2), "Buffers are chosen by the size of the file."), conf.CheckBuffers),
		checked(none(one("read_ahead", hsl), "Left to the kernel."), conf.CheckSize),
		checked(none(one("directio", hsl), "Left to the kernel."), checkDirectio),
		checked(none(one("directio_alignment", hsl), "Left to the kernel."), conf.CheckOffset),
		checked(none(one("aio", hsl), "A read from disk delays its own request only."), checkAIO),
		none(flag("aio_write", hsl), "A write to disk delays its own request only."),
	}
}

// checkDirectio wants "off" or a size.
func checkDirectio(d *conf.Directive) error {
	if d.Arg(0) == "off" {
		return nil
	}
	return conf.CheckOffset(d)
}

// checkAIO wants what nginx takes that is built with threads.
func checkAIO(d *conf.Directive) error {
	switch v := d.Arg(0); {
	case v == "on", v == "off", v == "threads", strings.HasPrefix(v, "threads=") && len(v) > len("threads="):
		return nil
	}
	return conf.Errorf(d, "\"aio\" directive invalid value")
}
