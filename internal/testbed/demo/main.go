// Command demo replaces the running binary of a server under load by "baton upgrade"
// and "baton rollback", also where somebody began by hand, and shows every step: the
// command and what it says, the processes as ps prints them, who answers, and in the end
// what it cost. By hand it goes through the procedure that nginx's operators know.
//
// It builds two versions of Baton from the module around the working
// directory, and needs nothing but Go, sh, cp, kill and ps. Everything lives
// in a temporary folder and on free loopback ports, and is gone when it ends,
// also by Ctrl-C, or when the terminal closes.
//
//	demo [-by-hand] [-old FILE] [-new FILE]
//
// With -old and -new other binaries are used, such as a real nginx for one of
// them; connections are held open through the steps only without them. The exit
// status is 0 only if every step did what the procedure says, no request on a new
// connection was lost, and no client that keeps a connection, a WebSocket or a
// download noticed anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// atMost bounds the whole demo, builds included.
const atMost = 10 * time.Minute

func main() {
	if status, wasRoot := tree.Main(); wasRoot {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit status: 0 all is well, 1 a step failed or clients noticed
// something, 2 misuse, 130 interrupted, which is ctx's end.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	oldBinary := flags.String("old", "", "`file` to use as the old binary instead of building version "+oldVersion)
	newBinary := flags.String("new", "", "`file` to use as the new binary instead of building version "+newVersion)
	byHand := flags.Bool("by-hand", false, "do it by signals, without baton upgrade and baton rollback")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		if err == nil {
			flags.Usage()
		}
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()

	show := newScreen(stdout)
	err := demonstrate(ctx, show, *oldBinary, *newBinary, *byHand)
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "demo: interrupted; everything is stopped and removed")
		return 130
	case err != nil:
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}

// demonstrate builds what is not given, sets the stage, plays every step and
// takes the stage down again.
func demonstrate(ctx context.Context, show *screen, oldBinary, newBinary string, byHand bool) (err error) {
	show.title("Replacing the binary of a running server, under load")
	builtOld, err := choose(ctx, show, oldBinary, oldVersion)
	if err != nil {
		return err
	}
	builtNew, err := choose(ctx, show, newBinary, newVersion)
	if err != nil {
		return err
	}
	s, err := setStage(builtOld, builtNew, oldBinary+newBinary != "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.takeDown()) }()
	if byHand {
		return s.play(ctx, show, procedure(s.start))
	}
	operator := builtNew
	if newBinary != "" { // whatever is upgraded to, the operator is ours
		if operator, err = choose(ctx, show, "", newVersion); err != nil {
			return err
		}
	}
	s.env = append(s.env, "BATON="+operator)
	return s.play(ctx, show, commands(s.start))
}

// choose returns the binary that was given, or builds version.
func choose(ctx context.Context, show *screen, given, version string) (path string, err error) {
	if given != "" {
		show.note("using %s", given)
		return given, nil
	}
	began := time.Now()
	path, err = testbed.BuildPlain(ctx, version)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err == nil {
		show.note("built version %s in %v", version, round(time.Since(began)))
	}
	return path, err
}
