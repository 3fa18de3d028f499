package conf

import (
	_ "embed"
	"strings"
	"sync"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// nginxDirectives has a line for every directive of nginx 1.31.5 on Linux and each
// module that has it: name, module, contexts. The names of modules are those of the
// documentation.
//
//go:embed nginx_directives.txt
var nginxDirectives string

// A nginxDirective is one line of nginxDirectives.
type nginxDirective struct {
	name, module string
	contexts     string  // as listed: "http,server"
	in           Context // those of them that Baton has
}

// listNginx returns the list by name. It is made once, on the first error or for the
// documentation: a configuration without fault never needs it.
var listNginx = sync.OnceValue(func() map[string][]nginxDirective {
	list := make(map[string][]nginxDirective)
	for line := range strings.Lines(nginxDirectives) {
		f := strings.Fields(line)
		d := nginxDirective{name: f[0], module: f[1], contexts: f[2]}
		for c := range strings.SplitSeq(d.contexts, ",") {
			d.in |= nginxContexts()[c]
		}
		list[d.name] = append(list[d.name], d)
	}
	return list
})

// nginxContexts are the names of contexts in nginxDirectives; those of mail and
// stream are not here.
func nginxContexts() map[string]Context {
	return map[string]Context{
		"any":  Main | Events | HTTP | Upstream | Server | Location | ServerIf | LocationIf | LimitExcept,
		"main": Main, "events": Events, "http": HTTP, "upstream": Upstream, "server": Server,
		"location": Location, "server-if": ServerIf, "location-if": LocationIf, "limit_except": LimitExcept,
	}
}

// An addOn is a module that does not come with nginx, whose directives crossplane
// knows.
type addOn struct {
	name  string
	match crossplane.MatchFunc
}

func addOns() []addOn {
	return []addOn{
		{"the njs module", crossplane.MatchNjsLatest},
		{"the lua module", crossplane.MatchLuaLatest},
		{"the headers-more module", crossplane.MatchHeadersMoreLatest},
		{"the geoip2 module", crossplane.MatchGeoip2Latest},
		{"the OpenTelemetry module", crossplane.MatchOtelLatest},
		{"its older releases", crossplane.MatchOss124},
		{"NGINX App Protect", crossplane.MatchAppProtectWAFv5},
		{"NGINX Plus", crossplane.MatchNginxPlusLatest},
	}
}

// knownDirective returns where nginx has a directive that may stand in context c.
func knownDirective(name string, c Context) (module string, ok bool) {
	list := listNginx()[name]
	for _, d := range list {
		if d.in&c != 0 {
			return d.module, true
		}
	}
	if len(list) > 0 {
		return "", false
	}
	for _, a := range addOns() {
		if _, ok := a.match(name); ok {
			return a.name, true
		}
	}
	return "", false
}

// isKnown reports whether nginx itself has a directive of that name in any context.
func isKnown(name string) bool { return len(listNginx()[name]) > 0 }
