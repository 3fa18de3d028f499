// Command baton is a web server that takes nginx's command line, configuration
// and signals, and whose running binary can be replaced.
//
// With no verb it is the server and takes nginx's options. A first argument
// that is a verb (init, status, upgrade, rollback, commit, history, completion, man,
// help) is for us alone; nginx has none, so nothing that nginx understands changes
// its meaning.
//
// Exit status: nginx's, 0 done and 1 refused or failed, for the server and its
// options; for a verb also 2, misuse; 3, nothing is running there; 4, another
// upgrade is under way; 5, failed, and a person must look.
package main
