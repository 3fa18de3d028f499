// Package modules is the list of HTTP modules that this build has. Adding a
// module is a folder and a line here.
package modules

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/access"
	"github.com/baton-deploy/baton/internal/httpd/accesslog"
	"github.com/baton-deploy/baton/internal/httpd/autoindex"
	"github.com/baton-deploy/baton/internal/httpd/charset"
	"github.com/baton-deploy/baton/internal/httpd/fastcgi"
	"github.com/baton-deploy/baton/internal/httpd/flv"
	"github.com/baton-deploy/baton/internal/httpd/gzip"
	"github.com/baton-deploy/baton/internal/httpd/headers"
	"github.com/baton-deploy/baton/internal/httpd/http2"
	"github.com/baton-deploy/baton/internal/httpd/index"
	"github.com/baton-deploy/baton/internal/httpd/limitreq"
	"github.com/baton-deploy/baton/internal/httpd/proxy"
	"github.com/baton-deploy/baton/internal/httpd/rewrite"
	"github.com/baton-deploy/baton/internal/httpd/scgi"
	"github.com/baton-deploy/baton/internal/httpd/ssl"
	"github.com/baton-deploy/baton/internal/httpd/static"
	"github.com/baton-deploy/baton/internal/httpd/status"
	"github.com/baton-deploy/baton/internal/httpd/tryfiles"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
	"github.com/baton-deploy/baton/internal/httpd/uwsgi"
)

// All returns the modules. The order is that in which their parts run, and in
// which those that answer when no other does are asked.
func All() []httpd.Module {
	return []httpd.Module{
		// First: others compile texts with their variables.
		upstream.Module(),
		proxy.Module(),
		fastcgi.Module(),
		scgi.Module(),
		uwsgi.Module(),
		rewrite.Module(),
		limitreq.Module(),
		access.Module(),
		tryfiles.Module(),
		headers.Module(),
		charset.Module(),
		gzip.GunzipModule(),
		gzip.Module(), // compresses what has its other fields already
		index.Module(),
		autoindex.Module(),
		ssl.Module(),
		flv.Module(),
		http2.Module(),
		gzip.StaticModule(),
		static.Module(),
		status.Module(),
		accesslog.Module(),
	}
}

// Table returns the directives of the configuration as a whole.
func Table() (*conf.Table, error) {
	groups := []conf.Group{conf.CoreGroup(), httpd.CoreGroup()}
	for _, m := range All() {
		groups = append(groups, conf.Group{Module: m.Name, Specs: m.Directives})
	}
	return conf.NewTable(groups...)
}
