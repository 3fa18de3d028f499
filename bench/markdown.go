package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// Markdown is the report as tables.
func (r *report) Markdown() string {
	var b strings.Builder
	if len(r.rows) > 0 {
		b.WriteString("| case | Baton, requests/s | nginx, requests/s | ratio |\n|---|---:|---:|---:|\n")
		for _, row := range r.rows {
			fmt.Fprintf(&b, "| %s | %.0f | %.0f | **%.2f** |\n", row.name, median(row.baton), median(row.nginx), row.ratio())
		}
	}
	if len(r.life) > 0 {
		b.WriteString("\n| | start command returns after, ms | master, MB resident | idle worker, MB resident |\n|---|---:|---:|---:|\n")
		for _, l := range r.life {
			fmt.Fprintf(&b, "| %s | %.0f | %.1f | %.1f |\n", l.name, l.start, l.master, l.worker)
		}
	}
	return b.String()
}

// The report stands in a file between these.
const (
	beginMark = "<!-- begin: written by make bench -->\n"
	endMark   = "<!-- end: written by make bench -->\n"
)

// writeInto replaces what stands between the markers of a file.
func (r *report) writeInto(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("write into %s: the markers are missing", file)
	}
	out := append([]byte(nil), before...)
	out = append(out, beginMark...)
	out = append(out, "\n"+r.Markdown()+"\n"...)
	out = append(out, endMark...)
	return os.WriteFile(file, append(out, after...), 0o644)
}
