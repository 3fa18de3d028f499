package upgrade

import (
	"time"
)

// An Event is one thing that an upgrade tells about itself while it runs. As JSON
// it is one line of the output of --json; docs/operator.md has its fields.
type Event struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	// Event is "begin" and "end" of a step, "note", "progress", "result".
	Event string `json:"event"`
	Step  Step   `json:"step,omitempty"`
	// Text is what was done, or is to be known.
	Text string `json:"text,omitempty"`
	// Seconds is how long a step took, or the whole.
	Seconds float64 `json:"seconds,omitempty"`
	// Error is why a step failed, or the whole.
	Error string `json:"error,omitempty"`
	// Count of Of, of Unit: connections that are done, seconds that are over.
	Count int    `json:"count,omitempty"`
	Of    int    `json:"of,omitempty"`
	Unit  string `json:"unit,omitempty"`

	// What follows is told with the result only.

	Result     Outcome   `json:"result,omitempty"`
	ExitStatus *int      `json:"exit_status,omitempty"`
	Log        []string  `json:"log,omitempty"`  // what the error log says of the failure
	Next       []Command `json:"next,omitempty"` // what to type next
}
