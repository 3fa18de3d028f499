//go:build !race

package acceptance

import "time"

const (
	// soon is how long a generation may stay that has given its connections away.
	soon = 2 * time.Second
	// patience is what a client of a busy machine has.
	patience = 10 * time.Second
)
