package upgrade

import (
	"slices"
	"testing"
	"time"
)

// Only what went back by itself counts as a failure of the build, until that went well.
func TestFailedBefore(t *testing.T) {
	const sum = "abc"
	upgradeOf := func(id, sum string, more ...entry) []entry {
		es := append([]entry{{Event: "open", Record: &record{Checksum: sum}}, {Event: "begin", Step: Replace}}, more...)
		for i := range es {
			es[i].ID, es[i].Time = id, time.Unix(1, 0)
		}
		return es
	}
	failed := entry{Event: "close", Outcome: Failed, Error: "no"}
	for _, tt := range []struct {
		name    string
		entries []entry
		want    string // id of the upgrade
	}{
		{"nothing", nil, ""},
		{"failed", upgradeOf("1", sum, failed), "1"},
		{"another build failed", upgradeOf("1", "def", failed), ""},
		{"failed twice", slices.Concat(upgradeOf("1", sum, failed), upgradeOf("2", sum, failed)), "2"},
		{"interrupted", upgradeOf("1", sum), ""},
		{"went well later", slices.Concat(upgradeOf("1", sum, failed), upgradeOf("2", sum, entry{Event: "close", Outcome: Done})), ""},
		{"went well although it was asked back", slices.Concat(upgradeOf("1", sum, failed),
			upgradeOf("2", sum, entry{Event: "resume", Asked: true}, entry{Event: "close", Outcome: Done})), ""},
		{"asked back", upgradeOf("1", sum, entry{Event: "close", Outcome: Failed, Asked: true}), ""},
		{"asked back, and killed on the way", upgradeOf("1", sum, entry{Event: "failed", Step: Soak, Asked: true}, entry{Event: "resume"}, failed), ""},
		{"failed, and then one was asked back", slices.Concat(upgradeOf("1", sum, failed),
			upgradeOf("2", sum, entry{Event: "close", Outcome: Failed, Asked: true})), "1"},
	} {
		got := ""
		if a := (&journal{entries: tt.entries}).failedBefore(sum); a != nil {
			got = a.id
		}
		if got != tt.want {
			t.Errorf("%s: upgrade %q, want %q", tt.name, got, tt.want)
		}
	}
}
