package baton_test

import (
	"go/ast"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// The walls of the house: who may import whom, and how much one package and one
// type may know.
const (
	maxMethods      = 40
	maxFields       = 25
	maxPackageLines = 4500
	// lineStep is how far a ceiling of lines may be above the lines that there are.
	lineStep = 1000
	// hotFunctions is how many of the profile's functions, the hottest first, must
	// exist in the source.
	hotFunctions = 100
)

// allowed has for each package the packages of ours that it may import. A package
// that is not listed may import nothing of ours. An entry stands for one package,
// not for those below it.
func allowed() []struct{ pkg, may, why string } {
	return []struct{ pkg, may, why string }{
		{"cmd/baton", "internal/conf internal/control internal/errorlog internal/httpd internal/httpd/modules internal/master " +
			"internal/prefix internal/proc internal/report internal/sock internal/ticketkeys internal/upgrade internal/worker",
			"the only place where all parts meet"},
		{"internal/control", "internal/conf internal/proc", "messages between processes know nothing of HTTP"},
		{"internal/errorlog", "internal/gather", "everything logs, so it imports only what is below all"},
		{"internal/shm", "internal/proc", "a zone holds entries of any kind"},
		{"internal/logfile", "internal/rawcall", "a log can be of any protocol"},
		{"internal/netconn", "internal/bufpool internal/rawcall", "a connection can carry any protocol"},
		{"internal/sock", "internal/conf internal/proc", "a socket can carry any protocol"},
		{"internal/upgrade", "internal/proc internal/report", "it knows a server only as an operator does, so that it works for nginx too"},
		{"internal/master", "internal/conf internal/control internal/errorlog internal/handoff internal/proc internal/report " +
			"internal/shm internal/sock internal/ticketkeys", "a crash in serving must not be able to reach the master"},
		{"internal/worker", "internal/conf internal/control internal/errorlog internal/handoff internal/proc",
			"it runs any service; cmd/baton gives it ours"},
		{"internal/httpd", "internal/bufpool internal/conf internal/errorlog internal/h2 internal/handoff internal/logfile internal/netconn internal/rawcall " +
			"internal/shm internal/ticketkeys internal/tlsconf",
			"serving does not know which process it is in"},
		{"internal/httpd/access", "internal/conf internal/httpd", ""},
		{"internal/httpd/accesslog", "internal/conf internal/gather internal/httpd", ""},
		{"internal/httpd/autoindex", "internal/conf internal/errorlog internal/httpd", ""},
		{"internal/httpd/charset", "internal/conf internal/httpd", ""},
		{"internal/httpd/fastcgi", "internal/conf internal/httpd internal/httpd/gateway internal/httpd/upstream", ""},
		{"internal/httpd/flv", "internal/conf internal/httpd", ""},
		{"internal/httpd/gateway", "internal/bufpool internal/conf internal/errorlog internal/httpd internal/httpd/upstream internal/netconn " +
			"internal/tlsconf",
			"it relays requests to servers of any protocol"},
		{"internal/httpd/gzip", "internal/conf internal/errorlog internal/httpd", ""},
		{"internal/httpd/headers", "internal/conf internal/httpd", ""},
		{"internal/httpd/http2", "internal/conf internal/httpd", ""},
		{"internal/httpd/index", "internal/conf internal/errorlog internal/httpd", ""},
		{"internal/httpd/limitreq", "internal/conf internal/errorlog internal/httpd internal/shm", ""},
		{"internal/httpd/modules", "internal/conf internal/httpd internal/httpd/access internal/httpd/accesslog internal/httpd/autoindex " +
			"internal/httpd/charset internal/httpd/fastcgi internal/httpd/flv internal/httpd/gzip internal/httpd/headers internal/httpd/http2 " +
			"internal/httpd/index internal/httpd/limitreq internal/httpd/proxy internal/httpd/rewrite internal/httpd/scgi internal/httpd/ssl internal/httpd/static " +
			"internal/httpd/status internal/httpd/tryfiles internal/httpd/upstream internal/httpd/uwsgi", "it is the list of modules"},
		{"internal/httpd/proxy", "internal/conf internal/httpd internal/httpd/gateway internal/httpd/upstream", ""},
		{"internal/httpd/rewrite", "internal/conf internal/errorlog internal/httpd", ""},
		{"internal/httpd/scgi", "internal/conf internal/httpd internal/httpd/gateway internal/httpd/upstream", ""},
		{"internal/httpd/ssl", "internal/conf internal/httpd internal/tlsconf", ""},
		{"internal/httpd/static", "internal/conf internal/errorlog internal/httpd", ""},
		{"internal/httpd/status", "internal/conf internal/httpd", ""},
		{"internal/httpd/tryfiles", "internal/conf internal/httpd", ""},
		{"internal/httpd/upstream", "internal/conf internal/httpd internal/netconn", ""},
		{"internal/httpd/uwsgi", "internal/conf internal/httpd internal/httpd/gateway internal/httpd/upstream", ""},
	}
}

// forbidden are packages of the standard library that a package may not import.
func forbidden() []struct{ pkg, std, why string } {
	return []struct{ pkg, std, why string }{
		{"internal/conf", "net", "it reads text and opens no socket; that is what lets us fuzz it"},
		{"internal/conf", "net/http", "it reads text and opens no socket; that is what lets us fuzz it"},
		{"internal/tlsconf", "os", "files come to a worker from its master"},
	}
}

// An arrow is an import of one package of ours by another.
type arrow struct{ from, to string }

// arrows returns the imports among the packages of the product, each with a file
// that has it. Tests and the harness may use the whole.
func (r *repository) arrows() map[arrow]string {
	found := map[arrow]string{}
	for _, s := range r.sources {
		if s.test || s.harness {
			continue
		}
		for _, imp := range s.file.Imports {
			if to, ok := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module+"/"); ok {
				found[arrow{s.dir, to}] = s.path
			}
		}
	}
	return found
}

func TestImportsAreOnTheList(t *testing.T) {
	r := load(t)
	may := map[arrow]bool{}
	why := map[string]string{}
	for _, a := range allowed() {
		why[a.pkg] = a.why
		for _, to := range strings.Fields(a.may) {
			may[arrow{a.pkg, to}] = true
		}
	}
	found := r.arrows()
	for a, file := range found {
		if !may[a] {
			t.Errorf("%s imports %s, which the list of allowed imports does not have for it. %s", file, a.to, why[a.from])
		}
	}
	for a := range may {
		if found[a] == "" {
			t.Errorf("%s does not import %s: take it off the list of allowed imports", a.from, a.to)
		}
	}
	for _, s := range r.sources {
		for _, f := range forbidden() {
			for _, imp := range s.file.Imports {
				if !s.test && s.dir == f.pkg && strings.Trim(imp.Path.Value, `"`) == f.std {
					t.Errorf("%s imports %s: %s", s.path, f.std, f.why)
				}
			}
		}
	}
}

func TestDesignShowsTheFloors(t *testing.T) {
	design, err := os.ReadFile("docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	floors := map[string]int{}
	row := regexp.MustCompile(`(?m)^\| *([0-9]+) *\|([^|]*)\|`)
	for _, m := range row.FindAllStringSubmatch(string(design), -1) {
		floor, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, pkg := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(m[2], -1) {
			floors[pkg[1]] = floor
		}
	}
	r := load(t)
	there := map[string]bool{}
	for _, s := range r.sources {
		if s.test || s.harness || there[s.dir] {
			continue
		}
		there[s.dir] = true
		if _, ok := floors[s.dir]; !ok {
			t.Errorf("docs/design.md, section 5, has no row for %s", s.dir)
		}
	}
	for pkg := range floors {
		if !there[pkg] {
			t.Errorf("docs/design.md, section 5, has a row for %s, which is no package", pkg)
		}
	}
	for a, file := range r.arrows() {
		if floors[a.from] <= floors[a.to] {
			t.Errorf("%s: %s is on floor %d of docs/design.md and imports %s of floor %d: imports go downwards",
				file, a.from, floors[a.from], a.to, floors[a.to])
		}
	}
}

// ceilings are what larger types and packages have: more fails, and much less fails too,
// so that a ceiling only falls.
func ceilings() (methods, fields, lines map[string]int) {
	const serving = "internal/httpd"
	methods = map[string]int{
		"internal/h2.Conn":            66,
		"internal/master.Master":      73,
		"internal/master.state":       70,
		"internal/upgrade.operation":  73,
		serving + ".Request":          154,
		serving + ".Response":         86,
		serving + ".conn":             46,
		serving + "/gateway.Exchange": 78,
	}
	fields = map[string]int{
		"internal/h2.Conn":            46,
		"internal/h2.Stream":          32,
		"internal/master.Master":      28,
		serving + ".Request":          42,
		serving + ".Response":         40,
		serving + ".Stream":           26,
		serving + ".conn":             31,
		serving + ".coreConf":         30,
		serving + ".ticket":           42,
		serving + "/gateway.Exchange": 35,
	}
	lines = map[string]int{
		"internal/upgrade": 6000,
		serving:            13500,
	}
	return methods, fields, lines
}

func TestTypesAndPackagesKnowOneThing(t *testing.T) {
	methods, fields, lines := map[string]int{}, map[string]int{}, map[string]int{}
	for _, s := range load(t).sources {
		if s.test || !below(s.dir, "internal") {
			continue
		}
		lines[s.dir] += s.lines
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil {
					methods[s.dir+"."+receiver(d)]++
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok {
						fields[s.dir+"."+ts.Name.Name] = structFields(ts.Type)
					}
				}
			}
		}
	}
	m, f, l := ceilings()
	fence(t, "methods", "a type that everything hangs on: split it by who uses what", methods, m, maxMethods, 0)
	fence(t, "fields", "a struct that knows everything: group its fields by who reads them", fields, f, maxFields, 0)
	fence(t, "lines without tests", "a package that nobody reads: take out what stands alone", lines, l, maxPackageLines, lineStep)
}

// fence compares what there is with limit, or with the ceiling of a name that has one.
func fence(t *testing.T, what, why string, found, ceilings map[string]int, limit, slack int) {
	t.Helper()
	for name, n := range found {
		most, named := ceilings[name]
		switch {
		case !named && n > limit:
			t.Errorf("%s has %d %s, more than %d: %s", name, n, what, limit, why)
		case named && n > most:
			t.Errorf("%s has %d %s, more than its ceiling %d, which only falls: %s", name, n, what, most, why)
		case named && n <= limit:
			t.Errorf("%s has %d %s and needs no ceiling: remove it", name, n, what)
		case named && n < most-slack:
			t.Errorf("%s has %d %s: lower its ceiling of %d", name, n, what, most)
		}
	}
	for name := range ceilings {
		if _, ok := found[name]; !ok {
			t.Errorf("%s has a ceiling of %s and is not there: remove the ceiling", name, what)
		}
	}
}

// receiver returns the name of the type that f is a method of.
func receiver(f *ast.FuncDecl) string {
	name := ""
	ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return name == ""
	})
	return name
}

// structFields counts the fields of a struct type, an embedded one as one.
func structFields(e ast.Expr) int {
	st, ok := e.(*ast.StructType)
	if !ok {
		return 0
	}
	n := 0
	for _, f := range st.Fields.List {
		n += max(1, len(f.Names))
	}
	return n
}

func TestHotNamesOfTheProfileExist(t *testing.T) {
	names := map[string]bool{}
	for _, s := range load(t).sources {
		path := module + "/" + s.dir
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || s.test:
			case f.Recv == nil:
				names[path+"."+f.Name.Name] = true
			default:
				names[path+".(*"+receiver(f)+")."+f.Name.Name] = true
				names[path+"."+receiver(f)+"."+f.Name.Name] = true
			}
		}
	}
	hot := hottest(t, "cmd/baton/default.pgo")
	if len(hot) < hotFunctions/2 {
		t.Fatalf("only %d functions of ours in the profile", len(hot))
	}
	for _, name := range hot {
		if !names[name] {
			t.Errorf("cmd/baton/default.pgo: %s is not in the source: the compiler finds it by package and name, "+
				"so make the profile anew with scripts/profile", name)
		}
	}
}

// hottest returns the functions of ours that the profile saw most often at work,
// without type arguments and the numbers of function literals.
func hottest(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	p, err := profile.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	suffix := regexp.MustCompile(`\[.*\]|\.func[0-9].*$|\.gowrap[0-9].*$|-fm$`)
	flat := map[string]int64{}
	for _, s := range p.Sample {
		name := suffix.ReplaceAllString(s.Location[0].Line[0].Function.Name, "")
		if strings.HasPrefix(name, module) {
			flat[name] += s.Value[0]
		}
	}
	var hot []string
	for name := range flat {
		hot = append(hot, name)
	}
	sort.Slice(hot, func(i, j int) bool {
		return flat[hot[i]] > flat[hot[j]] || flat[hot[i]] == flat[hot[j]] && hot[i] < hot[j]
	})
	return hot[:min(len(hot), hotFunctions)]
}
