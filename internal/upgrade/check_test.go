package upgrade

import (
	"maps"
	"slices"
	"testing"
)

// Modules are found in what -V prints: nginx's own, and others by their folders, whatever
// their versions.
func TestModulesOfABuild(t *testing.T) {
	t.Parallel()
	m := parseModules("nginx version: openresty/1.25.3.1\n" +
		"configure arguments: --prefix=/usr/local/openresty/nginx --with-cc-opt='-O2 -DNGX_LUA' --add-module=../ngx_devel_kit-0.3.3 " +
		"--add-module=../ngx_lua-0.10.26rc1 --add-dynamic-module=/build/modules/http-geoip2 --with-stream --with-mail=dynamic " +
		"--with-http_ssl_module --with-http_xslt_module=dynamic --with-threads --without-http_gzip_module\n")
	with := []string{"http-geoip2", "http_ssl_module", "http_xslt_module", "mail", "ngx_devel_kit", "ngx_lua", "stream"}
	if got := slices.Sorted(maps.Keys(m.with)); !slices.Equal(got, with) {
		t.Errorf("with %q, want %q", got, with)
	}
	if got := slices.Sorted(maps.Keys(m.without)); !slices.Equal(got, []string{"http_gzip_module"}) {
		t.Errorf("without %q", got)
	}
}
