package upgrade

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/report"
)

// Schema is the version of everything that is printed as JSON. It grows when a
// field changes its meaning or goes; new fields may come at any time.
const Schema = 1

// Status is what status tells. Its JSON is documented in docs/operator.md.
type Status struct {
	Schema  int    `json:"schema"`
	PidFile string `json:"pid_file"`
	// PidFileLost: the file is not there, or names somebody else, and the master was found
	// by its socket.
	PidFileLost bool         `json:"pid_file_lost,omitempty"`
	Phase       Phase        `json:"phase"`
	Generations []Generation `json:"generations"` // the old one first
	// Upgrade is the one that is under way by our own command, or was interrupted.
	Upgrade *Interrupted `json:"upgrade,omitempty"`
	// Next are the commands that make sense now, and what they do.
	Next []Command `json:"next"`
}

// An Interrupted is an upgrade that has not ended.
type Interrupted struct {
	To   string `json:"to"`
	Step Step   `json:"step"` // that was begun last
	// Operator is the process that runs it, 0 when it was interrupted.
	Operator int `json:"operator"`
}

// A Generation is a master and its workers.
type Generation struct {
	Master  int    `json:"master"`
	Version string `json:"version"` // "" when it does not tell
	Binary  string `json:"binary"`  // the file that USR2 executes, "" when the master has just been started
	// File is what became of that file: "same" as what runs, "replaced", "missing".
	File string `json:"file"`
	// Keeper is the process by which a container or a supervisor knows the server, 0 when
	// that is the master itself: it was the first one, and passes signals on.
	Keeper      int      `json:"keeper,omitempty"`
	AgeSeconds  float64  `json:"age_seconds"`
	Workers     []Worker `json:"workers"`
	Connections int      `json:"connections"`
	// Report is what a master of Baton says of itself.
	Report *report.Report `json:"report,omitempty"`
}

// A Worker is one process that serves.
type Worker struct {
	Pid          int     `json:"pid"`
	AgeSeconds   float64 `json:"age_seconds"`
	ShuttingDown bool    `json:"shutting_down"`
	Connections  int     `json:"connections"`
}

func (s *sight) status() (*Status, error) {
	st := &Status{Schema: Schema, PidFile: s.pidFile, PidFileLost: s.lost, Phase: s.phase()}
	for _, g := range s.generations() {
		told, err := g.tell()
		if err != nil {
			return nil, err
		}
		st.Generations = append(st.Generations, told)
	}
	st.Next = append(s.verbs(), s.next()...)
	if s.lost {
		st.Next = []Command{{write(s.new.pid, s.pidFile), "write the pid file again: without it no command finds the master"}}
	}
	entries, err := readJournal(s.pidFile)
	if err != nil {
		return nil, err
	}
	if a := last(entries); a != nil && a.closed.IsZero() {
		st.addUpgrade(a)
	}
	return st, nil
}

// addUpgrade tells of an upgrade that has not ended.
func (st *Status) addUpgrade(a *account) {
	st.Upgrade = &Interrupted{To: a.record.To, Step: a.lastStep()}
	if a.operator.same() {
		st.Upgrade.Operator = a.operator.pid
		st.Next = []Command{
			{at(st.PidFile, "commit"), "end the soak now"},
			{at(st.PidFile, "rollback"), "go back"},
		}
		return
	}
	st.Next = []Command{
		{at(st.PidFile, "upgrade", "--resume"), "go on"},
		{at(st.PidFile, "rollback"), "go back"},
	}
}

// verbs returns our own commands that lead on from here.
func (s *sight) verbs() []Command {
	switch s.phase() {
	case Serving:
		return []Command{{at(s.pidFile, "upgrade") + " --to NEW", "upgrade, and go back when it fails"}}
	case Committed:
		return []Command{{at(s.pidFile, "rollback"), "wait for the old master's end, then upgrade to the old version"}}
	case Both, Draining, Soaking:
		return []Command{{at(s.pidFile, "commit"), "go on to the end"}, {at(s.pidFile, "rollback"), "go back"}}
	case Stopped:
		return nil
	}
	return []Command{{at(s.pidFile, "rollback"), "go back"}}
}

func (g *generation) tell() (Generation, error) {
	told := Generation{
		Master: g.pid, Version: g.version, Binary: g.binary, File: "same",
		AgeSeconds: seconds(g.age()), Workers: []Worker{}, Report: g.report,
	}
	if proc.IsKeeper(g.ppid) {
		told.Keeper = g.ppid
	}
	switch _, err := identify(g.binary); {
	case g.binary == "":
		told.File = ""
	case isMissing(err):
		told.File = "missing"
	case err != nil:
		return told, fmt.Errorf("look at %s: %w", g.binary, err)
	case !g.runs(g.binary):
		told.File = "replaced"
	}
	all, err := sockets(g.pid)
	if err != nil {
		return told, err
	}
	open, err := listeners(g.pid, all)
	if err != nil {
		return told, g.denied(err)
	}
	ports := map[string]bool{}
	for key := range open {
		ports[portOf(key)] = true
	}
	for _, w := range g.workers {
		n := clients(w.pid, all, ports)
		told.Connections += n
		told.Workers = append(told.Workers, Worker{
			Pid: w.pid, AgeSeconds: seconds(w.age()), ShuttingDown: w.isRetiring(), Connections: n})
	}
	return told, nil
}

// Facts returns all of st but ages, as text: it is the same as long as nothing changes.
func (st *Status) Facts() string {
	now := *st
	now.Generations = slices.Clone(st.Generations)
	for i := range now.Generations {
		g := &now.Generations[i]
		g.AgeSeconds, g.Workers = 0, slices.Clone(g.Workers)
		for j := range g.Workers {
			g.Workers[j].AgeSeconds = 0
		}
	}
	return now.String()
}

// seconds rounds to hundredths, which is all that the kernel tells.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*100) / 100 }

// next returns the commands of the procedure that lead on from here.
func (s *sight) next() []Command {
	kill := func(sig string, g *generation, does string) Command {
		return Command{fmt.Sprintf("kill -%s %d", sig, g.pid), does}
	}
	commit := func() Command { return kill("QUIT", s.old, "commit: the old master goes") }
	back := func() []Command {
		return []Command{
			kill("HUP", s.old, "roll back: the old workers serve again …"),
			kill("QUIT", s.new, "… and the new master goes"),
		}
	}
	switch s.phase() {
	case Serving:
		return []Command{kill("USR2", s.new, "upgrade: execute the file on disk as a new master")}
	case Stopped:
		return []Command{kill("HUP", s.new, "start the workers again")}
	case Starting:
		return []Command{kill("TERM", s.new, "give up: the new master goes")}
	case Committed:
		return []Command{{s.old.endDrain(), "end what the old master still has"}}
	case Both:
		return append([]Command{kill("WINCH", s.old, "only the new workers serve")}, back()[1])
	case Draining, Soaking:
		return append([]Command{commit()}, back()...)
	case RolledBack:
		return back()[1:]
	}
	return back()
}

// String is the status for people. It ends in a newline.
func (st *Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "phase   %s\n", st.Phase)
	fmt.Fprintf(&b, "pid     %s%s\n", st.PidFile, lostNote(st.PidFileLost))
	if u := st.Upgrade; u != nil && u.Operator != 0 {
		fmt.Fprintf(&b, "upgrade to %s, run by process %d, which does %s\n", u.To, u.Operator, u.Step)
	} else if u != nil {
		fmt.Fprintf(&b, "upgrade to %s, interrupted in %s\n", u.To, u.Step)
	}
	for i, g := range st.Generations {
		role := "master "
		if len(st.Generations) == 2 {
			role = [...]string{"old    ", "new    "}[i]
		}
		fmt.Fprintf(&b, "%s %d, %s, %s old, %s\n", role, g.Master, orUnknown(g.Version), age(g.AgeSeconds), count(g.Connections, "connection"))
		if g.Binary != "" {
			fmt.Fprintf(&b, "        %s%s\n", g.Binary, fileNote(g.File))
		}
		if g.Report != nil {
			b.WriteString(reloadNote(g.Report.Reload))
			if changed := g.Report.Changed; len(changed) > 0 {
				fmt.Fprintf(&b, "        changed since they were loaded: %s\n", strings.Join(changed, ", "))
			}
		}
		if g.Keeper != 0 {
			fmt.Fprintf(&b, "        process %d keeps it for whoever started the server\n", g.Keeper)
		}
		for _, w := range g.Workers {
			state := ""
			if w.ShuttingDown {
				state = ", shutting down"
			}
			fmt.Fprintf(&b, "        worker %d, %s old, %s%s\n", w.Pid, age(w.AgeSeconds), count(w.Connections, "connection"), state)
		}
		if len(g.Workers) == 0 {
			b.WriteString("        no workers\n")
		}
	}
	for i, c := range st.Next {
		label := "next    "
		if i > 0 {
			label = "        "
		}
		fmt.Fprintf(&b, "%s%s  # %s\n", label, c.Command, c.Does)
	}
	return b.String()
}

func lostNote(lost bool) string {
	if lost {
		return " (lost: it does not name the master, which was found by its socket)"
	}
	return ""
}

// reloadNote tells of the last reload; nothing when there was none.
func reloadNote(r *report.Reload) string {
	switch {
	case r == nil || r.Number == 0:
		return ""
	case r.Under:
		return "        a reload is under way\n"
	case r.Error != "":
		return fmt.Sprintf("        the last reload, %s, failed: %s\n", r.At.Local().Format(time.DateTime), r.Error)
	}
	return fmt.Sprintf("        the last reload was %s\n", r.At.Local().Format(time.DateTime))
}

func orUnknown(version string) string {
	if version == "" {
		return "version unknown"
	}
	return version
}

func fileNote(file string) string {
	switch file {
	case "replaced":
		return " (replaced since: the file is not what runs)"
	case "missing":
		return " (missing: an upgrade would fail)"
	}
	return ""
}

// age words seconds so that two units are enough.
func age(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// DefaultPidFile is where the pid file of a prefix is unless its configuration says
// otherwise.
func DefaultPidFile(prefix string) string { return filepath.Join(prefix, "logs/nginx.pid") }
