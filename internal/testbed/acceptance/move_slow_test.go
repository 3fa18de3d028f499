//go:build race

package acceptance

import "time"

// With the race detector in them servers are some ten times slower.
const (
	soon     = 8 * time.Second
	patience = 20 * time.Second
)
