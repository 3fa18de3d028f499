package control

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/proc"
)

// Kinds of messages. Each side ignores what it does not know.
const (
	// KindFiles carries descriptors for the message that follows it.
	KindFiles = "files"

	// KindStart, master to worker: the configuration and all descriptors, then
	// serve. Body Start.
	KindStart = "start"
	// KindReady, from whoever was started: it serves now. From a new master again for
	// each generation, to which the old one's workers then give what is left. No body.
	KindReady = "ready"
	// KindFailed, from whoever was started: it cannot serve and ends. Body Failed.
	KindFailed = "failed"
	// KindReopen, master to worker: log files that were opened again, by path. Master to
	// master, from version 2 on: it was told to open its log files again; do so, too. No
	// body.
	KindReopen = "reopen"
	// KindRetire, master to worker: stop accepting, move what can be moved over the
	// link that comes along as FileGive, if any, drain the rest, exit. Said again: move
	// what is left over this link, to another successor. Body Retire.
	KindRetire = "retire"
	// KindTake, master to worker: take connections over the link that comes along
	// as FileTake. Master to master: pass it on to a worker that serves; only between
	// two that agreed on a version. No body. A receiver that cannot closes the link, and
	// the giver drains.
	KindTake = "take"
	// KindRetired, worker to master: how that went; it exits now. Body Retired.
	KindRetired = "retired"

	// KindInherit, new master to old, from version 2 on: it asks for what is to go on, once
	// and before it is ready; no body. Old master to new: that, as FileStats and
	// FileTickets, each if there is one, and from version 3 on a FileZone for each zone.
	// Body Inherit.
	KindInherit = "inherit"

	// KindHello is the first message of either master after an upgrade began, and
	// of a master to the command that started it. Body Hello.
	KindHello = "hello"
)

// ProtocolMin and ProtocolMax are the versions of the conversation between two
// masters that this build speaks. The two use the highest that both speak; when
// there is none they say hello, ready and failed and nothing else.
const (
	ProtocolMin = 1
	ProtocolMax = 3

	// ProtocolInherit is from when on a new master asks for what it inherits, and masters
	// tell each other that logs are opened again.
	ProtocolInherit = 2

	// ProtocolZones is from when on a new master inherits shared zones, too.
	ProtocolZones = 3
)

// A Hello says who speaks and which protocol versions it knows.
type Hello struct {
	Version string `json:"version"`
	Pid     int    `json:"pid"`
	Min     int    `json:"min"`
	Max     int    `json:"max"`
}

// Agree returns the protocol version that two sides use, or 0 when there is
// none.
func Agree(a, b Hello) int {
	v := min(a.Max, b.Max)
	if v < max(a.Min, b.Min) {
		return 0
	}
	return v
}

// An Inherit tells a new master of which form the memory is that it inherits, and which
// is the first of the seats there that are its own.
type Inherit struct {
	StatsVersion int `json:"stats_version,omitempty"`
	StatsFirst   int `json:"stats_first,omitempty"`
	// Zones tells what the zones are that come along.
	Zones []conf.Zone `json:"zones,omitempty"`
}

// A Failed says why something did not come to serve.
type Failed struct {
	// Stage is "config", "listen", "start" or "ready".
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
}

// Names of the descriptors that come with Start. A listening socket is
// "listen " and its key, a log file "log " and its path, a zone "zone " and its name.
const (
	FileConfig = "config"
	FileStats  = "stats"
	// FileTickets is memory with what the keys of TLS session tickets are made of.
	FileTickets = "tickets"
	FileListen  = "listen "
	FileLog     = "log "
	FileZone    = "zone "
)

// Names of the two ends of a hand-over link.
const (
	FileGive = "give"
	FileTake = "take"
)

// Start tells a worker who it is.
type Start struct {
	Generation int `json:"generation"`
	// Seat is unique among all living workers of the master; the lowest free one
	// is given out.
	Seat int `json:"seat"`
	// Workers is how many workers the generation has.
	Workers int `json:"workers"`
	// StatsBytes is the size of the shared memory.
	StatsBytes int `json:"stats_bytes"`
	// Identity is the user to become before serving; nil to stay what one is.
	Identity *proc.Identity `json:"identity,omitempty"`
}

// Retire tells a worker to stop accepting.
type Retire struct {
	// Successor: another generation serves the same sockets.
	Successor bool `json:"successor"`
}

// Retired is what became of a retired worker's connections: how many went to the
// successor, came to their natural end, and were cut, and how long it took until none
// was left.
type Retired struct {
	Moved   int   `json:"moved"`
	Drained int   `json:"drained"`
	Closed  int   `json:"closed"`
	Millis  int64 `json:"ms"`
}
