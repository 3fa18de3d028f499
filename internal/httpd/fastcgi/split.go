package fastcgi

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// A split is how a location takes the path of a script apart.
type split struct {
	index   string         // fastcgi_index
	pattern *httpd.Pattern // fastcgi_split_path_info; nil: the URI is the script's name
}

// groupsOfSplit are the expression itself, the name and the rest.
const groupsOfSplit = 3

// addSplit reads the settings of the location that is being built.
func (m *module) addSplit(s *conf.Scope) error {
	sp := &split{index: s.String("fastcgi_index", "")}
	if d := s.One("fastcgi_split_path_info"); d != nil {
		var err error
		if sp.pattern, err = m.b.Pattern(d, d.Arg(0), false); err != nil {
			return err
		}
		if len(sp.pattern.Names()) != groupsOfSplit {
			return conf.Errorf(d, "pattern \"%s\" must have 2 captures", d.Arg(0))
		}
	}
	if sp.index != "" || sp.pattern != nil {
		m.splits[m.b.Building()] = sp
	}
	return nil
}

// of returns the script's name and the rest of the path.
func (sp *split) of(r *httpd.Request) (name, rest []byte) {
	if sp == nil || sp.pattern == nil {
		return r.URI, nil
	}
	groups, ok, err := sp.pattern.Match(r.URI, nil)
	if err != nil || !ok || len(groups) < groupsOfSplit {
		return r.URI, nil
	}
	return groups[1], groups[2]
}

// scriptName is $fastcgi_script_name.
func (m *module) scriptName(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
	sp := m.splits[r.Location()]
	name, _ := sp.of(r)
	dst = append(dst, name...)
	if sp != nil && len(name) > 0 && name[len(name)-1] == '/' {
		dst = append(dst, sp.index...)
	}
	return dst, true
}

// pathInfo is $fastcgi_path_info.
func (m *module) pathInfo(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
	_, rest := m.splits[r.Location()].of(r)
	return append(dst, rest...), true
}
