package load

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A Report is what a load has seen, group by group.
type Report struct {
	Took   time.Duration
	Groups []GroupReport
}

// A GroupReport is what one group has seen.
type GroupReport struct {
	Name string
	Count
	Samples  []Sample  // every answered request, in the order of the answers
	Failures []Failure // the first [maxFailures]
}

// Group returns the report of the group called name. It panics when there is
// none: the name is a constant beside the group.
func (r *Report) Group(name string) GroupReport {
	for _, g := range r.Groups {
		if g.Name == name {
			return g
		}
	}
	panic("load: no group " + strconv.Quote(name))
}

// By returns everyone who answered any group, in the order of their names.
func (r *Report) By() []string {
	all := map[string]bool{}
	for _, g := range r.Groups {
		for by := range g.Answered {
			all[by] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// String returns the report as a table, one column for each group.
func (r *Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(g GroupReport) string) {
		fmt.Fprintf(w, "%s\t", name)
		for _, g := range r.Groups {
			fmt.Fprintf(w, "%s\t", cell(g))
		}
		fmt.Fprintln(w)
	}
	number := func(name string, field func(g GroupReport) int) {
		row(name, func(g GroupReport) string { return strconv.Itoa(field(g)) })
	}
	latency := func(name string, q float64) {
		row(name, func(g GroupReport) string {
			return Quantile(g.Samples, q).Round(10 * time.Microsecond).String()
		})
	}
	row("", func(g GroupReport) string { return g.Name })
	number("requests sent", func(g GroupReport) int { return g.Sent })
	for _, by := range r.By() {
		number("answered by "+or(by, "(no name)"), func(g GroupReport) int { return g.Answered[by] })
	}
	number("lost", func(g GroupReport) int { return g.Lost })
	number("wrong answers", func(g GroupReport) int { return g.Wrong })
	number("connections refused", func(g GroupReport) int { return g.Refused })
	number("connections failed", func(g GroupReport) int { return g.Unopened })
	number("idle connections cut", func(g GroupReport) int { return g.Violations() })
	number("closes announced", func(g GroupReport) int { return g.Announced })
	number("reconnects", func(g GroupReport) int { return g.Reconnects })
	latency("latency p50", 0.50)
	latency("p99", 0.99)
	latency("maximum", 1)
	w.Flush()
	return b.String()
}

// Trouble returns the first failures of every group, one in a line, "" when
// there were none.
func (r *Report) Trouble() string {
	var b strings.Builder
	for _, g := range r.Groups {
		for _, f := range g.Failures {
			fmt.Fprintf(&b, "%s, %v: %s\n", g.Name, f.At.Round(time.Millisecond), f.What)
		}
	}
	return b.String()
}
