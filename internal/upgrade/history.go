package upgrade

import (
	"fmt"
	"time"
)

// A Past is one upgrade of the journal. Its JSON is documented in docs/operator.md.
type Past struct {
	Schema  int       `json:"schema"`
	ID      string    `json:"id"`
	Opened  time.Time `json:"opened"`
	Closed  time.Time `json:"closed,omitzero"` // absent while it has not ended
	From    string    `json:"from"`
	To      string    `json:"to"`
	Binary  string    `json:"binary"`
	Backup  string    `json:"backup"`
	Outcome Outcome   `json:"outcome,omitempty"`
	Error   string    `json:"error,omitempty"`
}

// History returns the upgrades that the journal of a server tells of, oldest first.
// The server need not run.
func History(pidFile string) ([]Past, error) {
	var entries []entry
	var err error
	if aerr := actFor(pidFile, func() { entries, err = readJournal(pidFile) }); aerr != nil {
		return nil, aerr
	}
	if err != nil {
		return nil, err
	}
	past := []Past{}
	for _, a := range accounts(entries) {
		past = append(past, Past{
			Schema: Schema, ID: a.id, Opened: a.opened, Closed: a.closed,
			From: a.record.OldVersion, To: a.record.NewVersion, Binary: a.record.Binary, Backup: a.record.Backup,
			Outcome: a.outcome, Error: a.err,
		})
	}
	return past, nil
}

// String is one line for people.
func (p Past) String() string {
	took := "not ended"
	if !p.Closed.IsZero() {
		took = fmt.Sprintf("%s after %.1fs", p.Outcome, p.Closed.Sub(p.Opened).Seconds())
	}
	line := fmt.Sprintf("%s  %s → %s  %s", p.Opened.Local().Format(time.DateTime), p.From, p.To, took)
	if p.Error != "" {
		line += ": " + quoted(p.Error)[2:]
	}
	return line
}
