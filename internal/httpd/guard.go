package httpd

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// guard is deferred by the goroutines of a connection. A panic there is a fault of
// ours that one request brought out: it costs that connection, as a crash of a
// worker of nginx costs all of its connections, and no other.
func guard(log *slog.Logger, number uint64) {
	if fault := recover(); fault != nil {
		logPanic(log, number, fault)
	}
}

func logPanic(log *slog.Logger, number uint64, fault any) {
	log.LogAttrs(context.Background(), levelAlert, fmt.Sprintf("panic: %v: %s", fault, debug.Stack()),
		slog.Uint64("conn", number))
}

// Guarded runs f, which a module runs in a goroutine of its own for a request, and
// returns an error in the place of a panic.
func (r *Request) Guarded(f func() error) (err error) {
	log, number := r.c.srv.log, r.c.number
	defer func() {
		if fault := recover(); fault != nil {
			logPanic(log, number, fault)
			err = fmt.Errorf("panic: %v", fault)
		}
	}()
	return f()
}
