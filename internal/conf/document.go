package conf

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Document returns docs/directives.md: every directive of nginx, and every one of
// the table that nginx has not, with what Baton makes of it.
func Document(t *Table) []byte {
	modules := documented(t)
	var counts [3]int
	for _, m := range modules {
		for _, r := range m.rows {
			counts[r.status]++
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Directives

Every directive of nginx 1.31 and what Baton makes of it. This file is generated from
the table that the configuration is checked against; do not edit it.

| | |
|---|---|
| supported | %d: does what nginx's documentation says; differences are noted |
| accepted without effect | %d: checked, and without meaning here; the note says why |
| not supported | %d: an error that says so |

A directive that is not named here is unknown: an error, as in nginx. Those of
njs, Lua, headers-more, GeoIP2, OpenTelemetry, NGINX Plus and App Protect are
recognised, and refused as not supported.
`, counts[supported], counts[accepted], counts[notSupported])
	for _, m := range modules {
		m.write(&b)
	}
	return b.Bytes()
}

// A docStatus is the verdict on one directive.
type docStatus uint8

const (
	supported docStatus = iota
	accepted
	notSupported
)

func (s docStatus) String() string {
	return [...]string{"supported", "accepted without effect", "not supported"}[s]
}

// A docRow is one directive of one module.
type docRow struct {
	name, contexts string
	status         docStatus
	note           string
}

// A docModule is a section of the document.
type docModule struct {
	name string
	rows []docRow
}

// documented returns the sections in order: the core, HTTP, stream, mail, the rest.
func documented(t *Table) []docModule {
	rows := make(map[string][]docRow)
	used := make(map[string]Context) // what rows of nginx's directives cover
	for name, list := range listNginx() {
		for _, d := range list {
			row := t.row(d)
			rows[d.module] = append(rows[d.module], row)
			if row.status != notSupported {
				used[name] |= d.in
			}
		}
	}
	for _, g := range t.groups {
		for _, s := range g.Specs {
			if s.In&^used[s.Name] == s.In {
				rows[g.Module] = append(rows[g.Module], ownRow(s))
			}
		}
	}
	modules := make([]docModule, 0, len(rows))
	for name, rs := range rows {
		slices.SortFunc(rs, func(a, b docRow) int {
			return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.contexts, b.contexts))
		})
		modules = append(modules, docModule{name, rs})
	}
	slices.SortFunc(modules, func(a, b docModule) int {
		return cmp.Or(cmp.Compare(rank(a.name), rank(b.name)), cmp.Compare(a.name, b.name))
	})
	return modules
}

func rank(module string) int {
	order := []string{"ngx_core_module", "ngx_http_core_module", "ngx_http_", "ngx_stream_", "ngx_mail_", ""}
	return slices.IndexFunc(order, func(prefix string) bool { return strings.HasPrefix(module, prefix) })
}

// row says what the table makes of a directive of nginx.
func (t *Table) row(d nginxDirective) docRow {
	row := docRow{name: d.name, contexts: strings.ReplaceAll(d.contexts, ",", ", "), status: notSupported}
	var in Context
	for _, s := range t.byName[d.name] {
		if s.In&d.in == 0 {
			continue
		}
		in |= s.In
		row.status = supported
		if s.Effect == NoEffect {
			row.status = accepted
		}
		if s.Note != "" && !strings.Contains(row.note, s.Note) {
			row.note = strings.TrimSpace(row.note + " " + s.Note)
		}
	}
	if missing := d.in &^ in; row.status != notSupported && missing != 0 {
		row.note = strings.TrimSpace(row.note + " Not in " + missing.String() + ".")
	}
	return row
}

// ownRow is the row of a directive that nginx has not.
func ownRow(s Spec) docRow {
	row := docRow{name: s.Name, contexts: s.In.String(), note: s.Note}
	if s.Effect == NoEffect {
		row.status = accepted
	}
	return row
}

// write writes the section: a table, or one sentence when nothing of it is there.
func (m docModule) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n\n", m.name)
	if !slices.ContainsFunc(m.rows, func(r docRow) bool { return r.status != notSupported }) {
		names := make([]string, len(m.rows))
		for i, r := range m.rows {
			names[i] = "`" + r.name + "`"
		}
		fmt.Fprintf(b, "Not supported: %s.\n", strings.Join(slices.Compact(names), ", "))
		return
	}
	b.WriteString("| directive | contexts | Baton | note |\n|---|---|---|---|\n")
	for _, r := range m.rows {
		note := strings.ReplaceAll(r.note, "|", `\|`)
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", r.name, r.contexts, r.status, note)
	}
}
