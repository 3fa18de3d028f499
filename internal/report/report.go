package report

import "time"

// Schema is the version of a [Report]. It grows when a field changes its meaning or goes;
// new fields may come at any time.
const Schema = 1

// A Report is what a master says of itself at one moment. Its JSON is documented in
// docs/operator.md.
type Report struct {
	Schema  int    `json:"schema"`
	Version string `json:"version"`
	Pid     int    `json:"pid"`
	Phase   Phase  `json:"phase"`
	// Upgraded: the master that executed this one still lives.
	Upgraded bool `json:"upgraded"`
	// Keeps: its process stays when it was upgraded, for whoever started it, and passes
	// signals on.
	Keeps bool `json:"keeps"`
	// Successor is the new master of an upgrade that is under way.
	Successor *Successor `json:"successor,omitempty"`
	// Reload is the last one; nil says that the master does not tell.
	Reload *Reload `json:"reload,omitempty"`
	// Changed are files of the configuration that serves, some of them, that are otherwise
	// on disk than when they were loaded, and patterns that match other files.
	Changed     []string     `json:"changed,omitempty"`
	Generations []Generation `json:"generations"` // oldest first
	// Retired adds up what became of the connections of all workers that retired.
	Retired  Retired  `json:"retired"`
	Counters Counters `json:"counters"`
}

// A Phase is where a master is in its life.
type Phase string

// The phases.
const (
	Starting Phase = "starting" // no worker has been ready yet
	Serving  Phase = "serving"
	Idle     Phase = "idle"     // the workers were told to go; it can have them back
	Draining Phase = "draining" // it was told to go, and does after its last worker
	Stopping Phase = "stopping" // it was told to exit at once
)

// Leaving reports whether a master in this phase was told to go: then it takes no signal
// to stay.
func (p Phase) Leaving() bool { return p == Draining || p == Stopping }

// A Successor is a new master that the one who reports has started.
type Successor struct {
	Pid   int  `json:"pid"`
	Ready bool `json:"ready"`
	// Moves: live connections can be given to it.
	Moves bool `json:"moves"`
}

// A Reload is one load of the configuration because of HUP.
type Reload struct {
	// Number counts the reloads of a master from 1; 0 says that there was none.
	Number int       `json:"number"`
	Under  bool      `json:"under_way"`
	At     time.Time `json:"at,omitzero"` // when it began, or ended
	// Error is why its configuration did not come to serve; "" when it did.
	Error string `json:"error,omitempty"`
}

// A Generation is the workers of one load of a configuration.
type Generation struct {
	ID      int      `json:"id"`
	State   string   `json:"state"` // "starting", "serving", "retiring"
	Workers []Worker `json:"workers"`
}

// A Worker is one process of a generation.
type Worker struct {
	Pid   int  `json:"pid"`
	Ready bool `json:"ready"`
}

// Retired is what became of connections: given to other workers, ended by themselves,
// cut.
type Retired struct {
	Workers int `json:"workers"`
	Moved   int `json:"moved"`
	Drained int `json:"drained"`
	Closed  int `json:"closed"`
	// Millis is how long the slowest of the workers took.
	Millis int64 `json:"ms"`
}

// Counters are those of stub_status, and how the answers were, over all workers of a
// master.
type Counters struct {
	Accepted int64 `json:"accepted"`
	Handled  int64 `json:"handled"`
	Requests int64 `json:"requests"`
	Reading  int64 `json:"reading"`
	Writing  int64 `json:"writing"`
	Waiting  int64 `json:"waiting"`
	// Answered counts answers, Failed those of them with a status of 500 or above.
	Answered int64 `json:"answered"`
	Failed   int64 `json:"failed"`
}
