package upgrade

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

// Each story is a transcript in testdata/plan.txt: which steps fail, and what is done.
func TestPlan(t *testing.T) {
	const path = "testdata/plan.txt"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for story := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		head, _, ok := strings.Cut(story, "\n----")
		if !ok {
			t.Fatalf("no ---- in %q", story)
		}
		lines := strings.Split(head, "\n")
		fails, ok := strings.CutPrefix(lines[len(lines)-1], "fails:")
		if !ok {
			t.Fatalf("the last line before ---- is %q, want fails: …", lines[len(lines)-1])
		}
		fmt.Fprintf(&got, "%s\n----\n%s\n\n", head, playPlan(strings.Fields(fails)))
	}
	out := strings.TrimSpace(got.String()) + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(string(text), out); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// playPlan runs a plan in which these steps fail.
func playPlan(fails []string) string {
	failing := map[Step]bool{}
	for _, f := range fails {
		failing[Step(f)] = true
	}
	var p plan
	var did []string
	step, outcome := p.next("", true)
	for step != "" {
		word := string(step)
		if failing[step] {
			word += " (fails)"
		}
		did = append(did, word)
		step, outcome = p.next(step, !failing[step])
	}
	return strings.Join(did, ", ") + "\n→ " + string(outcome)
}

// Whatever fails: what was begun is undone, in the one order that never leaves nobody
// serving, and nothing that was not begun is touched.
func TestEveryFailureIsUndone(t *testing.T) {
	steps := forward()
	for i, s := range steps[:len(steps)-1] {
		got := playPlan([]string{string(s.do)})
		for j, other := range steps {
			if other.undo == "" {
				continue
			}
			if has := strings.Contains(got, string(other.undo)); has != (j <= i) {
				t.Errorf("%s fails: %s; %s is undone: %v, want %v", s.do, got, other.do, has, j <= i)
			}
		}
		if !strings.HasSuffix(got, string(Failed)) {
			t.Errorf("%s fails: %s, want it to end as %s", s.do, got, Failed)
		}
	}
}

// From where an upgrade stands to where an operator wants it.
func TestRoute(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    standing
		want map[intent]way
	}{
		{"killed before the new master was started", standing{masters: 1, phase: Serving, oldLives: true, begun: []Step{Replace}},
			map[intent]way{toEnd: {}, toCommit: {back: true}, toBack: {back: true}}},
		{"killed while it started", standing{masters: 2, phase: Starting, oldLives: true, begun: []Step{Replace, Switch}},
			map[intent]way{toEnd: {after: Replace}, toCommit: {after: Replace}, toBack: {back: true}}},
		{"both serve, begun by hand", standing{masters: 2, phase: Both, oldLives: true},
			map[intent]way{toEnd: {after: Replace}, toCommit: {after: Replace}, toBack: {back: true}}},
		{"killed in the soak", standing{masters: 2, phase: Soaking, oldLives: true, begun: []Step{Replace, Switch, Probe, Retire, Soak}},
			map[intent]way{toEnd: {after: Retire}, toCommit: {after: Retire}, toBack: {back: true}}},
		{"killed on the way back", standing{masters: 2, phase: Both, oldLives: true, begun: []Step{Replace, Switch, Probe, Restore}},
			map[intent]way{toEnd: {back: true}, toCommit: {back: true}, toBack: {back: true}}},
		{"killed after the commit", standing{masters: 1, phase: Serving, begun: []Step{Replace, Switch, Probe, Retire, Soak, Commit}},
			map[intent]way{toEnd: {over: true}, toCommit: {over: true}, toBack: {over: true}}},
	} {
		for want, w := range tt.want {
			if got := route(tt.s, want); got != w {
				t.Errorf("%s: %s goes %+v, want %+v", tt.name, want, got, w)
			}
		}
	}
}
