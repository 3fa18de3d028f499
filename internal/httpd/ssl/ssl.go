// Package ssl accepts those directives of nginx's ngx_http_ssl_module that only
// tune TLS. TLS is not served yet: what would turn it on, a certificate or "listen
// … ssl", is refused. But distributions' stock configurations set protocols for
// all servers to come, and a server without TLS must go on starting with them.
package ssl

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module.
func Module() httpd.Module {
	const note = "TLS is not served yet; a certificate or \"listen … ssl\" is refused."
	tuning := func(name string, lo, hi int) conf.Spec {
		return conf.Spec{
			Name: name, In: conf.HTTP | conf.Server, Min: lo, Max: hi, Effect: conf.NoEffect, Note: note,
		}
	}
	flag := func(name string) conf.Spec {
		s := tuning(name, 1, 1)
		s.Flag = true
		return s
	}
	return httpd.Module{
		Name: "ngx_http_ssl_module",
		Directives: []conf.Spec{
			tuning("ssl_protocols", 1, conf.AnyArgs),
			flag("ssl_prefer_server_ciphers"),
			tuning("ssl_ciphers", 1, 1),
			tuning("ssl_ecdh_curve", 1, 1),
			tuning("ssl_session_cache", 1, 2),
			tuning("ssl_session_timeout", 1, 1),
			flag("ssl_session_tickets"),
			tuning("ssl_buffer_size", 1, 1),
			flag("ssl_early_data"),
		},
	}
}
