package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Markdown is the report as tables.
func (r *report) Markdown() string {
	var b strings.Builder
	if len(r.rows) > 0 {
		b.WriteString("| case | Baton, requests/s | nginx, requests/s | ratio | ratio by processor time | connections opened to the server for each request, Baton / nginx |\n|---|---:|---:|---:|---:|---:|\n")
		for _, row := range r.rows {
			opened := ""
			if len(row.baton.conn) > 0 {
				opened = fmt.Sprintf("%.3f / %.3f", median(row.baton.conn), median(row.nginx.conn))
			}
			fmt.Fprintf(&b, "| %s | %.0f | %.0f | **%.2f** | %.2f | %s |\n", row.name, median(row.baton.rate), median(row.nginx.rate),
				row.ratio(), row.costRatio(), opened)
		}
	}
	if len(r.late) > 0 {
		b.WriteString("\n| at half of nginx's throughput | requests/s | Baton, ms: p50 / p99 / p99.9 | nginx, ms: p50 / p99 / p99.9 |\n|---|---:|---:|---:|\n")
		for _, l := range r.late {
			fmt.Fprintf(&b, "| %s | %.0f | %s | %s |\n", l.name, l.rate, l.baton, l.nginx)
		}
	}
	if len(r.life) > 0 {
		b.WriteString("\n| | start command returns after, ms | master, MB resident | idle worker, MB resident |\n|---|---:|---:|---:|\n")
		for _, l := range r.life {
			fmt.Fprintf(&b, "| %s | %.0f | %.1f | %.1f |\n", l.name, l.start, l.master, l.worker)
		}
	}
	if len(r.largeRows) > 0 {
		b.WriteString(r.largeTable())
	}
	return b.String()
}

// A section is a part of the report that stands in a file between two marks.
type section struct{ begin, end, text string }

func (r *report) sections() []section {
	all := []section{{
		begin: "<!-- begin: written by make bench -->\n",
		end:   "<!-- end: written by make bench -->\n",
		text:  r.Markdown(),
	}}
	if len(r.hotRows) > 0 {
		all = append(all, section{
			begin: "<!-- begin: hot deployment, written by make bench -->\n",
			end:   "<!-- end: hot deployment, written by make bench -->\n",
			text:  r.hotTables(),
		})
	}
	return all
}

// writeInto replaces what stands between the marks of a file, for each section
// that was measured, and draws the pictures beside it.
func (r *report) writeInto(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, s := range r.sections() {
		if s.text == "" {
			continue
		}
		before, rest, ok := strings.Cut(string(text), s.begin)
		_, after, ok2 := strings.Cut(rest, s.end)
		if !ok || !ok2 {
			return fmt.Errorf("write into %s: the marks are missing: %s", file, s.begin)
		}
		text = []byte(before + s.begin + "\n" + s.text + "\n" + s.end + after)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	if len(r.hotRows) == 0 {
		return nil
	}
	return r.draw(filepath.Dir(file))
}
