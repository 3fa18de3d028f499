package httpd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// Another release is written from docs/handoff.md: every tag is in its table.
func TestTagsAreDocumented(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "ticket.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/handoff.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "\n## Fields\n")
	tags := map[string]string{} // by number
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "tag") || len(spec.Values) != 1 || spec.Names[0].Name == "tagCritical" {
			return true
		}
		if number, ok := spec.Values[0].(*ast.BasicLit); ok {
			tags[number.Value] = spec.Names[0].Name
			if !strings.Contains(table, "\n| "+number.Value+" | ") {
				t.Errorf("%s, %s, is not in docs/handoff.md", spec.Names[0].Name, number.Value)
			}
		}
		return true
	})
	if len(tags) < 20 {
		t.Fatalf("tags: %v", tags)
	}
	for line := range strings.Lines(table) {
		number, _, row := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if row && strings.HasPrefix(line, "| ") && number != "tag" && tags[number] == "" {
			t.Errorf("docs/handoff.md has tag %s, which is none", number)
		}
	}
}
