package master

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/baton-deploy/baton/internal/proc"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestTranscripts plays the stories of testdata: lines with "> " are events,
// those with "# " are prose, the others are what the master does.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the master acts otherwise than the transcript says (-update rewrites it):\n%s", diff)
			}
		})
	}
}

// play runs the events of a transcript and returns it with what really
// happened.
func play(t *testing.T, text string) string {
	s := &stage{t: t, state: state{self: 100}, worker: 100, master: 200, workers: 2}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			s.out = append(s.out, line)
			s.event(strings.Fields(line[2:]))
		case strings.HasPrefix(line, "# "), line == "":
			s.out = append(s.out, line)
		}
	}
	return strings.Join(s.out, "\n") + "\n"
}

// A stage is an operating system for the state of a master: it numbers the
// processes and lets things fail when it is told to.
type stage struct {
	t       *testing.T
	state   state
	out     []string
	worker  int // pid of the newest worker
	master  int // pid of the newest new master
	loads   int
	workers int               // of the next configuration
	heir    int               // the master that goes on; once
	fails   map[string]string // by action; once
}

func (s *stage) failure(what string) string {
	reason := s.fails[what]
	delete(s.fails, what)
	return reason
}

// event plays one line.
func (s *stage) event(words []string) {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	rest := func(i int) string { return strings.Join(words[min(i, len(words)):], " ") }
	switch words[0] {
	case "begin": // begin [parent [PROTOCOL] | nginx | keep]
		s.play(began{config: s.load(), parent: arg(1) != "" && arg(1) != "keep", keep: arg(1) == "keep"})
		if arg(1) == "parent" {
			s.play(parentSaid{s.protocol(arg(2))})
		}
	case "next": // next ACTION fails REASON, next workers N, next heir PID
		if arg(1) == "heir" {
			s.heir = s.number(arg(2))
			return
		}
		if arg(1) == "workers" {
			s.workers = s.number(arg(2))
			return
		}
		s.fails = map[string]string{arg(1): rest(3)}
	case "signal":
		s.play(signalled{s.signal(arg(1))})
	case "ready":
		s.play(workerReady{s.number(arg(1))})
	case "failed":
		s.play(workerFailed{s.number(arg(1)), arg(2), rest(3)})
	case "parent-reopens":
		s.play(otherReopens{})
	case "exit":
		s.play(s.exit(words))
	case "fire":
		s.play(fired{s.timer(words[1:])})
	case "pid-file":
		s.play(pidFileNames{s.number(arg(1))})
	case "new-master":
		if arg(1) == "hello" { // new-master hello [PROTOCOL]
			s.play(successorSaid{kind: arg(1), protocol: s.protocol(arg(2))})
			return
		}
		s.play(successorSaid{kind: arg(1), stage: arg(2), reason: rest(3)})
	case "misled":
		s.play(misled{rest(2), arg(1)})
	case "deaf":
		s.play(deaf{rest(2), arg(1)})
	case "link":
		s.play(linkCame{s.number(arg(1))})
	case "parent-gone":
		s.play(parentGone{})
	default:
		s.t.Fatalf("transcript: unknown event %q", words)
	}
}

// play lets the state react to ev, and to what comes of its actions.
func (s *stage) play(ev event) {
	for queue := []event{ev}; len(queue) > 0; {
		ev, queue = queue[0], queue[1:]
		for _, a := range s.state.step(ev) {
			s.out = append(s.out, a.String())
			if outcome := s.outcome(a); outcome != nil {
				queue = append(queue, outcome)
			}
		}
	}
	s.check()
}

// check is what must hold after every event, whatever the story.
func (s *stage) check() {
	serving := 0
	for _, g := range s.state.gens {
		if g.phase == genServing {
			serving++
		}
	}
	if serving > 1 {
		s.t.Errorf("%d generations serve, after:\n%s", serving, strings.Join(s.out, "\n"))
	}
}

func (s *stage) outcome(a action) event {
	switch a := a.(type) {
	case load:
		if reason := s.failure("load"); reason != "" {
			return loadFailed{reason}
		}
		return loaded{s.load()}
	case spawn:
		if reason := s.failure("spawn"); reason != "" {
			return spawnFailed{a.gen, a.slot, reason}
		}
		s.worker++
		return spawned{a.gen, a.slot, s.worker}
	case writePidFile:
		return pidWritten{s.failure("pid-write")}
	case movePidFile:
		return pidMoved{s.failure("pid-move")}
	case execute:
		if reason := s.failure("execute"); reason != "" {
			return executed{path: "sbin/nginx", reason: reason}
		}
		s.master++
		return executed{pid: s.master, path: "sbin/nginx"}
	case findHeir:
		pid := s.heir
		s.heir = 0
		return heirFound{pid}
	}
	return nil
}

func (s *stage) load() configFacts {
	s.loads++
	return configFacts{id: s.loads, workers: s.workers, upgradeTimeout: time.Minute}
}

// exit reads "exit PID [code=N] [signal=N] [lived=D]".
func (s *stage) exit(words []string) exited {
	ev := exited{pid: s.number(words[1]), lived: time.Hour}
	for _, w := range words[2:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "code":
			ev.exit = proc.Exit{Code: s.number(value)}
		case "signal":
			ev.exit = proc.Exit{Signal: syscall.Signal(s.number(value))}
		case "lived":
			d, err := time.ParseDuration(value)
			if err != nil {
				s.t.Fatal(err)
			}
			ev.lived = d
		default:
			s.t.Fatalf("transcript: %q", words)
		}
	}
	return ev
}

func (s *stage) timer(words []string) timerID {
	id := timerID{name: words[0]}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "generation":
			id.gen = s.number(value)
		case "slot":
			id.slot = s.number(value)
		}
	}
	return id
}

func (s *stage) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatalf("transcript: %v", err)
	}
	return n
}

// protocol reads the version that two masters agree on; 1 when nothing is said.
func (s *stage) protocol(text string) int {
	if text == "" {
		return 1
	}
	return s.number(text)
}

func (s *stage) signal(name string) syscall.Signal {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH} {
		if n, _ := signalText(sig); n == "SIG"+name {
			return sig
		}
	}
	s.t.Fatalf("transcript: unknown signal %q", name)
	return 0
}

// TestEveryActionIsShown keeps a new action from being invisible in the
// transcripts.
func TestEveryActionIsShown(t *testing.T) {
	for _, a := range []action{load{}, reopen{}, execute{}, movePidFile{}, restorePidFile{}, removePidFile{},
		forgetParent{}, readPidFile{}, dropSuccessor{}, bequeath{}, hangUp{}, reopenOther{}, tellReady{}, spawn{}, retire{}, stop{}, kill{},
		keep{}, findHeir{}, forward{}} {
		if text := a.String(); text == "" || strings.Contains(text, "{") {
			t.Errorf("%T is shown as %q", a, text)
		}
	}
	if got, want := fmt.Sprint(timerID{timerReady, 3, 0}), "ready generation=3"; got != want {
		t.Errorf("timer is shown as %q, want %q", got, want)
	}
}
