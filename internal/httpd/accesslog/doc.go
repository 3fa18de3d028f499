// Package accesslog is nginx's ngx_http_log_module: log_format and access_log.
//
// A line is one write(2) on a file that the master opened for appending, so the
// lines of several workers never mix. With buffer= lines are gathered and written
// together when the buffer is full, when flush= is over, when the log files are
// opened again, and before the worker exits.
package accesslog
