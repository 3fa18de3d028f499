package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/load"
)

// quantiles are p50, p99, p99.9 and the maximum, in milliseconds.
func quantiles(samples []load.Sample) string {
	var parts []string
	for _, q := range []float64{0.5, 0.99, 0.999, 1} {
		parts = append(parts, fmt.Sprintf("%.1f", milliseconds(load.Quantile(samples, q))))
	}
	return strings.Join(parts, " / ")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// summary is a row in one line, for who watches.
func (row hotRow) summary() string {
	return fmt.Sprintf("lost %d, cut %d, told %d, reconnects %d; ms before %s, around %s; WebSockets %d/%d, downloads %d/%d",
		row.lost(), row.count.Violations(), row.count.Announced, row.count.Reconnects, quantiles(row.steady), quantiles(row.switching),
		row.socketsKept, row.sockets, row.downloadsKept, row.downloads)
}

// lost is how many requests were sent and not answered, or could not be sent.
func (row hotRow) lost() int {
	return row.count.Lost + row.count.Wrong + row.count.Refused + row.count.Unopened
}

// stay says how long the old process was there.
func (row hotRow) stay() string {
	switch {
	case row.sameProcess:
		return "same process"
	case !row.gone:
		return fmt.Sprintf("over %.0f s", goneLimit.Seconds())
	default:
		return fmt.Sprintf("%.2f s", row.goneAfter.Seconds())
	}
}

func (i idleRow) String() string {
	return fmt.Sprintf("Baton moved %d idle connections, %d of whose clients noticed, and its old processes were gone, within %.2f s of QUIT; "+
		"the new worker has %.1f KB resident for each", i.clients, i.failed, i.took.Seconds(), float64(i.bytes)/1024)
}

// hotTables are the results as Markdown.
func (r *report) hotTables() string {
	var b strings.Builder
	b.WriteString("| server | how | requests lost | connections cut while idle | closes announced | reconnects | WebSockets kept | downloads kept | old process gone, 1,000 WebSockets open |\n" +
		"|---|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, row := range r.hotRows {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d of %d | %d of %d | %s |\n", row.name, row.how, row.lost(), row.count.Violations(),
			row.count.Announced, row.count.Reconnects, row.socketsKept, row.sockets, row.downloadsKept, row.downloads, row.stay())
	}
	b.WriteString("\nLatency of the POST requests in milliseconds, p50 / p99 / p99.9 / maximum:\n\n" +
		"| server | seconds before | second around the switch | p99.9 around : before |\n|---|---:|---:|---:|\n")
	for _, row := range r.hotRows {
		ratio := float64(load.Quantile(row.switching, 0.999)) / float64(max(1, load.Quantile(row.steady, 0.999)))
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f |\n", row.name, quantiles(row.steady), quantiles(row.switching), ratio)
	}
	if r.idle.clients > 0 {
		fmt.Fprintf(&b, "\n%v.\n", r.idle)
	}
	return b.String()
}
