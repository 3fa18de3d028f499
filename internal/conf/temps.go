package conf

import "slices"

// A TempFolder is where workers create temporary files.
type TempFolder struct {
	Path string // full name
	// Named: a directive names it; else it is nginx's own choice.
	Named bool
}

// tempFolders are the directives that name one, and the folders without them.
var tempFolders = [...]struct{ directive, def string }{
	{"client_body_temp_path", "client_body_temp"},
	{"proxy_temp_path", "proxy_temp"},
	{"fastcgi_temp_path", "fastcgi_temp"},
	{"uwsgi_temp_path", "uwsgi_temp"},
	{"scgi_temp_path", "scgi_temp"},
}

// readTemps fills in c.Temps.
func readTemps(c *Config) error {
	h := c.HTTP()
	if h == nil {
		return nil
	}
	add := func(f TempFolder) {
		if !slices.ContainsFunc(c.Temps, func(have TempFolder) bool { return have.Path == f.Path }) {
			c.Temps = append(c.Temps, f)
		}
	}
	var visit func(ds []*Directive, name string)
	visit = func(ds []*Directive, name string) {
		for _, d := range ds {
			if d.Name == name {
				add(TempFolder{c.Abs(d.Arg(0)), true})
			}
			visit(d.Block, name)
		}
	}
	for _, t := range tempFolders {
		if h.One(t.directive) == nil {
			add(TempFolder{Path: c.Abs(t.def)})
		}
		visit(h.Block, t.directive)
	}
	return nil
}
