// Package baton_test holds the rules of this repository as tests. Each rule has
// its reason in what it says when it is broken.
package baton_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const module = "github.com/baton-deploy/baton"

const (
	maxFileLines     = 600
	maxFunctionLines = 80
)

// A source is one Go file of the repository.
type source struct {
	path string // from the root, with slashes
	dir  string
	test bool
	// harness: the code is there for tests and benchmarks, not for users.
	harness bool
	lines   int
	file    *ast.File
}

// A repository is all of it, parsed.
type repository struct {
	fset    *token.FileSet
	sources []source
	files   []string // every file that could be committed
}

func load(t *testing.T) *repository {
	t.Helper()
	r := &repository{fset: token.NewFileSet()}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == ".git" || path == "build" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		r.files = append(r.files, path)
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(r.fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		r.sources = append(r.sources, source{
			path: path, dir: filepath.Dir(path), file: f,
			test:    strings.HasSuffix(path, "_test.go"),
			harness: isHarness(filepath.Dir(path)),
			lines:   bytes.Count(text, []byte("\n")),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.sources) < 10 {
		t.Fatalf("only %d Go files found: the rules look at the wrong folder", len(r.sources))
	}
	return r
}

func isHarness(dir string) bool {
	return below(dir, "internal/testbed") || below(dir, "internal/httpd/sidebyside") || below(dir, "bench")
}

func (r *repository) at(p token.Pos) string { return r.fset.Position(p).String() }

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	r := load(t)
	documented := map[string]bool{}
	for _, s := range r.sources {
		if s.test {
			continue
		}
		name := s.file.Name.Name
		start := "Package " + name + " "
		if name == "main" {
			start = "Command "
		}
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil && strings.HasPrefix(s.file.Doc.Text(), start)
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package doc that begins with \"Package …\" or \"Command …\": "+
				"a reader must learn the job, the promise and what the package does not know before any code", dir)
		}
	}
}

func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func TestNobodySleepsToWait(t *testing.T) {
	r := load(t)
	for _, s := range r.sources {
		if s.test || s.harness {
			continue
		}
		for _, c := range calls(s.file) {
			if c.name == "time.Sleep" {
				t.Errorf("%s: time.Sleep: readiness is a message and exit is a wait; "+
					"nothing is so after a pause (invariant 7 of docs/design.md)", r.at(c.pos))
			}
		}
	}
}

func TestOnlyCommandsPrintAndExit(t *testing.T) {
	r := load(t)
	forbidden := regexp.MustCompile(`^(fmt\.Print(|f|ln)|os\.Exit|log\.(Print|Fatal|Panic)(|f|ln))$`)
	for _, s := range r.sources {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		for _, c := range calls(s.file) {
			if forbidden.MatchString(c.name) {
				t.Errorf("%s: %s: a package returns its errors and logs through the *slog.Logger it is given; "+
					"what becomes of the process is for its main to say", r.at(c.pos), c.name)
			}
		}
	}
}

type call struct {
	name string
	pos  token.Pos
}

// calls returns the calls of functions of other packages, as pkg.Func.
func calls(f *ast.File) []call {
	var found []call
	ast.Inspect(f, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			if sel, ok := c.Fun.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Obj == nil {
					found = append(found, call{pkg.Name + "." + sel.Sel.Name, c.Pos()})
				}
			}
		}
		return true
	})
	return found
}

func TestFilesAndFunctionsStayReadable(t *testing.T) {
	r := load(t)
	for _, s := range r.sources {
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, more than %d: split it by noun before it grows for ever", s.path, s.lines, maxFileLines)
		}
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := r.codeLines(f); lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d: a function is read on one screen",
					r.at(f.Pos()), f.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

// codeLines counts the lines of f without those of composite literals: a list is
// read as a list, however long.
func (r *repository) codeLines(f *ast.FuncDecl) int {
	span := func(n ast.Node) int { return r.fset.Position(n.End()).Line - r.fset.Position(n.Pos()).Line }
	lines := span(f) + 1
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.CompositeLit); ok {
			lines -= span(lit)
			return false
		}
		return true
	})
	return lines
}

func TestNothingRunsBeforeMain(t *testing.T) {
	r := load(t)
	for _, s := range r.sources {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: what there is stands in a visible list, not in who imports whom", r.at(f.Pos()))
			}
		}
	}
}

func TestNoPackageHasState(t *testing.T) {
	r := load(t)
	vars := map[string]bool{} // dir + " " + name
	for _, s := range r.sources {
		for _, d := range s.file.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR && !s.test {
				for _, spec := range g.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						vars[s.dir+" "+name.Name] = true
					}
				}
			}
		}
	}
	for _, s := range r.sources {
		for _, id := range assigned(s.file) {
			// Local names are resolved by the parser, to something that is not of the
			// package's scope.
			global := id.Obj == nil || s.file.Scope.Objects[id.Name] == id.Obj
			if !s.test && global && vars[s.dir+" "+id.Name] {
				t.Errorf("%s: sets the package's variable %s: state belongs to a value, "+
					"so that two of them can live in one process", r.at(id.Pos()), id.Name)
			}
		}
	}
}

// assigned returns the names that f assigns to, other than by declaring them.
func assigned(f *ast.File) []*ast.Ident {
	var ids []*ast.Ident
	add := func(e ast.Expr) {
		if id, ok := e.(*ast.Ident); ok {
			ids = append(ids, id)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					add(e)
				}
			}
		case *ast.IncDecStmt:
			add(n.X)
		}
		return true
	})
	return ids
}

func TestNamesAreTheDomainsWords(t *testing.T) {
	r := load(t)
	empty := map[string]bool{"manager": true, "helper": true, "helpers": true, "util": true, "utils": true, "base": true, "common": true, "misc": true}
	check := func(where, name string) {
		for _, w := range words(name) {
			if empty[w] {
				t.Errorf("%s: %q in the name %s says nothing: use a word of docs/design.md, section 1", where, w, name)
			}
		}
	}
	for _, s := range r.sources {
		check(s.path, s.file.Name.Name)
		check(s.path, strings.TrimSuffix(filepath.Base(s.path), ".go"))
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				check(r.at(d.Pos()), d.Name.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok {
						check(r.at(ts.Pos()), ts.Name.Name)
					}
				}
			}
		}
	}
}

// words splits a name in camel case or with underscores into lower-case words.
func words(name string) []string {
	var b strings.Builder
	for i, c := range name {
		if i > 0 && unicode.IsUpper(c) || !unicode.IsLetter(c) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return strings.FieldsFunc(b.String(), func(c rune) bool { return !unicode.IsLetter(c) })
}
