package httpd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/logfile"
)

// A Site is a compiled configuration: everything that is known before the first
// connection comes. It opens no file and no socket, so a master can compile one
// to check it.
type Site struct {
	hosts     map[string]*hosts // by conf.Listen.Key
	errorLogs [][]conf.ErrorLog // by Location.logger
	logs      map[string]*logfile.File
	closers   []Closer
	movers    map[string]Mover // by name of their module
	carried   []carriedVariable
	flushers  []Flusher
	process   conf.Process
	product   string
	warnings  []string
	zones     []*Zone // each once
	// keepBodies: a template has $request_body in it.
	keepBodies bool
}

// A Builder is what modules see of a configuration while it is compiled.
type Builder struct {
	Config *conf.Config
	// HTTP is the http block.
	HTTP *conf.Scope
	// Product is "baton/2.0.0".
	Product string

	site  *Site
	vars  variables
	types map[*conf.Directive]map[string][]byte
	// fileCaches are the open_file_cache of each directive, nil for off.
	fileCaches map[*conf.Directive]*fileCache
	instances  []Instance
	building   place
	settable   map[string]bool // variables that the configuration may set
	// errorLogs are the numbers of error logs, by the first directive that names them.
	errorLogs map[*conf.Directive]int
	groups    map[string]bool     // variables that are named groups
	named     map[string]Instance // by name of their module
	states    int
	addresses []string // the keys of site.hosts in the order of the text
}

// Compile checks c against modules and builds the site. product is the name and
// version for the Server field, "baton/2.0.0". Errors carry file and line.
func Compile(c *conf.Config, modules []Module, product string) (*Site, error) {
	site := &Site{
		hosts:   map[string]*hosts{},
		logs:    map[string]*logfile.File{},
		movers:  map[string]Mover{},
		process: c.Process,
		product: product,
	}
	b := &Builder{
		Config: c, HTTP: c.HTTP(), Product: product, site: site,
		types:      map[*conf.Directive]map[string][]byte{},
		fileCaches: map[*conf.Directive]*fileCache{},
		groups:     map[string]bool{},
		errorLogs:  map[*conf.Directive]int{},
		named:      map[string]Instance{},
	}
	if b.HTTP == nil {
		return site, nil
	}
	for name, v := range coreVariables(product, c.Hostname) {
		if slices.Contains(carriedByCore, name) {
			b.CarryVariable(name, v)
		} else {
			b.vars.add(name, v)
		}
	}
	for _, m := range modules {
		for name, v := range m.Variables {
			b.vars.add(name, v)
		}
	}
	if err := b.namedGroups(b.HTTP.Block); err != nil {
		return nil, err
	}
	for _, m := range modules {
		if m.New == nil {
			continue
		}
		in, err := m.New(b)
		if err != nil {
			return nil, err
		}
		if cl, ok := in.(Closer); ok {
			site.closers = append(site.closers, cl)
		}
		if fl, ok := in.(Flusher); ok {
			site.flushers = append(site.flushers, fl)
		}
		if mv, ok := in.(Mover); ok {
			site.movers[m.Name] = mv
		}
		b.instances = append(b.instances, in)
		b.named[m.Name] = in
	}
	for _, d := range b.HTTP.Own("server") {
		if err := b.server(b.HTTP.In(conf.Server, d)); err != nil {
			return nil, err
		}
	}
	for _, address := range b.addresses {
		if err := site.hosts[address].secureServers(); err != nil {
			return nil, err
		}
		if err := b.nameServers(address, site.hosts[address]); err != nil {
			return nil, err
		}
	}
	site.keepBodies = b.vars.bodies
	return site, nil
}

// StateKey reserves a place for a module's state in each request.
func (b *Builder) StateKey() (StateKey, error) {
	if b.states == maxModuleState {
		return 0, fmt.Errorf("reserve state: more than %d modules want it", maxModuleState)
	}
	b.states++
	return StateKey(b.states - 1), nil
}

// Template compiles text with variables. d names the place in an error.
func (b *Builder) Template(d *conf.Directive, text string) (Template, error) {
	t, err := b.vars.template(text)
	if err != nil && d != nil {
		return t, conf.Errorf(d, "%s", err)
	}
	return t, err
}

// Variable returns a variable by name, or nil. A module may also add some in New,
// with AddVariable, before any location is built.
func (b *Builder) Variable(name string) Variable { return b.vars.lookup(name) }

// AddVariable adds a variable; one that is there already stays.
func (b *Builder) AddVariable(name string, v Variable) { b.vars.add(name, v) }

// Pattern compiles a regular expression; fold ignores case.
func (b *Builder) Pattern(d *conf.Directive, text string, fold bool) (*Pattern, error) {
	p, err := compilePattern(text, fold)
	if err != nil {
		return nil, conf.Errorf(d, "%s", err)
	}
	return p, nil
}

// Log returns the log file at an absolute path. It can be written to once a
// server runs.
func (b *Builder) Log(path string) *logfile.File {
	if b.site.logs[path] == nil {
		b.site.logs[path] = new(logfile.File)
	}
	return b.site.logs[path]
}

// flush writes what modules hold back.
func (s *Site) flush() {
	for _, f := range s.flushers {
		f.Flush()
	}
}

// namedGroups makes variables of the named groups of all regular expressions in
// names of servers and locations, before any text that uses them is compiled.
func (b *Builder) namedGroups(block []*conf.Directive) error {
	for _, d := range block {
		switch d.Name {
		case "server_name", "location", "rewrite", "if":
			for _, a := range d.Args {
				b.nameGroups(a)
			}
		}
		if err := b.namedGroups(d.Block); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) nameGroups(expr string) {
	if !strings.Contains(expr, "(?") {
		return
	}
	p, err := compilePattern(strings.TrimPrefix(expr, "~"), false)
	if err != nil {
		return // reported where the expression is used
	}
	for _, name := range p.names {
		if name != "" {
			b.vars.add(name, capturedVariable)
			b.groups[name] = true
		}
	}
}

// server builds one server block and puts it where it listens.
func (b *Builder) server(s *conf.Scope) error {
	vs := &VirtualServer{named: map[string]*Location{}, self: s.Self}
	var err error
	if vs.serverConf, err = newServerConf(s); err != nil {
		return err
	}
	if vs.root, err = b.location(vs, s, &Location{}); err != nil {
		return err
	}
	if err := b.locations(vs, s, &vs.locs, nil); err != nil {
		return err
	}
	listens, err := b.Config.ServerListens(s.Self)
	if err != nil {
		return err
	}
	names, err := b.serverNames(vs, s)
	if err != nil {
		return err
	}
	for _, l := range listens {
		h := b.site.hosts[l.Key()]
		if h == nil {
			h = &hosts{def: vs}
			b.site.hosts[l.Key()] = h
			b.addresses = append(b.addresses, l.Key())
		}
		if l.Default {
			h.def = vs
		}
		h.http2 = h.http2 || l.HTTP2
		if l.SSL {
			h.secured = true
		}
		h.servers = append(h.servers, namedServer{vs, names})
	}
	return nil
}

// locations builds the location blocks in s.
func (b *Builder) locations(vs *VirtualServer, s *conf.Scope, ls *locations, outer *Location) error {
	for _, d := range s.Own("location") {
		loc, err := b.locationName(d)
		if err != nil {
			return err
		}
		if outer != nil {
			if err := nestedName(d, loc, outer); err != nil {
				return err
			}
		}
		in := s.In(conf.Location, d)
		if _, err := b.location(vs, in, loc); err != nil {
			return err
		}
		if loc.kind == matchNamed {
			if vs.named[loc.Name] != nil {
				return conf.Errorf(d, "duplicate location \"%s\"", loc.Name)
			}
			vs.named[loc.Name] = loc
		} else if !ls.add(loc) {
			return conf.Errorf(d, "duplicate location \"%s\"", loc.Name)
		}
		if err := b.locations(vs, in, &loc.inner, loc); err != nil {
			return err
		}
	}
	return nil
}

// nestedName checks a location inside another one.
func nestedName(d *conf.Directive, loc, outer *Location) error {
	switch {
	case outer.kind == matchExact:
		return conf.Errorf(d, "location \"%s\" cannot be inside the exact location \"%s\"", loc.Name, outer.Name)
	case outer.kind == matchNamed:
		return conf.Errorf(d, "location \"%s\" cannot be inside the named location \"%s\"", loc.Name, outer.Name)
	case loc.kind == matchNamed:
		return conf.Errorf(d, "named location \"%s\" can be on the server level only", loc.Name)
	case loc.kind != matchPattern && outer.kind != matchPattern && !strings.HasPrefix(loc.Name, outer.Name):
		return conf.Errorf(d, "location \"%s\" is outside location \"%s\"", loc.Name, outer.Name)
	}
	return nil
}

// locationWords are what stands between "location" and the block.
func locationWords(d *conf.Directive) (mod, name string) {
	if len(d.Args) == 2 {
		return d.Arg(0), d.Arg(1)
	}
	name = d.Arg(0)
	for _, m := range []string{"=", "^~", "~*", "~"} {
		if strings.HasPrefix(name, m) {
			return m, name[len(m):]
		}
	}
	return "", name
}

// locationName reads them.
func (b *Builder) locationName(d *conf.Directive) (*Location, error) {
	mod, name := locationWords(d)
	loc := &Location{Name: name}
	switch mod {
	case "":
		if strings.HasPrefix(name, "@") {
			loc.kind = matchNamed
		}
	case "=":
		loc.kind = matchExact
	case "^~":
		loc.kind = matchPrefixOnly
	case "~", "~*":
		loc.kind = matchPattern
		p, err := b.Pattern(d, name, mod == "~*")
		loc.pattern = p
		return loc, err
	default:
		return nil, conf.Errorf(d, "invalid location modifier \"%s\"", mod)
	}
	return loc, nil
}

// location fills loc from its scope: the core's settings, then each module's part.
func (b *Builder) location(vs *VirtualServer, s *conf.Scope, loc *Location) (*Location, error) {
	var err error
	if loc.core, err = b.newCoreConf(s); err != nil {
		return nil, err
	}
	loc.internalOnly = s.Own("internal") != nil
	if loc.logger, err = b.errorLog(s); err != nil {
		return nil, err
	}
	outer := b.building
	b.building = place{vs, loc}
	defer func() { b.building = outer }()
	var defaults []Handler
	for _, in := range b.instances {
		p, err := in.Location(s)
		if err != nil {
			return nil, err
		}
		defaults = append(defaults, loc.addPart(p)...)
	}
	loc.content = append(loc.content, defaults...)
	return loc, nil
}

// addPart adds one module's part and returns its default handler, if any.
func (l *Location) addPart(p Part) (defaults []Handler) {
	if p.Rewrite != nil {
		l.rewrite = chain(l.rewrite, p.Rewrite)
	}
	if p.Preaccess != nil {
		l.preaccess = append(l.preaccess, p.Preaccess)
	}
	if p.Access != nil {
		l.access = append(l.access, p.Access)
	}
	if p.Precontent != nil {
		l.precontent = append(l.precontent, p.Precontent)
	}
	if p.Content != nil {
		l.content = append(l.content, p.Content)
		l.autoRedirect = p.ContentIsProxy && strings.HasSuffix(l.Name, "/") && l.kind <= matchPrefixOnly
	}
	if p.Head != nil {
		l.head = append(l.head, p.Head)
	}
	if p.Log != nil {
		l.log = append(l.log, p.Log)
	}
	if p.Default != nil {
		defaults = append(defaults, p.Default)
	}
	return defaults
}

func chain(first, then func(*Request) int) func(*Request) int {
	if first == nil {
		return then
	}
	return func(r *Request) int {
		if status := first(r); status != Declined {
			return status
		}
		return then(r)
	}
}

// errorLog returns the number of the error logs that apply in s; 0 is the
// process's own.
func (b *Builder) errorLog(s *conf.Scope) (int, error) {
	if len(b.site.errorLogs) == 0 {
		b.site.errorLogs = append(b.site.errorLogs, b.Config.Process.ErrorLogs)
	}
	var ds []*conf.Directive
	for at := s; at != nil && at.Up != nil && ds == nil; at = at.Up {
		ds = at.Own("error_log")
	}
	if ds == nil {
		return 0, nil
	}
	if i, ok := b.errorLogs[ds[0]]; ok {
		return i, nil
	}
	var logs []conf.ErrorLog
	for _, d := range ds {
		l, err := b.Config.ParseErrorLog(d)
		if err != nil {
			return 0, err
		}
		logs = append(logs, l)
	}
	b.errorLogs[ds[0]] = len(b.site.errorLogs)
	b.site.errorLogs = append(b.site.errorLogs, logs)
	return len(b.site.errorLogs) - 1, nil
}
