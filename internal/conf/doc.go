// Package conf turns nginx.conf into a checked, immutable configuration.
//
// It reads text and nothing else: it opens no socket, resolves no name by itself and
// changes no file. Whatever it reads it also records in a [Snapshot], and the
// same code that reads a configuration from disk reads it again from the
// snapshot, so that a worker which is started an hour later gets exactly what
// its master loaded (invariant 5 of docs/design.md).
//
// What directives there are is not known here: the modules bring their
// [Spec]s, collected in a [Table]. conf checks names, contexts and argument
// counts against it and words its errors as nginx does.
package conf
