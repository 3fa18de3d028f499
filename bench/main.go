// Command bench measures Baton beside a real nginx on the same machine, in one
// run, alternating, and prints ratios: absolute figures of a shared machine say
// little, the ratio of two servers under the same load says much.
//
//	bench [-rounds N] [-time D] [-only REGEXP] [-write FILE]
//
// Each server gets one core by taskset; the load, and for the proxy cases the
// backend, a second nginx, get the other. Both servers read the same nginx.conf.
//
// Then it replaces Baton, nginx, HAProxy and Caddy while they run, each under the
// same load, and counts what the clients notice; -only 'hot deployment' does only
// this. With -write it also draws two pictures into the file's folder.
//
// It needs two cores, nginx, haproxy, caddy, wrk, h2load and taskset, and leaves
// nothing running.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/backend"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// options are the command line's.
type options struct {
	rounds int
	time   time.Duration
	only   *regexp.Regexp
	write  string
	baton  string
}

func main() {
	if status, wasRoot := tree.Main(); wasRoot {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit status: 0 measured, 1 failed, 2 misuse.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 3, "how `often` each server is measured; the median counts")
	flags.DurationVar(&o.time, "time", 3*time.Second, "how `long` each measurement takes")
	only := flags.String("only", "", "`regexp` of the cases to measure")
	flags.StringVar(&o.write, "write", "", "Markdown `file` to put the tables into, between its markers")
	flags.StringVar(&o.baton, "baton", "", "measure this `binary` instead of building one")
	serve := flags.Bool("backend", false, "serve the backend of other measurements, print its address, and measure nothing")
	responder := flags.Bool("responder", false, "the same for the FastCGI application")
	shakeAt := flags.String("handshakes", "", "open TLS connections to this `URL` for -time, print how many in a second, and measure nothing else")
	resume := flags.Bool("resume", false, "with -handshakes: resume the session each time")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return 2
	}
	switch {
	case *serve:
		return serveOn(ctx, backend.Serve, stdout, stderr)
	case *responder:
		return serveOn(ctx, respond, stdout, stderr)
	case *shakeAt != "":
		return countHandshakes(ctx, *shakeAt, o.time, *resume, stdout, stderr)
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 2
	}
	if err := measure(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// serveOn serves on an address of its own, which it prints, until ctx is done, and
// returns the exit status.
func serveOn(ctx context.Context, serve func(context.Context, net.Listener) error, stdout, stderr io.Writer) int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		fmt.Fprintln(stdout, ln.Addr())
		err = serve(ctx, ln)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// measure runs everything and prints the report.
func measure(ctx context.Context, o options, stdout, progress io.Writer) error {
	for _, need := range []string{"nginx", "wrk", "taskset", "haproxy", "caddy", "h2load"} {
		if _, err := exec.LookPath(need); err != nil {
			return fmt.Errorf("%w (apt-get install nginx wrk util-linux haproxy caddy nghttp2-client)", err)
		}
	}
	if o.baton == "" {
		fmt.Fprintln(progress, "building baton")
		var err error
		if o.baton, err = testbed.Build(ctx, "bench"); err != nil {
			return err
		}
	}
	tr, err := tree.Plant()
	if err != nil {
		return err
	}
	r, err := runCases(ctx, o, tr, progress)
	if err == nil {
		err = r.lifecycle(ctx, o, tr, progress)
	}
	if err == nil {
		err = r.large(ctx, o, tr, progress)
	}
	if err == nil {
		err = r.hot(ctx, o, tr, progress)
	}
	if left, uprootErr := tr.Uproot(); uprootErr != nil {
		err = errors.Join(err, uprootErr)
	} else if len(left) > 0 && err == nil {
		err = fmt.Errorf("%d processes were left running: %v", len(left), left)
	}
	if err != nil {
		return err
	}
	for _, s := range r.sections() {
		fmt.Fprintln(stdout, s.text)
	}
	if o.write != "" {
		return r.writeInto(o.write)
	}
	return nil
}
