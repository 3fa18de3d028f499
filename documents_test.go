package baton_test

import (
	"bytes"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd/modules"
)

var update = flag.Bool("update", false, "write generated documents anew")

func TestDirectivesAreDocumented(t *testing.T) {
	table, err := modules.Table()
	if err != nil {
		t.Fatal(err)
	}
	const path = "docs/directives.md"
	want := conf.Document(table)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the directive table says: run \"make docs\", "+
			"so that operators read what this build does", path)
	}
}

func TestEveryDependencyIsADecision(t *testing.T) {
	notes := readAll(t, "docs/decisions/*.md")
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`(?m)^\s*(?:require )?(\S+\.\S+/\S+) v\S+`)
	var modules []string
	for _, m := range required.FindAllStringSubmatch(string(mod), -1) {
		modules = append(modules, m[1])
	}
	if len(modules) < 5 {
		t.Fatalf("modules found in go.mod = %q: the pattern is wrong", modules)
	}
	// What is imported, not what go.mod calls direct: that comment can be stale.
	seen := map[string]bool{}
	for _, s := range load(t).sources {
		for _, imp := range s.file.Imports {
			dep := ""
			for _, m := range modules {
				if below(strings.Trim(imp.Path.Value, `"`), m) && len(m) > len(dep) {
					dep = m
				}
			}
			if dep == "" || seen[dep] {
				continue
			}
			seen[dep] = true
			if !strings.Contains(notes, dep) {
				t.Errorf("%s imports %s, which no note in docs/decisions names: "+
					"write down what it is for and why this one", s.path, dep)
			}
		}
	}
}

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	checked := 0
	for _, path := range load(t).files {
		if filepath.Ext(path) != ".md" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: link %q: %v", path, m[1], err)
				continue
			}
			if u.Scheme != "" || u.Path == "" {
				continue
			}
			checked++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), u.Path)); err != nil {
				t.Errorf("%s: link %q leads nowhere: a document that points to what is not there is worse than none", path, m[1])
			}
		}
	}
	if checked == 0 {
		t.Error("no link was checked: the pattern is wrong")
	}
}

func readAll(t *testing.T, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}
