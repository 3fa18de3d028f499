package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd/modules"
)

// printVersion writes what -v, -V and -h show, to stderr as nginx does. The
// first line has nginx's form, which tools parse, whatever the file is called.
func (p *program) printVersion(o options) {
	fmt.Fprintln(p.stderr, p.versionLine())
	if o.help {
		fmt.Fprint(p.stderr, p.help())
	}
	if !o.configure {
		return
	}
	fmt.Fprintf(p.stderr, "built with %s\nTLS SNI support enabled\n", runtime.Version())
	table, err := modules.Table()
	if err != nil {
		fmt.Fprintf(p.stderr, "%s: %v\n", p.word, err)
		return
	}
	fmt.Fprintf(p.stderr, "configure arguments: %s\n", strings.Join(p.configureArguments(table), " "))
}

// versionLine has nginx's form.
func (p *program) versionLine() string { return "nginx version: baton/" + version }

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
// ones that it has not.
func (p *program) configureArguments(t *conf.Table) []string {
	args := []string{
		"--prefix=" + p.paths.prefix,
		"--conf-path=" + p.paths.conf,
		"--pid-path=" + p.paths.pid,
		"--error-log-path=" + p.paths.errorLog,
		"--http-log-path=" + p.paths.httpLog,
	}
	works := map[string]bool{}
	for _, g := range t.Groups() {
		for _, s := range g.Specs {
			works[s.Name] = works[s.Name] || s.Effect == conf.Supported
		}
	}
	for _, m := range optionalModules() {
		if works[m.sign] {
			args = append(args, "--with-"+m.name)
		}
	}
	for _, m := range defaultModules() {
		if !works[m.sign] {
			args = append(args, "--without-"+m.name)
		}
	}
	if !works["proxy_cache"] {
		args = append(args, "--without-http-cache") // no module, but nginx has it by default
	}
	return args
}

// A nginxModule is a module as nginx's configure calls it. It works here when
// its sign does: the directive that nobody uses the module without. Whether it
// has a folder of its own here says nothing.
type nginxModule struct{ name, sign string }

// optionalModules returns the modules that nginx has only with --with-NAME.
func optionalModules() []nginxModule {
	return []nginxModule{
		{"http_ssl_module", "ssl_certificate"},
		{"http_v2_module", "http2"},
		{"http_v3_module", "http3"},
		{"http_realip_module", "set_real_ip_from"},
		{"http_addition_module", "add_after_body"},
		{"http_xslt_module", "xslt_stylesheet"},
		{"http_image_filter_module", "image_filter"},
		{"http_geoip_module", "geoip_country"},
		{"http_sub_module", "sub_filter"},
		{"http_dav_module", "dav_methods"},
		{"http_flv_module", "flv"},
		{"http_mp4_module", "mp4"},
		{"http_gunzip_module", "gunzip"},
		{"http_gzip_static_module", "gzip_static"},
		{"http_auth_request_module", "auth_request"},
		{"http_random_index_module", "random_index"},
		{"http_secure_link_module", "secure_link"},
		{"http_slice_module", "slice"},
		{"http_stub_status_module", "stub_status"},
		{"http_perl_module", "perl"},
	}
}

// defaultModules returns the modules that nginx has but with --without-NAME.
func defaultModules() []nginxModule {
	return []nginxModule{
		{"http_charset_module", "charset"},
		{"http_gzip_module", "gzip"},
		{"http_ssi_module", "ssi"},
		{"http_userid_module", "userid"},
		{"http_access_module", "allow"},
		{"http_auth_basic_module", "auth_basic"},
		{"http_mirror_module", "mirror"},
		{"http_autoindex_module", "autoindex"},
		{"http_geo_module", "geo"},
		{"http_map_module", "map"},
		{"http_split_clients_module", "split_clients"},
		{"http_referer_module", "valid_referers"},
		{"http_rewrite_module", "rewrite"},
		{"http_proxy_module", "proxy_pass"},
		{"http_fastcgi_module", "fastcgi_pass"},
		{"http_uwsgi_module", "uwsgi_pass"},
		{"http_scgi_module", "scgi_pass"},
		{"http_grpc_module", "grpc_pass"},
		{"http_tunnel_module", "tunnel_pass"},
		{"http_memcached_module", "memcached_pass"},
		{"http_limit_conn_module", "limit_conn"},
		{"http_limit_req_module", "limit_req"},
		{"http_empty_gif_module", "empty_gif"},
		{"http_browser_module", "ancient_browser"},
		{"http_upstream_hash_module", "hash"},
		{"http_upstream_ip_hash_module", "ip_hash"},
		{"http_upstream_least_conn_module", "least_conn"},
		{"http_upstream_least_time_module", "least_time"},
		{"http_upstream_random_module", "random"},
		{"http_upstream_keepalive_module", "keepalive"},
		{"http_upstream_zone_module", "zone"},
		{"http_upstream_sticky_module", "sticky"},
	}
}
