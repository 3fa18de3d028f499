package errorlog

import (
	"fmt"
	"log/slog"
)

// nginx's levels as slog's. Debug, Info, Warn and Error are slog's own.
const (
	Debug  = slog.LevelDebug
	Info   = slog.LevelInfo
	Notice = slog.Level(2)
	Warn   = slog.LevelWarn
	Error  = slog.LevelError
	Crit   = slog.Level(12)
	Alert  = slog.Level(14)
	Emerg  = slog.Level(16)
)

// levels is every level with nginx's name, lowest first.
var levels = [...]struct {
	level slog.Level
	name  string
}{
	{Debug, "debug"}, {Info, "info"}, {Notice, "notice"}, {Warn, "warn"},
	{Error, "error"}, {Crit, "crit"}, {Alert, "alert"}, {Emerg, "emerg"},
}

// ParseLevel returns the level that nginx's error_log directive calls name, in
// lower case. "" is error, the directive's default.
func ParseLevel(name string) (slog.Level, error) {
	if name == "" {
		return Error, nil
	}
	for _, l := range levels {
		if l.name == name {
			return l.level, nil
		}
	}
	return 0, fmt.Errorf("parse level: invalid log level %q", name)
}

// LevelName returns nginx's name of l; a level in between has the name of the
// next lower one, and one below debug is "debug".
func LevelName(l slog.Level) string {
	for i := len(levels) - 1; i > 0; i-- {
		if l >= levels[i].level {
			return levels[i].name
		}
	}
	return levels[0].name
}
