//go:build !race

package testbed

// raceEnabled says whether this program has the race detector; servers that
// it builds then have it too.
const raceEnabled = false
