package upgrade

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// Options say what to upgrade, and how careful to be.
type Options struct {
	// PidFile is that of the running master: an absolute path.
	PidFile string
	// To is the new binary.
	To string
	// Probes are URLs that must answer with a status below 400.
	Probes []string
	// Soak is for how long the new generation is watched before the commit. Zero
	// means that it is not.
	Soak time.Duration
	// SoakAsBegun: [Resume] soaks for as long as whoever began the upgrade was told to,
	// and for Soak when it was begun by hand.
	SoakAsBegun bool
	// ReadyTimeout bounds the time until the new generation serves. Zero means 60s.
	ReadyTimeout time.Duration
	// DrainTimeout bounds the wait for old workers. They may go on after it, and the
	// upgrade too. Zero means 5m.
	DrainTimeout time.Duration
	// AllowMissingModules: the new binary may lack modules that the old one has.
	AllowMissingModules bool
	// Retry: a build that has failed here before may be tried again.
	Retry bool
	// DryRun: check, and change nothing.
	DryRun bool
	// CommitNow ends the soak when something is received from it. nil means that
	// nothing ever is.
	CommitNow <-chan os.Signal
	// Pace says how long masters may take.
	Pace Pace
	// Fault is called at each point where a command can be killed, with its name. It
	// is for tests; nil does nothing.
	Fault func(point string)
	// Tell is called with every event, on the goroutine that called [Run]. nil means
	// that nobody listens.
	Tell func(Event)
}

// A Pace is how long masters may take for what they do. Zero means what is usual.
type Pace struct {
	// Settle is for how long the new workers must live before they count as running:
	// that something does not crash again and again shows only over time. Zero means 1s.
	Settle time.Duration
	// Obey is how long a master may take to do what a signal asks for. Zero means 10s.
	Obey time.Duration
}

func (o Options) withDefaults() Options {
	if o.Pace.Settle == 0 {
		o.Pace.Settle = time.Second
	}
	if o.Pace.Obey == 0 {
		o.Pace.Obey = 10 * time.Second
	}
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = time.Minute
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 5 * time.Minute
	}
	if o.Tell == nil {
		o.Tell = func(Event) {}
	}
	if o.Fault == nil {
		o.Fault = func(string) {}
	}
	return o
}

// Validate tells all that is wrong with o.
func (o Options) Validate() error {
	if o.To == "" {
		return errors.Join(errors.New("no new binary is named"), o.ValidateLimits())
	}
	return o.ValidateLimits()
}

// ValidateLimits tells what is wrong with o but for the new binary.
func (o Options) ValidateLimits() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"soak", o.Soak}, {"ready time-out", o.ReadyTimeout}, {"drain time-out", o.DrainTimeout}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("the %s is negative: %v", d.name, d.value))
		}
	}
	for _, p := range o.Probes {
		u, err := url.Parse(p)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, fmt.Errorf("probe %q is no URL with http or https", p))
		}
	}
	return errors.Join(errs...)
}
