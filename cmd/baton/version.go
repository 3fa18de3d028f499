package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// printVersion writes what -v, -V and -h show, to stderr as nginx does. The
// first line has nginx's form, which tools parse, whatever the file is called.
func (p *program) printVersion(o options) {
	fmt.Fprintf(p.stderr, "nginx version: baton/%s\n", version)
	if o.help {
		fmt.Fprint(p.stderr, p.help())
	}
	if o.configure {
		fmt.Fprintf(p.stderr, "built with %s\n", runtime.Version())
		fmt.Fprintf(p.stderr, "configure arguments: %s\n", strings.Join(p.configureArguments(moduleNames()), " "))
	}
}

// help returns nginx's help text, and our verbs after it.
func (p *program) help() string {
	var b strings.Builder
	indent := strings.Repeat(" ", len("Usage: ")+len(p.word)+1)
	fmt.Fprintf(&b, "Usage: %s [-?hvVtTq] [-s signal] [-p prefix]\n", p.word)
	fmt.Fprintf(&b, "%s[-e filename] [-c filename] [-g directives]\n\nOptions:\n", indent)
	defaults := map[string]string{"p": p.paths.dir(), "e": p.paths.errorLog, "c": p.paths.conf}
	for _, opt := range optionTable() {
		fmt.Fprintf(&b, "  %-14s: %s", opt.synopsis(), opt.help)
		if d, ok := defaults[opt.letters]; ok {
			fmt.Fprintf(&b, " (default: %s)", d)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\nVerbs (VERB --help tells more):\n")
	for _, c := range p.commands().Commands() {
		if !c.Hidden {
			fmt.Fprintf(&b, "  %-14s: %s\n", c.Name(), c.Short)
		}
	}
	b.WriteByte('\n')
	return b.String()
}

// synopsis returns "-?,-h" or "-s signal".
func (o option) synopsis() string {
	var letters []string
	for i := range len(o.letters) {
		letters = append(letters, "-"+o.letters[i:i+1])
	}
	s := strings.Join(letters, ",")
	if o.arg != "" {
		s += " " + o.arg
	}
	return s
}

// configureArguments tells in the words of nginx's configure what this build
// is: its paths, the optional modules of nginx that it has, and the default
// ones that it has not. have is nginx's names of the modules that work.
func (p *program) configureArguments(have []string) []string {
	args := []string{
		"--prefix=" + p.paths.prefix,
		"--conf-path=" + p.paths.conf,
		"--pid-path=" + p.paths.pid,
		"--error-log-path=" + p.paths.errorLog,
		"--http-log-path=" + p.paths.httpLog,
	}
	for _, m := range optionalModules() {
		if slices.Contains(have, "ngx_"+m) {
			args = append(args, "--with-"+m)
		}
	}
	for _, m := range defaultModules() {
		if !slices.Contains(have, "ngx_"+m) {
			args = append(args, "--without-"+m)
		}
	}
	return args
}

// optionalModules returns the modules that nginx has only with --with-NAME.
func optionalModules() []string {
	return []string{
		"http_ssl_module", "http_v2_module", "http_v3_module", "http_realip_module", "http_addition_module",
		"http_xslt_module", "http_image_filter_module", "http_geoip_module", "http_sub_module", "http_dav_module",
		"http_flv_module", "http_mp4_module", "http_gunzip_module", "http_gzip_static_module",
		"http_auth_request_module", "http_random_index_module", "http_secure_link_module",
		"http_degradation_module", "http_slice_module", "http_stub_status_module", "http_perl_module",
	}
}

// defaultModules returns the modules that nginx has but with --without-NAME.
func defaultModules() []string {
	return []string{
		"http_charset_module", "http_gzip_module", "http_ssi_module", "http_userid_module", "http_access_module",
		"http_auth_basic_module", "http_mirror_module", "http_autoindex_module", "http_geo_module",
		"http_map_module", "http_split_clients_module", "http_referer_module", "http_rewrite_module",
		"http_proxy_module", "http_fastcgi_module", "http_uwsgi_module", "http_scgi_module", "http_grpc_module",
		"http_memcached_module", "http_limit_conn_module", "http_limit_req_module", "http_empty_gif_module",
		"http_browser_module", "http_upstream_hash_module", "http_upstream_ip_hash_module",
		"http_upstream_least_conn_module", "http_upstream_random_module", "http_upstream_keepalive_module",
		"http_upstream_zone_module",
	}
}
