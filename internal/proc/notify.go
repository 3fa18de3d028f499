package proc

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify tells systemd the given assignments, in one message. It does nothing
// when systemd did not ask for it (NOTIFY_SOCKET).
func Notify(assignments ...string) error {
	if _, err := daemon.SdNotify(false, strings.Join(assignments, "\n")); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	return nil
}

// Reloading is the assignments that begin a reload: systemd wants the time, to
// tell this reload from one it asks for later.
func Reloading() []string {
	return []string{daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec())}
}

// WatchdogEvery returns how often systemd wants to hear that this process is
// well, or 0 when it does not.
func WatchdogEvery() time.Duration {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return d / 2
}
